"""What each kind of local step of an offboarding does, many at once, inside the worker's transaction.

Every transition has its own event, however many are written together.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db.models import Count
from django.utils import timezone

from audit.services.recording import Event, Target, append, append_many
from byok_portal.boundary import binding
from keys import selectors
from keys.models import Grant, Key, KeyVersion, Material
from keys.services import announcing, custody, runs
from keys.states import GrantState, KeyState, RevocationReason, VersionState
from tenants.models import Consumer, Offboarding, OffboardingStep
from tenants.services import departures
from tenants.services.consumers import end_access
from tenants.services.tenants import transfer
from tenants.states import SubjectKind, TenantState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

EVENTS: Final = (
    "key.revoked",
    "key.destroyed",
    "key.rotation_flagged",
    "grant.ended",
    "consumer.ended",
    "member.sessions_ended",
    "tenant.keys_shredded",
    "tenant.offboarded",
    "project.offboarded",
    "consumer.offboarded",
    "member.offboarded",
)
_CLOSED: Final = {
    SubjectKind.PROJECT: "project.offboarded",
    SubjectKind.CONSUMER: "consumer.offboarded",
    SubjectKind.OWNER: "member.offboarded",
}
_ENDED: Final = (VersionState.REVOKED, VersionState.EXPIRED, VersionState.COMPROMISED, VersionState.DESTROYED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one step, and the events that say so."""

    note: str
    event_ids: tuple[UUID, ...] = ()


def do(
    actor: Actor, run: Offboarding, steps: Sequence[OffboardingStep], reason: RevocationReason
) -> dict[UUID, Outcome]:
    """Do steps of one kind. Answers by step."""
    found = _KINDS[steps[0].kind](actor, run, [step.subject_id for step in steps], reason)
    return {step.id: found[step.subject_id] for step in steps}


def _revoke_keys(actor: Actor, _run: Offboarding, ids: Sequence[UUID], reason: RevocationReason) -> dict[UUID, Outcome]:
    """Keys with their versions and grants, in a handful of statements for all of them."""
    keys = list(Key.objects.lock().filter(id__in=ids).order_by("id"))
    live = [key.id for key in keys if key.state not in selectors.ENDED_KEYS]
    versions = list(KeyVersion.objects.filter(key_id__in=live).exclude(state__in=_ENDED).order_by("number"))
    grants = Grant.objects.filter(key_id__in=live, state=GrantState.ACTIVE)
    ended_grants = {row["key_id"]: row["n"] for row in grants.values("key_id").annotate(n=Count("id"))}
    now = timezone.now()
    grants.update(state=GrantState.REVOKED, ended_at=now, end_reason=reason.value)
    KeyVersion.objects.filter(id__in=[version.id for version in versions]).update(
        state=VersionState.REVOKED, ended_at=now, end_reason=reason.value
    )
    Key.objects.filter(id__in=live).update(state=KeyState.REVOKED, ended_at=now)
    found = {key.id: Outcome(f"The key was {key.state} already.") for key in keys}
    numbers: defaultdict[UUID, list[int]] = defaultdict(list)
    for version in versions:
        numbers[version.key_id].append(version.number)
    revoked = [
        Event(
            "key.revoked",
            Target("key", key_id),
            {"reason": reason.value, "versions": numbers[key_id], "grants": ended_grants.get(key_id, 0)},
        )
        for key_id in live
    ]
    for key_id, event in zip(live, append_many(actor=actor, events=revoked), strict=True):
        found[key_id] = Outcome(f"Versions ended: {len(numbers[key_id])}.", (event,))
    return found


def _end_grants(actor: Actor, _run: Offboarding, ids: Sequence[UUID], reason: RevocationReason) -> dict[UUID, Outcome]:
    rows = list(Grant.objects.lock().filter(id__in=ids).order_by("id"))
    live = [row for row in rows if row.state == GrantState.ACTIVE]
    Grant.objects.filter(id__in=[row.id for row in live]).update(
        state=GrantState.REVOKED, ended_at=timezone.now(), end_reason=reason.value
    )
    found = {row.id: Outcome("Ended before.") for row in rows}
    ended = [
        Event(
            "grant.ended",
            Target("key", row.key_id),
            {"grant": str(row.id), "consumer": str(row.consumer_id), "reason": reason.value},
        )
        for row in live
    ]
    for row, event in zip(live, append_many(actor=actor, events=ended), strict=True):
        found[row.id] = Outcome("Ended.", (event,))
    return found


