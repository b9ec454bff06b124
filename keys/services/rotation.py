"""Rotating a key: the successor is proven, then becomes current while the old version drains. The key's id stays.

What happens to the old version afterwards is in `draining`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import IntegrityError
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding, jobs
from byok_portal.boundary.operations import commit, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput
from keys import rulebook, selectors
from keys.models import Exposure
from keys.policies import BOUNDS
from keys.restrictions import has_come
from keys.services import clocks, lifecycle, probing, response, versions
from keys.services.catalogue import entry_of
from keys.services.registration import append_proven
from keys.states import KeyState, RevocationReason, VersionState
from tenants import rules
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret
    from keys.models import Key, KeyVersion, Proof
    from keys.services.probing import Evidence

MAX_DRAIN_HOURS: Final = BOUNDS["max_drain_hours"][1]
FINISH_DRAIN: Final = clocks.FINISH_DRAIN


@operation(
    "key.rotate",
    permission=Permission.KEY_ROTATE,
    events=("key.rotated", "key.proven", "key.resumed"),
    page="keys:rotate",
    api="api:key-versions",
    external=True,
)
def rotate(
    *,
    actor: Actor,
    key_id: UUID,
    plaintext: Secret,
    drain_hours: int,
    accept_excess: bool = False,
    note: str = "",
) -> KeyVersion:
    """Prove a successor and make it current; the old version drains for `drain_hours`, or ends at once for 0.

    A key that is suspended because it is overdue becomes active again. Raises InvalidInput (shape, reuse, hours beyond
    the policy or the old version's lifetime), Refused (dead, other account, unaccepted excess), Conflict (key not
    active, an older version still drains, or another rotation won).
    """
    hours = rules.require_number(drain_hours, field="drain_hours", minimum=0, maximum=MAX_DRAIN_HOURS)
    with binding.reading():
        require_active()
        key = selectors.get_key(key_id)
        base = require_rotatable(key)
        check_plan(key, base, hours)
        probing.check_secret(plaintext, entry_of(key.provider), environment=key.environment)
        versions.refuse_reuse(plaintext, provider=key.provider.slug)
    evidence = probing.prove(key, plaintext)
    try:
        with commit():
            return _store(
                actor,
                key.id,
                plaintext,
                evidence,
                base=base.number,
                hours=hours,
                accept_excess=accept_excess,
                note=note,
            )
    except IntegrityError:
        raise Conflict("Another rotation of this key came first.", code="rotated_meanwhile") from None


def _store(
    actor: Actor,
    key_id: UUID,
    plaintext: Secret,
    evidence: Evidence,
    *,
    base: int,
    hours: int,
    accept_excess: bool,
    note: str,
) -> KeyVersion:
    key, old = lock_plan(key_id, base=base, hours=hours)
    version, proof = versions.store(key, plaintext, evidence)
    text = lifecycle.check_excess(proof, accept_excess=accept_excess, note=note)
    make_current(actor, key, old, version, proof, hours=hours, note=text)
    return version


def lock_plan(key_id: UUID, *, base: int, hours: int) -> tuple[Key, KeyVersion]:
    """The locked key and the version to replace. Raises Conflict or InvalidInput when the plan holds no more."""
    require_active()
    key = selectors.lock_key(key_id)
    old = require_rotatable(key)
    if old.number != base:
        raise Conflict("Another rotation of this key came first.", code="rotated_meanwhile")
    check_plan(key, old, hours)
    return key, old


def make_current(
    actor: Actor, key: Key, old: KeyVersion, version: KeyVersion, proof: Proof, *, hours: int, note: str
) -> None:
    """The verified version becomes current and the old one drains, or ends. The key is locked."""
    now = timezone.now()
    if old.state != VersionState.EXPIRED:
        _retire(old, hours=hours)
    versions.move(version, VersionState.ACTIVE, activated_at=now)
    response.forget_hold(key.id)
    was_suspended = key.state == KeyState.SUSPENDED
    if not was_suspended:
        clocks.reset(key)
    append_proven(actor, key, version, proof)
    if was_suspended and clocks.restart(key, version):
        resumed = {"reason": "", "versions": [version.number]}
        append(actor=actor, action="key.resumed", target=Target("key", key.id), detail=resumed)
    append(
        actor=actor,
        action="key.rotated",
        target=Target("key", key.id),
        detail={"version": version.number, "replaces": old.number, "drain_hours": hours},
        private={"note": note},
    )


def check_plan(key: Key, old: KeyVersion, hours: int) -> None:
    """Refuse a drain that the policy does not allow while it is being planned, not when it is too late."""
    problem = find_problem(key, old, hours)
    if problem is not None:
        raise problem


def find_problem(key: Key, old: KeyVersion | None, hours: int) -> InvalidInput | None:
    """What speaks against a drain of so many hours, by the policy in force and those that are scheduled."""
    if not hours or old is None or old.state == VersionState.EXPIRED:
        return None
    if old.exposure != Exposure.NONE:
        rule = "Drain hours: 0. Strangers may know the old credential, so it ends at once."
        return InvalidInput(rule, code="exposed", field="drain_hours")
    book = rulebook.read_book([key.id])
    most = book.policy(key.id).max_drain_hours
    if most is not None and hours > most:
        rule = f"Drain hours: at most {most}, as the policy says."
        return InvalidInput(rule, code="exceeds_drain", field="drain_hours")
    end = book.first(key.id, old.activated_at, lambda each: each.lifetime_ends_at)
    if has_come(end, timezone.now() + timedelta(hours=hours)):
        rule = "Drain hours: the old version would outlive its maximum lifetime. Its age counts from its first day."
        return InvalidInput(rule, code="exceeds_lifetime", field="drain_hours")
    return None


def _retire(old: KeyVersion, *, hours: int) -> None:
    if not hours:
        versions.end(old, reason=RevocationReason.SUPERSEDED)
        lifecycle.enqueue_upstream(old)
        return
    until = timezone.now() + timedelta(hours=hours)
    versions.move(old, VersionState.SUPERSEDED, drain_until=until)
    jobs.enqueue(FINISH_DRAIN, subject_id=old.id, run_after=until)


def require_rotatable(key: Key) -> KeyVersion:
    """The version to replace. Raises Conflict while one drains, or unless the key is active or waits for a rotation."""
    current = selectors.find_current(key.id) or selectors.find_expired(key.id)
    if current is None or not (key.state == KeyState.ACTIVE or _is_waiting(key)):
        message = f"The key is {key.state}; only an active key is rotated, or one that is suspended and overdue."
        raise Conflict(message, code="key_state")
    if selectors.end_of(key.ends_on) <= timezone.now():
        raise Conflict("The key has ended by its end date; a new version could not be used.", code="key_expired")
    draining = selectors.find_draining(key.id)
    if draining is not None:
        raise Conflict(
            f"Version {draining.number} still drains. Finish it first: at most two versions are usable.",
            code="still_draining",
        )
    return current


def _is_waiting(key: Key) -> bool:
    """Rotation is what an overdue key waits for, whoever suspended it, one in quarantine, and one that expired.

    Without a version nothing else leads on; whoever suspended the key still decides when it serves again.
    """
    if key.state != KeyState.SUSPENDED:
        return False
    return clocks.is_overdue(key) or response.is_quarantined(key.id) or selectors.find_current(key.id) is None
