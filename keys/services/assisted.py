"""Rotation in which the provider makes the successor, asked with the customer's own credential. Safe to kill anywhere.

The attempt is committed before the provider is asked, and what it made is sealed as a registered version before
anything else. A successor is born with minutes to live and gets its full life only once it is stored: one that is lost
with its process dies by itself, and one that is stored but never became current is ended by the worker as any version.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding, jobs
from byok_portal.boundary.operations import Absent, commit, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, PortalError, Refused
from keys import selectors
from keys.models import Proof, Succession
from keys.models.successions import OPEN
from keys.providers import get_adapter, get_succession
from keys.providers.contract import NO_SUCCESSOR
from keys.services import announcing, custody, lifecycle, probing, response, rotation, versions
from keys.states import KeyState, RevocationReason, SuccessionState, VersionState
from tenants import rules
from tenants.selectors import get_tenant
from tenants.services.tenants import require_active
from tenants.states import TenantState

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret
    from keys.models import Key, KeyVersion
    from keys.providers.contract import Successor, SuccessorPlan, Upstream
    from keys.services.probing import Evidence

GIVE_UP: Final = "key.give_up_succession"
NOT_LAPSED: Final = "not_lapsed"
_WORKER: Final = Absent("a worker tidies up after a process that died in the middle")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, and of which version."""

    key: Key
    base: int
    hours: int
    accept_excess: bool
    note: str
    upstream: Upstream


@operation(
    "key.rotate_assisted",
    permission=Permission.KEY_ROTATE,
    events=(
        "key.successor_asked",
        "key.successor_made",
        "key.successor_given_up",
        "key.rotated",
        "key.proven",
        "key.resumed",
    ),
    page="keys:rotate-assisted",
    api="api:key-rotate-assisted",
    external=True,
)
def rotate(
    *,
    actor: Actor,
    key_id: UUID,
    drain_hours: int,
    replaces: int | None = None,
    accept_excess: bool = False,
    note: str = "",
) -> KeyVersion:
    """Have the provider make a successor, prove it and make it current; the old version drains for `drain_hours`.

    `replaces`: the version that the caller takes for current. Rights beyond the chosen scopes need accepting only where
    the old version was not accepted with them. Raises as `rotation.rotate`, Conflict also while another assisted
    rotation runs, Refused also when the provider makes no successor (with what is missing). A successor that was made
    and does not become current is ended at the provider.
    """
    hours = rules.require_number(drain_hours, field="drain_hours", minimum=0, maximum=rotation.MAX_DRAIN_HOURS)
    text = rules.require_text(note, field="note", maximum=500, required=False)
    with binding.reading():
        require_active()
        key = selectors.get_key(key_id)
        old = _require_base(key, replaces)
        rotation.check_plan(key, old, hours)
        upstream = probing.upstream_of(key)
        succession = get_succession(upstream.entry)
        plaintext = custody.open_version(old)
    wanted = Wanted(key, old.number, hours, accept_excess, text, upstream)
    plan = succession.plan(upstream, plaintext)
    attempt = _begin(actor, wanted, plan)
    try:
        return _carry_out(actor, wanted, attempt, plan, plaintext)
    except PortalError as problem:
        _give_up(actor, attempt, problem.code)
        raise


def _require_base(key: Key, replaces: int | None) -> KeyVersion:
    current = rotation.require_rotatable(key)
    if current.state == VersionState.EXPIRED:
        message = f"Version {current.number} has expired: it cannot ask for a successor. Bring a new credential."
        raise Conflict(message, code="version_state")
    if replaces is not None and replaces != current.number:
        raise Conflict(f"Version {current.number} is current by now.", code="rotated_meanwhile")
    return current


