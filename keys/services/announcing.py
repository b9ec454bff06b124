"""Telling the people and workloads of a key what has just happened to it, in the same commit. Declares no operation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.utils import timezone

from audit.services.recording import Target
from byok_portal.boundary.permissions import Role
from keys.models import Key
from tenants.models import Consumer, Membership
from tenants.services.notices import Announcement, notify, notify_each

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from keys.models import Campaign, CampaignItem, Drill, HandOver, Incident, Succession
    from tenants.models import Offboarding


def tell_compromised(key: Key, consumers: Collection[UUID]) -> None:
    """Owners of the key and of the tenant, and the consumers that could use it."""
    notify(
        recipients=_answerable(key),
        kind="key.compromised",
        subject=Target("key", key.id),
        dedupe=f"compromised:{key.id}",
        facts={"key": key.name, "key_slug": key.slug},
        consumers=consumers,
    )


def tell_quarantined(key: Key, incident: Incident, consumers: Collection[UUID]) -> None:
    """The same people and workloads, when an exposure is only suspected."""
    notify(
        recipients=_answerable(key),
        kind="key.quarantined",
        subject=Target("key", key.id),
        dedupe=f"quarantined:{incident.id}",
        facts={"key": key.name, "key_slug": key.slug},
        consumers=consumers,
    )


def tell_confirmed(key: Key, incident: Incident, consumers: Collection[UUID]) -> None:
    """The same again, when versions that are not served any more turn out to be exposed. The key stays."""
    notify(
        recipients=_answerable(key),
        kind="key.exposure_confirmed",
        subject=Target("key", key.id),
        dedupe=f"confirmed:{incident.id}",
        facts={"key": key.name, "key_slug": key.slug},
        consumers=consumers,
    )


def tell_successor_lost(key: Key, attempt: Succession, *, dies_by: str) -> None:
    """Who answers for the key: a credential may be alive at the provider that nobody can end from here."""
    notify(
        recipients=_answerable(key),
        kind="key.successor_lost",
        subject=Target("key", key.id),
        dedupe=f"successor-lost:{attempt.id}",
        facts={"key": key.name, "key_slug": key.slug, "attempt": str(attempt.id), "until": dies_by},
    )


def tell_released(key: Key, incident: Incident, consumers: Collection[UUID], *, active: bool) -> None:
    """Those who heard of a quarantine hear that it was a false alarm."""
    notify(
        recipients=_answerable(key),
        kind="key.released" if active else "key.false_alarm",
        subject=Target("key", key.id),
        dedupe=f"released:{incident.id}",
        facts={"key": key.name, "key_slug": key.slug},
        consumers=consumers if active else (),
    )


def tell_hand_over(key: Key, opened: HandOver) -> None:
    """Who answers for the key now, and the owners of the tenant."""
    notify(
        recipients=_answerable(key),
        kind="key.hand_over_opened",
        subject=Target("key", key.id),
        dedupe=f"hand-over:{opened.id}",
        facts={"key": key.name, "key_slug": key.slug, "day": opened.due_at.date().isoformat()},
    )


def tell_asked(campaign: Campaign, keys: Collection[Key]) -> None:
    """Everybody who answers for one of the keys, once, with how many wait for them."""
    waiting = Counter(person for key in keys for person in (key.owner_id, key.backup_owner_id) if person is not None)
    notify_each(
        [
            Announcement(
                kind="campaign.asked",
                subject=Target("campaign", campaign.id),
                dedupe=f"campaign:{campaign.id}",
                facts={"campaign": campaign.name, "count": count, "day": campaign.due_on.isoformat()},
                recipients=[person],
            )
            for person, count in waiting.items()
        ]
    )


def tell_disowned(key: Key, item: CampaignItem) -> None:
    """The owners of the tenant: somebody has to be found for the key."""
    owners = Membership.objects.filter(role=Role.OWNER, is_active=True).values_list("user_id", flat=True)
    notify(
        recipients=set(owners),
        kind="key.disowned",
        subject=Target("key", key.id),
        dedupe=f"disowned:{item.id}:{item.answered_by_id}",
        facts={"key": key.name, "key_slug": key.slug, "day": item.due_on.isoformat()},
    )


def tell_automatic(run: Offboarding, *, day: str) -> None:
    """The owners of the tenant, when the clock has started what they agreed to."""
    notify(
        recipients=_owners(),
        kind="offboarding.started",
        subject=Target(str(run.subject_kind), run.subject_id),
        dedupe=f"offboarding:{run.id}",
        facts={"what": str(run.subject_kind), "day": day, "run": str(run.id)},
    )


def tell_offboarded(run: Offboarding, residuals: int) -> None:
    """The owners of the tenant, when a run has come to its end and something is left to people."""
    if residuals:
        notify(
            recipients=_owners(),
            kind="offboarding.residuals",
            subject=Target(str(run.subject_kind), run.subject_id),
            dedupe=f"offboarded:{run.id}",
            facts={"what": str(run.subject_kind), "count": residuals, "run": str(run.id)},
        )


def _owners() -> set[UUID]:
    return set(Membership.objects.filter(role=Role.OWNER, is_active=True).values_list("user_id", flat=True))


def tell_canary_used(key_id: UUID, consumer_id: UUID, audit_id: UUID) -> None:
    """Who answers for a canary key, and the owners of the tenant: once an hour for each consumer."""
    key = Key.objects.get(id=key_id)
    consumer = Consumer.objects.filter(id=consumer_id).values_list("name", flat=True).first()
    notify(
        recipients=_answerable(key),
        kind="key.canary_used",
        subject=Target("key", key.id),
        dedupe=f"canary:{key.id}:{consumer_id}:{timezone.now():%Y-%m-%dT%H}",
        facts={"key": key.name, "key_slug": key.slug, "consumer": consumer or "", "entry": str(audit_id)},
    )


def tell_drill_failed(drill: Drill) -> None:
    """The owners of the tenant."""
    owners = Membership.objects.filter(role=Role.OWNER, is_active=True).values_list("user_id", flat=True)
    notify(
        recipients=set(owners),
        kind="drill.failed",
        subject=Target("drill", drill.id),
        dedupe=f"drill:{drill.id}",
        facts={"kind": str(drill.kind), "code": drill.code},
    )


def _answerable(key: Key) -> set[UUID]:
    owners = Membership.objects.filter(role=Role.OWNER, is_active=True).values_list("user_id", flat=True)
    return {*owners, key.owner_id, *([key.backup_owner_id] if key.backup_owner_id else [])}