def _end_consumers(
    actor: Actor, _run: Offboarding, ids: Sequence[UUID], reason: RevocationReason
) -> dict[UUID, Outcome]:
    found = {}
    for row in Consumer.objects.lock().filter(id__in=ids).order_by("id"):
        if row.state == Consumer.State.ENDED:
            found[row.id] = Outcome("Ended before.")
            continue
        tokens = end_access(row)
        detail = {"reason": reason.value, "tokens": tokens, "grants": 0}
        event = append(actor=actor, action="consumer.ended", target=Target("consumer", row.id), detail=detail)
        found[row.id] = Outcome("All its tokens are refused.", (event,))
    return found


def _flag_rotations(
    actor: Actor, run: Offboarding, ids: Sequence[UUID], _reason: RevocationReason
) -> dict[UUID, Outcome]:
    """The finished step itself is what the finding is made of: `keys.posture` reads it."""
    found = {}
    for version in KeyVersion.objects.filter(id__in=ids).select_related("key"):
        event = append(
            actor=actor,
            action="key.rotation_flagged",
            target=Target("key", version.key_id),
            detail={"version": version.number, "run": str(run.id), "consumer_ended": True},
        )
        found[version.id] = Outcome("Its owners find it among the findings until it is rotated.", (event,))
    return found


def _destroy_versions(
    actor: Actor, _run: Offboarding, ids: Sequence[UUID], _reason: RevocationReason
) -> dict[UUID, Outcome]:
    rows = list(KeyVersion.objects.lock().filter(id__in=ids).order_by("id"))
    Material.objects.filter(version_id__in=ids).delete()
    live = [row for row in rows if row.state != VersionState.DESTROYED]
    KeyVersion.objects.filter(id__in=[row.id for row in live]).update(state=VersionState.DESTROYED)
    found = {row.id: Outcome("Destroyed before.") for row in rows}
    destroyed = [Event("key.destroyed", Target("key", row.key_id), {"version": row.number}) for row in live]
    for row, event in zip(live, append_many(actor=actor, events=destroyed), strict=True):
        found[row.id] = Outcome("The ciphertext is deleted; its metadata stays.", (event,))
    return found


def _end_sessions(
    actor: Actor, run: Offboarding, ids: Sequence[UUID], _reason: RevocationReason
) -> dict[UUID, Outcome]:
    ended = departures.end_sessions(run.subject_id)
    event = append(
        actor=actor,
        action="member.sessions_ended",
        target=runs.target_of(run),
        detail={"sessions": ended or 0},
    )
    stays = "The person belongs to another tenant or to the staff: their session stays and shows nothing of this one."
    return dict.fromkeys(ids, Outcome(stays if ended is None else f"Sessions ended: {ended}.", (event,)))


def _shred(actor: Actor, _run: Offboarding, ids: Sequence[UUID], _reason: RevocationReason) -> dict[UUID, Outcome]:
    statement = custody.shred()
    event = append(
        actor=actor,
        action="tenant.keys_shredded",
        target=Target("tenant", binding.get_tenant()),
        detail={"wrapper": statement.wrapper, "backups": statement.backups.value},
    )
    return dict.fromkeys(ids, Outcome(statement.statement, (event,)))


def _close(actor: Actor, run: Offboarding, ids: Sequence[UUID], _reason: RevocationReason) -> dict[UUID, Outcome]:
    residual = OffboardingStep.objects.filter(offboarding_id=run.id, state=OffboardingStep.State.RESIDUAL).count()
    run.state, run.finished_at = Offboarding.State.DONE, timezone.now()
    if run.subject_kind == SubjectKind.TENANT:
        counted = {"residuals": str(residual)}
        event = transfer(actor=actor, to=TenantState.OFFBOARDED, event="tenant.offboarded", detail=counted)
    else:
        action = _CLOSED[SubjectKind(run.subject_kind)]
        detail = {"run": str(run.id), "residuals": residual}
        event = append(actor=actor, action=action, target=runs.target_of(run), detail=detail)
    run.event_ids = [*run.event_ids, event]
    run.save(update_fields=["state", "finished_at", "event_ids"])
    announcing.tell_offboarded(run, residual)
    said = "It is offboarded." if not residual else f"It is offboarded; {residual} steps need people."
    return dict.fromkeys(ids, Outcome(said, (event,)))


_KINDS: Final = {
    "revoke_key": _revoke_keys,
    "end_grant": _end_grants,
    "end_consumer": _end_consumers,
    "flag_rotation": _flag_rotations,
    "destroy_version": _destroy_versions,
    "end_sessions": _end_sessions,
    "shred_keys": _shred,
    "close": _close,
}
