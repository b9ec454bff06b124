"""Registering a key: everything is checked, then control is proven, then all of it is stored or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import IntegrityError
from django.utils import timezone

from audit.models import Outcome
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import commit, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, Refused
from keys import selectors
from keys.models import UpstreamStatus
from keys.services import custody, drafts, probing, versions
from keys.states import KeyState, VersionState
from tenants.services import projects
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret
    from keys.models import Key, KeyVersion, Proof
    from keys.services.probing import Evidence


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered and proven key. Nothing can use it before it is activated."""

    key: Key
    version: KeyVersion
    proof: Proof


@operation(
    "key.register",
    permission=Permission.KEY_REGISTER,
    events=("key.registered", "key.proven"),
    page="keys:register",
    api="api:keys",
    external=True,
)
def register(*, actor: Actor, draft: drafts.KeyDraft, plaintext: Secret) -> Registration:
    """Register a key with its first version, proven.

    Raises InvalidInput or InvalidInputs (field and rule), Refused (proof failed, other account, missing scope),
    UpstreamUnavailable (no answer). In each case nothing is stored.
    """
    with binding.reading():
        require_active()
        checked = drafts.check(draft)
        probing.check_secret(plaintext, checked.entry, environment=checked.key.environment)
        versions.refuse_reuse(plaintext, provider=checked.provider.slug)
    evidence = probing.prove(checked.key, plaintext)
    try:
        with commit():
            return _store(actor, checked.key, plaintext, evidence)
    except IntegrityError:
        # Another registration took the name or the secret while the provider was being asked.
        message = "Another key with this name or this secret was registered at the same time."
        raise Conflict(message, code="registered_meanwhile") from None


def _store(actor: Actor, key: Key, plaintext: Secret, evidence: Evidence) -> Registration:
    require_active()
    projects.leave_running(key.project_id)
    versions.refuse_reuse(plaintext, provider=key.provider.slug)
    account = evidence.result.account
    key.account_id = account.id[:300] if account else ""
    key.account_label = account.label[:300] if account else ""
    key.registered_by_id = actor.id
    key.save(force_insert=True)
    version, proof = versions.store(key, plaintext, evidence)
    target = Target("key", key.id)
    append(
        actor=actor,
        action="key.registered",
        target=target,
        detail={
            "slug": key.slug,
            "provider": key.provider.slug,
            "environment": key.environment,
            "custody": key.custody,
            "scopes": key.scopes,
            "ends_on": str(key.ends_on),
            "project": str(key.project_id or ""),
            "version": version.number,
        },
    )
    append_proven(actor, key, version, proof)
    return Registration(key, version, proof)


def append_proven(actor: Actor, key: Key, version: KeyVersion, proof: Proof) -> None:
    """The event of a passed proof, the same wherever it was passed."""
    append(
        actor=actor,
        action="key.proven",
        target=Target("key", key.id),
        detail={
            "version": version.number,
            "proof": str(proof.id),
            "challenge": proof.challenge,
            "account": proof.account_id,
            "excess": len(proof.excess),
        },
    )


@operation(
    "key.prove",
    permission=Permission.KEY_PROVE,
    events=("key.proven", "key.proof_failed"),
    page="keys:prove",
    api="api:key-proof",
    external=True,
)
def prove(*, actor: Actor, key_id: UUID) -> Proof:
    """Probe the current version again. Raises Refused when it is dead or another account's; the key stays as it was."""
    with binding.reading():
        require_active()
        key = selectors.get_key(key_id)
        version = _provable(key)
        plaintext = custody.open_version(version)
    try:
        evidence = probing.prove(key, plaintext)
    except Refused as refusal:
        if refusal.code == "proof_failed":
            _mark_invalid(actor, version)
        raise
    with commit():
        require_active()
        selectors.lock_key(key.id)
        _require_unchanged(version)
        _set_upstream(version, UpstreamStatus.VALID, expires_at=evidence.result.expires_at)
        proof = versions.store_proof(key, version, evidence)
        append_proven(actor, key, version, proof)
    return proof


def _provable(key: Key) -> KeyVersion:
    verified = selectors.list_versions(key.id).filter(state=VersionState.VERIFIED)
    version = selectors.find_current(key.id) or verified.first()
    if version is None:
        raise Conflict("The key has no version that can be proven.", code="no_version")
    return version


def _require_unchanged(version: KeyVersion) -> None:
    """Raises Conflict when the version was ended or replaced while the provider was being asked."""
    probed = version.state
    version.refresh_from_db()
    if version.state != probed:
        raise Conflict(f"Version {version.number} is {version.state} by now.", code="version_state")


def _mark_invalid(actor: Actor, version: KeyVersion) -> None:
    """The provider refuses the credential: known from now on, so that nobody activates it on an older proof."""
    with commit():
        selectors.lock_key(version.key_id)
        _require_unchanged(version)
        _set_upstream(version, UpstreamStatus.INVALID)
        append(
            actor=actor,
            action="key.proof_failed",
            target=Target("key", version.key_id),
            outcome=Outcome.FAILED,
            detail={"version": version.number},
        )


def _set_upstream(version: KeyVersion, status: UpstreamStatus, **fields: datetime | None) -> None:
    version.upstream_status, version.upstream_checked_at = status, timezone.now()
    for name, value in fields.items():
        setattr(version, name, value)
    version.save(update_fields=["upstream_status", "upstream_checked_at", *fields])


@operation(
    "key.withdraw",
    permission=Permission.KEY_WITHDRAW,
    events=("key.withdrawn",),
    page="keys:withdraw",
    api="api:key-withdraw",
)
def withdraw(*, actor: Actor, key_id: UUID) -> Key:
    """Take back a key that was never activated: our copy is destroyed, the credential itself stays as it was.

    Raises Conflict after activation.
    """
    key = selectors.lock_key(key_id)
    if key.state != KeyState.PENDING:
        raise Conflict("The key was activated; revoke it instead.", code="key_state")
    for version in selectors.list_versions(key.id):
        versions.destroy(version)
    key.state, key.ended_at = KeyState.REVOKED, timezone.now()
    key.save(update_fields=["state", "ended_at"])
    append(actor=actor, action="key.withdrawn", target=Target("key", key.id))
    return key
