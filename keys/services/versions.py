"""Writing key versions and proofs: the parts that registration, proof and rotation share. Declares no operation."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from byok_portal.errors import Conflict, InvalidInput, Unavailable
from keys import rulebook, selectors
from keys.models import Key, KeyVersion, Material, Proof, UpstreamStatus
from keys.services import custody
from keys.shapes import hint
from keys.states import VERSION_TRANSITIONS, RevocationReason, VersionState

if TYPE_CHECKING:
    from datetime import datetime

    from byok_portal.boundary.secrets import Secret
    from keys.services.probing import Evidence


def refuse_reuse(plaintext: Secret, *, provider: str) -> None:
    """Raises InvalidInput when this tenant has the same credential already, naming where."""
    fingerprint, _ = custody.fingerprints(plaintext, provider=provider)
    same = KeyVersion.objects.filter(fingerprint=bytes(fingerprint)).select_related("key")
    for version in same:
        if version.state != VersionState.DESTROYED or version.was_compromised:
            raise InvalidInput(
                f"Secret is registered already, as {version.key.name} version {version.number} ({version.state}).",
                code="secret_reused",
                field="secret",
            )


def store(key: Key, plaintext: Secret, evidence: Evidence) -> tuple[KeyVersion, Proof]:
    """Seal a proven credential as the key's next version (verified), with its evidence."""
    found = {"expires_at": evidence.result.expires_at, "verified_at": timezone.now()}
    version = keep(key, plaintext, state=VersionState.VERIFIED, **found)
    return version, store_proof(key, version, evidence)


def keep(key: Key, plaintext: Secret, *, state: VersionState, **fields: Any) -> KeyVersion:
    """Seal a live credential as the next version of a locked key, in one of the states before it is current."""
    fingerprint, across = custody.fingerprints(plaintext, provider=key.provider.slug)
    number = key.next_version
    dek_version, blob = custody.seal_version(plaintext, key_id=key.id, number=number)
    version: KeyVersion = KeyVersion.objects.create(
        key=key,
        number=number,
        state=state,
        hint=hint(plaintext),
        fingerprint=fingerprint,
        global_fingerprint=across,
        dek_version=dek_version,
        upstream_status=UpstreamStatus.VALID,
        upstream_checked_at=timezone.now(),
        **fields,
    )
    Material.objects.create(version=version, blob=blob)
    key.next_version = number + 1
    key.save(update_fields=["next_version"])
    return version


def store_proof(key: Key, version: KeyVersion, evidence: Evidence) -> Proof:
    """Keep the evidence of one probe."""
    result = evidence.result
    account = result.account
    if account is None:
        message = "a proof binds an upstream account"
        raise Unavailable(message)
    effective = None if result.effective_scopes is None else sorted(result.effective_scopes)
    days = rulebook.policy_of(key).proof_days or settings.PROOF_DAYS
    proof: Proof = Proof.objects.create(
        key=key,
        version=version,
        challenge=evidence.challenge,
        method=f"{key.provider.slug}:live-probe",
        account_id=account.id[:300],
        account_label=account.label[:300],
        evidence={**result.evidence, **({"mode": evidence.mode} if evidence.mode else {})},
        effective_scopes=effective,
        missing=sorted(evidence.comparison.missing),
        excess=[asdict(item) for item in evidence.comparison.excess],
        expires_at=timezone.now() + timedelta(days=min(days, settings.PROOF_DAYS)),
    )
    return proof


def move(version: KeyVersion, to: VersionState, **fields: Any) -> None:
    """One transition with the columns that go with it. Raises Conflict when the state does not allow it."""
    state = VersionState(version.state)
    if to not in VERSION_TRANSITIONS[state]:
        message = f"Version {version.number} is {state.value}; it cannot become {to.value}."
        raise Conflict(message, code="version_state")
    version.state = to
    for name, value in fields.items():
        setattr(version, name, value)
    version.save(update_fields=["state", *fields])


def end(version: KeyVersion, *, reason: RevocationReason, compromised: bool = False) -> None:
    """Revoke or compromise a version. Its material stays, so that it can be revoked at the provider too."""
    now = timezone.now()
    if compromised:
        move(
            version,
            VersionState.COMPROMISED,
            ended_at=now,
            end_reason=reason.value,
            was_compromised=True,
            exposure="confirmed",
        )
    else:
        move(version, VersionState.REVOKED, ended_at=now, end_reason=reason.value)


def destroy(version: KeyVersion) -> None:
    """Crypto-shred one version: its ciphertext goes, its metadata stays."""
    Material.objects.filter(version_id=version.id).delete()
    move(version, VersionState.DESTROYED, ended_at=version.ended_at or timezone.now())


def is_expired(key: Key, version: KeyVersion, *, at: datetime) -> bool:
    """Whether the clock has ended the key or the version, whether or not a job has noticed."""
    upstream = version.expires_at is not None and at >= version.expires_at
    return upstream or at >= selectors.end_of(key.ends_on)