def _begin(actor: Actor, wanted: Wanted, plan: SuccessorPlan) -> Succession:
    """Commit the attempt. From here on nothing that the provider makes is forgotten."""
    try:
        with commit():
            key, _old = rotation.lock_plan(wanted.key.id, base=wanted.base, hours=wanted.hours)
            earlier = Succession.objects.filter(key_id=key.id, state__in=OPEN).first()
            if earlier is not None and earlier.lapses_at > timezone.now():
                raise _running(earlier.lapses_at)
            if earlier is not None:
                _close(actor, earlier, "lapsed")
            lapses_at = timezone.now() + timedelta(seconds=settings.SUCCESSOR_SECONDS)
            attempt: Succession = Succession.objects.create(
                key=key, base=wanted.base, lapses_at=lapses_at, born_seconds=plan.born_seconds
            )
            jobs.enqueue(GIVE_UP, subject_id=attempt.id, run_after=lapses_at)
            detail = {"attempt": str(attempt.id), "replaces": wanted.base}
            append(actor=actor, action="key.successor_asked", target=Target("key", key.id), detail=detail)
    except IntegrityError:
        raise _running(None) from None
    return attempt


def _running(until: datetime | None) -> Conflict:
    when = f" It is given up at {until:%H:%M} UTC unless it is done by then." if until else ""
    return Conflict(f"Another rotation of this key is asking for a successor.{when}", code="rotation_running")


def _carry_out(actor: Actor, wanted: Wanted, attempt: Succession, plan: SuccessorPlan, plaintext: Secret) -> KeyVersion:
    succession = get_succession(wanted.upstream.entry)
    mark = {"byok_key": str(wanted.key.id), "byok_attempt": str(attempt.id)}
    made = succession.create(wanted.upstream, plaintext, plan, mark=mark, seconds=settings.SUCCESSOR_SECONDS)
    version = _keep(actor, wanted, attempt, made)
    succession.keep(wanted.upstream, made.plaintext, plan)
    evidence = probing.prove(wanted.key, made.plaintext)
    if wider := succession.find_widening(plan, evidence.result.evidence):
        raise Refused(f"The successor would be wider than version {wanted.base}: {wider}.", code="successor_wider")
    try:
        with commit():
            return _make_current(actor, wanted, attempt, version, evidence)
    except IntegrityError:
        raise Conflict("Another rotation of this key came first.", code="rotated_meanwhile") from None


def _keep(actor: Actor, wanted: Wanted, attempt: Succession, made: Successor) -> KeyVersion:
    """Seal the successor, whatever has happened to the key meanwhile: only what is stored can be ended."""
    try:
        with commit():
            key, row = _lock(attempt)
            version = versions.keep(
                key, made.plaintext, state=VersionState.REGISTERED, revoke_evidence=dict(made.evidence)
            )
            is_wanted = row.state == SuccessionState.ASKED and _is_live(key)
            if is_wanted:
                row.state, row.version = SuccessionState.MADE, version
                row.save(update_fields=["state", "version"])
            else:
                _end(actor, version, key, row)
            detail = {"attempt": str(row.id), "version": version.number, "wanted": is_wanted}
            append(actor=actor, action="key.successor_made", target=Target("key", key.id), detail=detail)
    except Exception:
        # Whatever kept it from being stored (a shredded tenant, say): nobody will be able to end it later.
        get_adapter(wanted.upstream.entry).revoke(wanted.upstream, made.plaintext)
        raise
    if not is_wanted:
        raise Conflict("The key ended, or the rotation was given up, while its successor was made.", code="given_up")
    return version


def _make_current(
    actor: Actor, wanted: Wanted, attempt: Succession, version: KeyVersion, evidence: Evidence
) -> KeyVersion:
    key, old = rotation.lock_plan(wanted.key.id, base=wanted.base, hours=wanted.hours)
    _key, row = _lock(attempt)
    version.refresh_from_db()
    if row.state != SuccessionState.MADE or version.state != VersionState.REGISTERED:
        raise Conflict("This rotation took too long and was given up.", code="given_up")
    proof = versions.store_proof(key, version, evidence)
    text = _accept(proof, old, wanted)
    now = timezone.now()
    versions.move(version, VersionState.VERIFIED, verified_at=now, expires_at=evidence.result.expires_at)
    rotation.make_current(actor, key, old, version, proof, hours=wanted.hours, note=text)
    row.state, row.closed_at = SuccessionState.DONE, now
    row.save(update_fields=["state", "closed_at"])
    return version


