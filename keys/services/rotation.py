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
from byok_portal.errors import Conflict
from keys import selectors
from keys.services import lifecycle, probing, versions
from keys.services.catalogue import entry_of
from keys.services.registration import append_proven
from keys.states import KeyState, RevocationReason, VersionState
from tenants import rules
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret
    from keys.models import Key, KeyVersion
    from keys.services.probing import Evidence

MAX_DRAIN_HOURS: Final = 30 * 24
FINISH_DRAIN: Final = "key.finish_drain"


@operation(
    "key.rotate",
    permission=Permission.KEY_ROTATE,
    events=("key.rotated", "key.proven"),
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

    Raises InvalidInput (shape, reuse, hours), Refused (dead, other account, unaccepted excess), Conflict (key not
    active, an older version still drains, or another rotation won).
    """
    hours = rules.require_number(drain_hours, field="drain_hours", minimum=0, maximum=MAX_DRAIN_HOURS)
    with binding.reading():
        require_active()
        key = selectors.get_key(key_id)
        base = _require_rotatable(key)
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
                base=base,
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
    require_active()
    key = selectors.lock_key(key_id)
    if _require_rotatable(key) != base:
        raise Conflict("Another rotation of this key came first.", code="rotated_meanwhile")
    old = selectors.find_current(key.id)
    version, proof = versions.store(key, plaintext, evidence)
    text = lifecycle.check_excess(proof, accept_excess=accept_excess, note=note)
    now = timezone.now()
    if old is not None:
        _retire(old, hours=hours)
    versions.move(version, VersionState.ACTIVE, activated_at=now)
    append_proven(actor, key, version, proof)
    append(
        actor=actor,
        action="key.rotated",
        target=Target("key", key.id),
        detail={"version": version.number, "replaces": base, "drain_hours": hours},
        private={"note": text},
    )
    return version


def _retire(old: KeyVersion, *, hours: int) -> None:
    if not hours:
        versions.end(old, reason=RevocationReason.SUPERSEDED)
        lifecycle.enqueue_upstream(old)
        return
    until = timezone.now() + timedelta(hours=hours)
    versions.move(old, VersionState.SUPERSEDED, drain_until=until)
    jobs.enqueue(FINISH_DRAIN, subject_id=old.id, run_after=until)


def _require_rotatable(key: Key) -> int:
    """The number of the current version. Raises Conflict unless the key is active and nothing drains."""
    current = selectors.find_current(key.id)
    if key.state != KeyState.ACTIVE or current is None:
        raise Conflict(f"The key is {key.state}; only an active key is rotated.", code="key_state")
    draining = selectors.find_draining(key.id)
    if draining is not None:
        raise Conflict(
            f"Version {draining.number} still drains. Finish it first: at most two versions are usable.",
            code="still_draining",
        )
    return int(current.number)
