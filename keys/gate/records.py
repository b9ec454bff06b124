"""What goes into the inbox: the same event as from the web's own door, sealed under a key at hand. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.models import DataKey as AuditDataKey
from audit.models import Outcome
from audit.sealing import Detail
from audit.services.recording import Event, compose, personal, write
from byok_portal.boundary import binding
from byok_portal.boundary.actors import ActorKind
from keys.services import custody
from keys.services.audit_seal import seal_under

if TYPE_CHECKING:
    from uuid import UUID

    from audit.sealing import SealedDetail
    from byok_portal.boundary.actors import Actor
    from keys.gate.asking import Asked
    from keys.gate.remembering import Facts


@dataclass(slots=True)  # not frozen: one is made for every use
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


def record_of_use(
    asked: Asked, facts: Facts, event: Event, private: dict[str, Any], *, allowed: bool, key: custody.AuditKey | None
) -> Record:
    """As `record_of`, of one use by its consumer: it goes by the request's own id."""
    event_id, row = asked.request_id, facts.row
    detail = Detail.of(personal(row["consumer_slug"], asked.use.address or "", asked.user_agent, private))
    outcome = Outcome.ALLOWED if allowed else Outcome.DENIED
    body = write(event_id, ActorKind.CONSUMER.value, row["consumer_id"], event, outcome, detail)
    tenant_id: UUID = row["tenant_id"]
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
