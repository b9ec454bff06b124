"""Revoking a credential at its provider, and saying so only after looking again. Safe to kill at any line.

Before the provider is told, `revoke_called_at` is committed. A run that finds it set looks first, so a revocation
that took effect is never repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.utils import timezone

from audit.models import Outcome
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, commit, operation
from byok_portal.boundary.permissions import Permission
from keys import selectors
from keys.models import Key, KeyVersion, Material, UpstreamStatus
from keys.providers import get_adapter
from keys.services import custody, response
from keys.services.probing import upstream_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret
    from keys.catalogue.entries import Json

_WORKER: Final = Absent("a worker does it after a key, a version or a tenant has ended")
DEAD: Final = UpstreamStatus.REVOKED_CONFIRMED
LONGEST_CALL: Final = timedelta(minutes=3)
CONFIRMED: Final = "The provider confirms that the credential is dead."


@dataclass(frozen=True, slots=True)
class Ending:
    """How the end of a version at its provider stands. `retry`: the provider gave no answer, so come again."""

    status: str
    note: str
    retry: bool = False

    @property
    def confirmed(self) -> bool:
        return self.status == DEAD


@operation(
    "key.end_upstream",
    permission=Permission.JOB_RUN,
    events=("key.upstream_called", "key.upstream_revoked", "key.upstream_residual", "incident.task_settled"),
    page=_WORKER,
    api=_WORKER,
    external=True,
)
def end_version(  # noqa: PLR0911  # one return per thing that a provider may say
    *, actor: Actor, version_id: UUID, last_attempt: bool = False
) -> Ending:
    """Revoke one version at its provider and look again.

    `last_attempt`: what could not be done is recorded as a residual instead of being tried again.
    """
    with binding.reading():
        version = KeyVersion.objects.select_related("key", "key__provider").get(id=version_id)
        key = version.key
        if version.upstream_status == DEAD:
            return Ending(DEAD, version.upstream_note)
        if not Material.objects.filter(version_id=version.id).exists():
            return Ending(version.upstream_status, "The credential was destroyed before it could be revoked upstream.")
        plaintext = custody.open_version(version)
        evidence = _evidence_of(version)
    if version.revoke_called_at is not None:
        ending = _settle_earlier_call(actor, version, plaintext, evidence, last_attempt=last_attempt)
        if ending is not None:
            return ending
    with commit():
        _mark_called(actor, version)
    upstream = upstream_of(key)
    answer = get_adapter(upstream.entry).revoke(upstream, plaintext)
    if not answer.supported:
        return _record(actor, version, UpstreamStatus.VALID, answer.note)
    _keep_evidence(version, answer.evidence)
    status = _look(key, plaintext, {**evidence, **answer.evidence})
    if status == DEAD:
        return _record(actor, version, DEAD, CONFIRMED)
    if not last_attempt:
        return Ending(status, answer.note, retry=True)
    return _record(actor, version, status, answer.note or "The provider did not confirm the revocation.")


def _settle_earlier_call(
    actor: Actor, version: KeyVersion, plaintext: Secret, evidence: dict[str, object], *, last_attempt: bool
) -> Ending | None:
    """What an earlier call came to, or None when it did not take effect and must be made again."""
    status = _look(version.key, plaintext, evidence)
    if status == DEAD:
        return _record(actor, version, DEAD, CONFIRMED)
    if status == UpstreamStatus.VALID:
        return None
    called_at = version.revoke_called_at or timezone.now()
    in_flight = timezone.now() - called_at < LONGEST_CALL
    if (in_flight or status == UpstreamStatus.UNREACHABLE) and not last_attempt:
        # The earlier worker may still be waiting for its answer: what it learns must not be forestalled.
        return Ending(status, "The provider has not confirmed the revocation yet.", retry=True)
    # Refused since our call, but its answer was lost: a second call could tell no more, so none is made.
    note = "The provider refuses the credential since our call, but did not tell whether it is revoked or locked out."
    return _record(actor, version, status, note)


def _look(key: Key, plaintext: Secret, evidence: dict[str, object]) -> UpstreamStatus:
    upstream = upstream_of(key)
    found = get_adapter(upstream.entry).confirm(upstream, plaintext, evidence=evidence)  # type: ignore[arg-type]
    return UpstreamStatus(found.value)


def _evidence_of(version: KeyVersion) -> dict[str, object]:
    proof = selectors.find_proof(version.key_id, version_id=version.id)
    return {**(proof.evidence if proof else {}), **version.revoke_evidence}


def _mark_called(actor: Actor, version: KeyVersion) -> None:
    version.revoke_called_at = timezone.now()
    version.save(update_fields=["revoke_called_at"])
    target, detail = Target("key", version.key_id), {"version": version.number}
    append(actor=actor, action="key.upstream_called", target=target, detail=detail)


def _keep_evidence(version: KeyVersion, evidence: Mapping[str, Json]) -> None:
    """At once and by itself: after a crash the look needs it."""
    with transaction.atomic():
        version.revoke_evidence = {**version.revoke_evidence, **evidence}
        version.save(update_fields=["revoke_evidence"])


def _record(actor: Actor, version: KeyVersion, status: UpstreamStatus, note: str) -> Ending:
    confirmed = status == DEAD
    with commit():
        version.upstream_status, version.upstream_checked_at = status, timezone.now()
        version.upstream_note = note[:300]
        version.save(update_fields=["upstream_status", "upstream_checked_at", "upstream_note"])
        append(
            actor=actor,
            action="key.upstream_revoked" if confirmed else "key.upstream_residual",
            target=Target("key", version.key_id),
            outcome=Outcome.ALLOWED if confirmed else Outcome.FAILED,
            detail={"version": version.number, "status": status.value},
        )
        if confirmed:
            response.settle_upstream(actor, version)
    return Ending(status, note)