def _accept(proof: Proof, old: KeyVersion, wanted: Wanted) -> str:
    """The note. Excess that was accepted when the old version became current is not asked about again."""
    before = Proof.objects.filter(version_id=old.id, created_at__lte=old.activated_at)
    accepted = before.order_by("-created_at").values_list("excess", flat=True).first() or []
    if all(each in accepted for each in proof.excess):
        return wanted.note
    return lifecycle.check_excess(proof, accept_excess=wanted.accept_excess, note=wanted.note)


def _give_up(actor: Actor, attempt: Succession, code: str) -> None:
    with suppress(Conflict), commit():
        _key, row = _lock(attempt)
        if row.state not in OPEN:
            raise Conflict("The attempt is closed already.", code="closed")
        _close(actor, row, code)


@operation(
    "key.give_up_succession",
    permission=Permission.JOB_RUN,
    events=("key.successor_given_up",),
    page=_WORKER,
    api=_WORKER,
)
def give_up(*, actor: Actor, succession_id: UUID) -> Succession:
    """Close an attempt whose process has died; what it left is ended at the provider.

    Raises Conflict when it is closed, or may still be running (`not_lapsed`).
    """
    _key, row = _lock(Succession.objects.get(id=succession_id))
    if row.state not in OPEN:
        raise Conflict("The attempt is closed already.", code="closed")
    if row.lapses_at > timezone.now():
        raise Conflict("The attempt may still be running.", code=NOT_LAPSED)
    _close(actor, row, "lapsed")
    return row


def seconds_left(succession_id: UUID) -> int:
    """How long an attempt may still take."""
    with binding.reading():
        lapses_at = Succession.objects.get(id=succession_id).lapses_at
    return max(1, round((lapses_at - timezone.now()).total_seconds()))


def _close(actor: Actor, row: Succession, code: str) -> None:
    """Give a locked attempt up. What was stored goes to the worker; what was not will have died by `dies_by`."""
    version = row.version
    dies_by = "" if version else _written(timezone.now() + timedelta(seconds=row.lost_seconds))
    if version is not None and version.state == VersionState.REGISTERED:
        _end(actor, version, row.key, row)
    if version is None and row.lost_seconds > settings.SUCCESSOR_SECONDS and code != NO_SUCCESSOR:
        announcing.tell_successor_lost(row.key, row, dies_by=dies_by)
    row.state, row.closed_at, row.code = SuccessionState.GIVEN_UP, timezone.now(), code[:60]
    row.save(update_fields=["state", "closed_at", "code"])
    append(
        actor=actor,
        action="key.successor_given_up",
        target=Target("key", row.key_id),
        detail={
            "attempt": str(row.id),
            "version": version.number if version else 0,
            "code": row.code,
            "dies_by": dies_by,
        },
    )


def _end(actor: Actor, version: KeyVersion, key: Key, row: Succession) -> None:
    """A compromised key's token may have been in a thief's hands while it made this one."""
    exposed = key.state == KeyState.COMPROMISED
    reason = RevocationReason.KEY_COMPROMISE if exposed else RevocationReason.CESSATION_OF_OPERATION
    versions.end(version, reason=reason, compromised=exposed)
    lifecycle.enqueue_upstream(version)
    if exposed:
        response.add_version(actor, key, version, since=row.created_at)


def _is_live(key: Key) -> bool:
    return key.state not in selectors.ENDED_KEYS and get_tenant().state == TenantState.ACTIVE


def _lock(attempt: Succession) -> tuple[Key, Succession]:
    """The key first, as everywhere, then the attempt."""
    key = selectors.lock_key(attempt.key_id)
    return key, Succession.objects.lock().select_related("version", "key").get(id=attempt.id)


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
