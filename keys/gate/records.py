"""What goes into the inbox: the same event as from the web's own door, sealed under a key at hand. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.models import DataKey as AuditDataKey
from audit.services.recording import Event, compose
from byok_portal.boundary import binding
from keys.services import custody
from keys.services.audit_seal import seal_under

if TYPE_CHECKING:
    from uuid import UUID

    from audit.models import Outcome
    from audit.sealing import Detail, SealedDetail
    from byok_portal.boundary.actors import Actor


@dataclass(frozen=True, slots=True)
class Record:
    """One event for the inbox, with its sealed personal data if there is a key to seal it under."""

    event_id: UUID
    tenant_id: UUID
    body: str
    sealed: SealedDetail | None


def record_of(
    actor: Actor,
    event: Event,
    outcome: Outcome,
    private: dict[str, Any],
    tenant_id: UUID,
    key: custody.AuditKey | None,
) -> Record:
    """An event of the tenant, its personal data sealed under the key."""
    event_id, body, detail = compose(actor, event, outcome, private)
    return Record(event_id, tenant_id, body, _seal(detail, key, tenant_id=tenant_id, event_id=event_id))


def _seal(detail: Detail, key: custody.AuditKey | None, *, tenant_id: UUID, event_id: UUID) -> SealedDetail | None:
    if key is None:
        return None
    return seal_under(key, detail.stored, tenant_id=tenant_id, event_id=event_id)


def unwrap_audit_key(
    tenant_id: UUID, version: int, wrapper: bytes, kek_ref: bytes, wrapped: bytes, kcv: bytes
) -> custody.AuditKey:
    """The tenant's audit data key, from its row. Raises as `custody.unwrap_audit_key`."""
    row = AuditDataKey(
        tenant_id=tenant_id,
        version=version,
        wrapper=wrapper.decode(),
        kek_ref=kek_ref.decode(),
        wrapped=wrapped,
        kcv=kcv,
    )
    with binding.bind_tenant(tenant_id):
        return custody.unwrap_audit_key(row)
