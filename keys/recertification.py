"""Until when owners have to confirm their keys, by campaigns and by policy, and what they look at. Changes nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db.models import F, Q
from django.utils import timezone

from audit.usage import usage_of
from keys import rulebook, selectors
from keys.models import Campaign, CampaignItem, Confirmation, Grant, Key
from keys.policies import Overdue, earliest
from keys.services.catalogue import entry_of
from keys.states import CampaignState, GrantState, ItemState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

HIGH_RISK: Final = 3
UNANSWERED: Final = (ItemState.WAITING, ItemState.NOT_MINE)
# An owner who asks for a change has answered; one who does so when it is too late has not.
_UNCONFIRMED: Final = Q(state__in=UNANSWERED) | Q(state=ItemState.CHANGE_NEEDED, answered_at__gte=F("due_at"))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is, over the keys that still live."""

    confirmed: int = 0
    change_needed: int = 0
    not_mine: int = 0
    waiting: int = 0

    @property
    def total(self) -> int:
        return self.confirmed + self.change_needed + self.not_mine + self.waiting


def list_campaigns() -> QuerySet[Campaign]:
    """Campaigns of the bound tenant, newest first."""
    return Campaign.objects.order_by("-created_at", "-id")


def list_items(campaign_id: UUID) -> QuerySet[CampaignItem]:
    """The items of a campaign whose keys have not ended, or that were answered before they did."""
    found = CampaignItem.objects.filter(campaign_id=campaign_id).select_related("key__owner", "key__backup_owner")
    return found.exclude(key__state__in=selectors.ENDED_KEYS, state__in=UNANSWERED).order_by("key__name", "id")


def list_asked(user_id: UUID) -> QuerySet[CampaignItem]:
    """What a person is asked now, the nearest date first: a backup owner is asked as well."""
    mine = CampaignItem.objects.filter(Q(key__owner_id=user_id) | Q(key__backup_owner_id=user_id))
    live = mine.exclude(key__state__in=selectors.ENDED_KEYS).exclude(campaign__state=CampaignState.CANCELLED)
    rows = live.exclude(state=ItemState.CONFIRMED).select_related("key__provider", "campaign")
    return rows.order_by("due_on", "key__name", "id")


def open_items(key_id: UUID) -> QuerySet[CampaignItem]:
    """Questions about one key that nobody has settled."""
    found = CampaignItem.objects.filter(key_id=key_id).exclude(campaign__state=CampaignState.CANCELLED)
    return found.exclude(state=ItemState.CONFIRMED).order_by("due_on", "id")


def progress_of(campaign_ids: Iterable[UUID]) -> dict[UUID, Progress]:
    """Counts by answer."""
    ids = list(campaign_ids)
    rows = CampaignItem.objects.filter(campaign_id__in=ids)
    rows = rows.exclude(key__state__in=selectors.ENDED_KEYS, state__in=UNANSWERED)
    counts: dict[UUID, dict[str, int]] = {campaign_id: {} for campaign_id in ids}
    for campaign_id, state in rows.values_list("campaign_id", "state"):
        counts[campaign_id][state] = counts[campaign_id].get(state, 0) + 1
    return {campaign_id: Progress(**found) for campaign_id, found in counts.items()}


def find_due(key_ids: Collection[UUID]) -> dict[UUID, datetime]:
    """When the clock suspends these keys because no owner confirmed them: the first that says so counts."""
    book, asked = rulebook.read_book(key_ids), rulebook.read_asked(key_ids)
    found = {
        key_id: moment
        for key_id in key_ids
        if (moment := book.first(key_id, asked.since(book, key_id), lambda each: each.unconfirmed_suspends_at))
    }
    for key_id, due_at in _enforced(key_ids, Overdue.SUSPEND):
        found[key_id] = min(due_at, found.get(key_id, due_at))
    return found


def find_block(key_id: UUID) -> datetime | None:
    """From when new grants on the key are refused because no owner confirmed it."""
    book, asked = rulebook.read_book([key_id]), rulebook.read_asked([key_id])
    by_policy = book.first(key_id, asked.since(book, key_id), lambda each: each.unconfirmed_blocks_at)
    return earliest(by_policy, *(due_at for _, due_at in _enforced([key_id], Overdue.BLOCK_GRANTS, Overdue.SUSPEND)))


def find_unconfirmed(key_ids: Iterable[UUID]) -> dict[UUID, datetime]:
    """Since when each key is not confirmed although a campaign asked, whatever follows from that."""
    rows = _asked_about(list(key_ids)).filter(due_at__lte=timezone.now())
    found: dict[UUID, datetime] = {}
    for key_id, due_at in rows.values_list("key_id", "due_at"):
        found[key_id] = min(due_at, found.get(key_id, due_at))
    return found


def facts_of(key: Key) -> dict[str, Any]:
    """What an owner confirms: what the key is for, what it may do, and who may use it for what."""
    live = Grant.objects.filter(key_id=key.id, state=GrantState.ACTIVE, expires_at__gt=timezone.now())
    return {
        "purpose": key.purpose,
        "environment": key.environment,
        "scopes": sorted(key.scopes),
        "consumers": [
            {
                "consumer": str(grant.consumer_id),
                "scopes": sorted(grant.scopes),
                "deliveries": sorted(grant.deliveries),
                "networks": sorted(grant.networks),
                "window": grant.window,
            }
            for grant in live.order_by("consumer_id", "id")
        ],
    }


def digest_of(facts: dict[str, Any]) -> str:
    """Equal for equal facts: what a person saw is what is confirmed."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find_confirmation(key_id: UUID) -> Confirmation | None:
    """The last word for a key."""
    return Confirmation.objects.filter(key_id=key_id).order_by("-created_at", "-id").first()


def is_unchanged(key: Key) -> bool:
    """Whether what was confirmed last is still what there is."""
    last = find_confirmation(key.id)
    return last is not None and last.digest == digest_of(facts_of(key))


def last_uses(key_id: UUID) -> dict[UUID, datetime]:
    """When each consumer last used the key with success; at most a minute behind."""
    found: dict[UUID, datetime] = {}
    for row in usage_of(key_id):
        if row.last_allowed_at is not None:
            found[row.consumer_id] = max(row.last_allowed_at, found.get(row.consumer_id, row.last_allowed_at))
    return found


def is_high_risk(key: Key) -> bool:
    """Whether one of its scopes is of high risk or worse."""
    entry = entry_of(key.provider)
    return any(scope.risk >= HIGH_RISK for scope in map(entry.scope, key.scopes) if scope is not None)


def _enforced(key_ids: Collection[UUID], *words: Overdue) -> Iterable[tuple[UUID, datetime]]:
    """(key, moment) of a campaign's own consequence; what the clock started, the policy enforces."""
    rows = _asked_about(key_ids).filter(campaign__by_policy=False, campaign__consequence__in=words)
    return rows.values_list("key_id", "due_at")


def _asked_about(key_ids: Collection[UUID]) -> QuerySet[CampaignItem]:
    rows = CampaignItem.objects.filter(_UNCONFIRMED, key_id__in=key_ids)
    return rows.exclude(campaign__state=CampaignState.CANCELLED)
