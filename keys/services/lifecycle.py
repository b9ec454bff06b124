"""Activating, suspending, resuming and revoking a key: each a single commit that every process sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import jobs
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, Refused
from keys import rulebook, selectors
from keys.models import Grant, Incident, Key, KeyVersion, Material, Proof, UpstreamStatus
from keys.services import clocks, response, versions
from keys.states import GrantState, KeyState, RevocationReason, VersionState
from tenants import rules
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

REVOKE_UPSTREAM = "key.revoke_upstream"


@operation(
    "key.activate",
    permission=Permission.KEY_ACTIVATE,
    events=("key.activated",),
    page="keys:activate",
    api="api:key-activate",
)
def activate(*, actor: Actor, key_id: UUID, accept_excess: bool = False, note: str = "") -> Key:
    """Make a proven key usable. What the credential can do beyond the chosen scopes must be accepted with a reason.

    Raises Refused without a live proof or with unaccepted excess, Conflict in another state.
    """
    require_active()
    clocks.freeze_policies()
    key = selectors.lock_key(key_id)
    version = selectors.list_versions(key.id).filter(state=VersionState.VERIFIED).first()
    if key.state != KeyState.PENDING or version is None:
        raise Conflict(f"The key is {key.state}; only a pending, proven key is activated.", code="key_state")
    proof = require_proof(key, version)
    text = check_excess(proof, accept_excess=accept_excess, note=note)
    refuse_expired(key, version)
    if version.upstream_status == UpstreamStatus.INVALID:
        raise Refused("The provider refuses this credential since it was proven.", code="upstream_invalid")
    versions.move(version, VersionState.ACTIVE, activated_at=timezone.now())
    _set_state(key, KeyState.ACTIVE)
    clocks.reset(key)
    append(
        actor=actor,
        action="key.activated",
        target=Target("key", key.id),
        detail={"version": version.number, "proof": str(proof.id), "excess": len(proof.excess)},
        private={"note": text},
    )
    return key


@operation(
    "key.suspend",
    permission=Permission.KEY_SUSPEND,
    events=("key.suspended",),
    page="keys:suspend",
    api="api:key-suspend",
)
def suspend(*, actor: Actor, key_id: UUID, note: str = "") -> Key:
    """Refuse every use from this commit on, until resumed. Raises Conflict unless active."""
    key = _lock_in(key_id, KeyState.ACTIVE)
    hold(key)
    clocks.hold(key)
    return append_change(actor, key, "key.suspended", reason=RevocationReason.HOLD, note=note)


@operation(
    "key.resume",
    permission=Permission.KEY_RESUME,
    events=("key.resumed",),
    page="keys:resume",
    api="api:key-resume",
)
def resume(*, actor: Actor, key_id: UUID, note: str = "") -> Key:
    """Allow uses again. Raises Conflict unless suspended or while in quarantine, Refused for an expired credential or
    one still overdue.
    """
    require_active()
    key = _lock_in(key_id, KeyState.SUSPENDED)
    current = selectors.find_current(key.id)
    if current is None:
        raise Conflict("The key has no current version.", code="no_version")
    response.refuse_quarantined(key)
    refuse_expired(key, current)
    clocks.refuse_due(key)
    _bring_back(key, current)
    return append_change(actor, key, "key.resumed", note=note)


@operation(
    "key.revoke",
    permission=Permission.KEY_REVOKE,
    events=("key.revoked",),
    page="keys:revoke",
    api="api:key-revoke",
)
def revoke(*, actor: Actor, key_id: UUID, reason: str, note: str = "") -> Key:
    """End the key here, at once and for ever; then a worker revokes it at the provider and looks again.

    Raises InvalidInput for an unknown reason, Conflict when the key has ended.
    """
    why = RevocationReason(rules.require_choice(reason, [word.value for word in RevocationReason], field="reason"))
    key = selectors.lock_key(key_id)
    if key.state in selectors.ENDED_KEYS:
        raise Conflict(f"The key is {key.state} already.", code="key_state")
    ended = end_key(key, reason=why)
    for version in ended:
        enqueue_upstream(version)
    return append_change(actor, key, "key.revoked", reason=why, note=note, ended=ended)


def release(key: Key) -> bool:
    """Make a locked, suspended key active again, unless something else keeps it suspended. Answers which."""
    current = selectors.find_current(key.id)
    if key.state != KeyState.SUSPENDED or current is None:
        return False
    try:
        refuse_expired(key, current)
        clocks.refuse_due(key)
    except Refused:
        return False
    _bring_back(key, current)
    return True


def end_key(key: Key, *, reason: RevocationReason, compromised: bool = False) -> list[KeyVersion]:
    """Write the end of a locked key, its versions and its grants. Returns the versions that ended now."""
    open_versions = selectors.list_versions(key.id).exclude(
        state__in=[VersionState.DESTROYED, VersionState.COMPROMISED]
    )
    ended = []
    for version in open_versions:
        if compromised or version.state not in {VersionState.REVOKED, VersionState.EXPIRED}:
            versions.end(version, reason=reason, compromised=compromised)
            ended.append(version)
    now = timezone.now()
    Grant.objects.filter(key_id=key.id, state=GrantState.ACTIVE).update(
        state=GrantState.REVOKED, ended_at=now, end_reason=reason.value
    )
    key.ended_at = now
    _set_state(key, KeyState.COMPROMISED if compromised else KeyState.REVOKED, "ended_at")
    return ended


def enqueue_upstream(version: KeyVersion) -> None:
    """Hand the revocation at the provider to a worker, in the same transaction, if there is material to revoke."""
    if Material.objects.filter(version_id=version.id).exists():
        jobs.enqueue(REVOKE_UPSTREAM, subject_id=version.id)


def require_proof(key: Key, version: KeyVersion) -> Proof:
    """The live proof of this version. Raises Refused without one."""
    proof = selectors.find_proof(key.id, version_id=version.id)
    if proof is None or rulebook.proof_ends_at(proof, rulebook.policy_of(key)) <= timezone.now():
        raise Refused("Control of this credential is not proven, or the proof has expired.", code="not_proven")
    return proof


def check_excess(proof: Proof, *, accept_excess: bool, note: str) -> str:
    """The reason for accepting rights beyond the chosen scopes. Raises Refused when they were not accepted."""
    text = rules.require_text(note, field="note", maximum=500, required=False)
    if proof.excess and not (accept_excess and text):
        raise Refused(
            f"The credential can do {len(proof.excess)} things more than was chosen. Accept that with a reason, or "
            "bring a credential with fewer rights.",
            code="excess_not_accepted",
            field="note" if accept_excess else "accept_excess",
        )
    return text


def refuse_expired(key: Key, version: KeyVersion) -> None:
    """Raises Refused when the clock has ended the key or this version."""
    if versions.is_expired(key, version, at=timezone.now()):
        raise Refused("The key or its credential has expired.", code="key_expired")


def _lock_in(key_id: UUID, state: KeyState) -> Key:
    key = selectors.lock_key(key_id)
    if key.state != state:
        raise Conflict(f"The key is {key.state}, not {state.value}.", code="key_state")
    return key


def hold(key: Key) -> None:
    """Write the suspension of a locked, active key and of its current version."""
    current = selectors.find_current(key.id)
    if current is not None:
        versions.move(current, VersionState.SUSPENDED)
    _set_state(key, KeyState.SUSPENDED)


def _bring_back(key: Key, current: KeyVersion) -> None:
    versions.move(current, VersionState.ACTIVE)
    _set_state(key, KeyState.ACTIVE)
    clocks.reset(key)


def _set_state(key: Key, state: KeyState, *fields: str) -> None:
    key.state = state
    key.save(update_fields=["state", *fields])


def append_change(
    actor: Actor,
    key: Key,
    action: str,
    *,
    note: str = "",
    reason: RevocationReason | None = None,
    ended: list[KeyVersion] | None = None,
    incident: Incident | None = None,
) -> Key:
    """The entry of a change of a key's state; answers with the key."""
    text = rules.require_text(note, field="note", maximum=500, required=False)
    detail = {
        "reason": reason.value if reason else "",
        "versions": [version.number for version in ended or []],
        **({"incident": str(incident.id)} if incident else {}),
    }
    append(actor=actor, action=action, target=Target("key", key.id), detail=detail, private={"note": text})
    return key
