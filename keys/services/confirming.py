"""What the people who answer for a key say when they are asked. Nobody else can say it for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput, Refused
from keys import recertification, selectors
from keys.models import Campaign, CampaignItem, Confirmation
from keys.services import announcing, campaigns, clocks, response
from keys.states import CampaignState, ItemState
from tenants import rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from keys.models import Key

MOST: Final = 200
_ANSWERS: Final = (ItemState.CONFIRMED.value, ItemState.CHANGE_NEEDED.value, ItemState.NOT_MINE.value)
_PEOPLE: Final = Absent("the people who answer for a key look at it themselves, in the web UI")
_EVENTS: Final = {ItemState.CHANGE_NEEDED: "key.change_wanted", ItemState.NOT_MINE: "key.disowned"}


@operation(
    "key.recertify",
    permission=Permission.KEY_CONFIRM,
    events=("key.confirmed", "key.change_wanted", "key.disowned", "key.resumed", "campaign.closed"),
    page="keys:recertify",
    api=_PEOPLE,
)
def answer(*, actor: Actor, key_id: UUID, answer: str, seen: str, note: str = "") -> Key:
    """Answer every open question about a key. A confirmation is for what was seen: `seen` is the digest of that.

    A key that the clock suspended for want of it is active again. Raises InvalidInput, Refused for anybody but the
    key's owners, Conflict when nobody asks or the key has changed since it was looked at.
    """
    chosen = ItemState(rules.require_choice(answer, _ANSWERS, field="answer"))
    is_yes = chosen is ItemState.CONFIRMED
    text = rules.require_text(note, field="note", maximum=500, required=not is_yes)
    key = _lock_own(actor, key_id)
    items = list(recertification.open_items(key.id).select_for_update(of=("self",), no_key=True))
    if not items and not (is_yes and key.recertify_due_at is not None):
        raise Conflict("Nobody asks about this key now.", code="nobody_asks")
    if is_yes:
        return _confirm(actor, key, items, seen=seen, note=text)
    _settle(actor, items, chosen, text)
    clocks.reset(key)
    if chosen is ItemState.NOT_MINE:
        announcing.tell_disowned(key, items[0])
    append(
        actor=actor,
        action=_EVENTS[chosen],
        target=Target("key", key.id),
        detail={"items": [str(item.id) for item in items]},
        private={"note": text},
    )
    return key


@operation(
    "key.recertify_unchanged",
    permission=Permission.KEY_CONFIRM,
    events=("key.confirmed", "key.resumed", "campaign.closed"),
    page="keys:my-keys",
    api=_PEOPLE,
)
def confirm_unchanged(*, actor: Actor, seen: Mapping[UUID, str]) -> int:
    """Confirm several keys that are as they were when they were last confirmed; all of them, or none.

    Raises InvalidInput for none or too many, Refused when one has changed or is somebody else's, Conflict as above.
    """
    if not 0 < len(seen) <= MOST:
        raise InvalidInput(f"Keys: choose from 1 to {MOST}.", code="out_of_range", field="keys")
    for key_id in sorted(seen):
        key = _lock_own(actor, key_id)
        items = list(recertification.open_items(key.id).select_for_update(of=("self",), no_key=True))
        if not items:
            raise Conflict(f"Nobody asks about {key.name} now.", code="nobody_asks")
        if not recertification.is_unchanged(key):
            message = f"{key.name} has changed since it was confirmed last, or never was. Look at it by itself."
            raise Refused(message, code="changed", field="keys")
        _confirm(actor, key, items, seen=seen[key_id], note="")
    return len(seen)


def _lock_own(actor: Actor, key_id: UUID) -> Key:
    key = selectors.lock_key(key_id)
    if key.state in selectors.ENDED_KEYS:
        raise Conflict(f"The key is {key.state}: nobody needs to confirm it.", code="key_state")
    if actor.kind is not ActorKind.PERSON or actor.id not in (key.owner_id, key.backup_owner_id):
        raise Refused("Only the owner or the backup owner of a key answers for it.", code="not_yours")
    return key


def _confirm(actor: Actor, key: Key, items: list[CampaignItem], *, seen: str, note: str) -> Key:
    facts = recertification.facts_of(key)
    digest = recertification.digest_of(facts)
    if seen != digest:
        raise Conflict(f"{key.name} was changed while you looked at it. Look again.", code="changed_meanwhile")
    Confirmation.objects.create(key=key, confirmed_by_id=actor.id, digest=digest, facts=facts)
    _settle(actor, items, ItemState.CONFIRMED, note)
    if response.is_quarantined(key.id):
        clocks.reset(key)  # what keeps it suspended now is the suspicion
    elif clocks.lift(key):
        current = selectors.find_current(key.id)
        resumed = {"reason": "", "versions": [current.number] if current else []}
        append(actor=actor, action="key.resumed", target=Target("key", key.id), detail=resumed)
    append(
        actor=actor,
        action="key.confirmed",
        target=Target("key", key.id),
        detail={"facts": digest, "items": [str(item.id) for item in items]},
        private={"note": note},
    )
    for campaign_id in sorted({item.campaign_id for item in items}):
        _close_when_done(actor, campaign_id)
    return key


def _settle(actor: Actor, items: list[CampaignItem], state: ItemState, note: str) -> None:
    now = timezone.now()
    CampaignItem.objects.filter(id__in=[item.id for item in items]).update(
        state=state, answered_by_id=actor.id, answered_at=now, note=note
    )


def _close_when_done(actor: Actor, campaign_id: UUID) -> None:
    """A campaign in which everything is confirmed needs nobody to close it."""
    campaign = Campaign.objects.lock().get(id=campaign_id)
    progress = recertification.progress_of([campaign.id])[campaign.id]
    if campaign.state == CampaignState.OPEN and progress.confirmed == progress.total:
        campaigns.end(actor, campaign)
