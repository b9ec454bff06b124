"""Events recorded for a test, and what is stored of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit import sealing
from audit.models import PrivateDetail
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    from byok_portal.boundary.actors import Actor
    from tests.world import Cast


def act(cast: Cast, actor: Actor | None = None, **private: Any) -> UUID:
    """One event of the tenant."""
    with binding.bind_tenant(cast.id), binding.reading():
        target = Target("consumer", new_id())
        return append(actor=actor or cast.actor, action="consumer.registered", target=target, private=private)


def body_of(admin: psycopg.Connection, event_id: UUID) -> dict[str, Any]:
    """What was recorded, numbered or not."""
    query = (
        "SELECT body::jsonb FROM audit_inbox WHERE event_id = %(e)s UNION ALL "
        "SELECT leaf::jsonb->'body' FROM audit_entry WHERE event_id = %(e)s"
    )
    ((body,),) = admin.execute(query, {"e": event_id}).fetchall()
    return dict(body)


def sealed_of(admin: psycopg.Connection, event_id: UUID) -> bytes | None:
    row = admin.execute("SELECT sealed FROM audit_private WHERE event_id = %s", [event_id]).fetchone()
    return bytes(row[0]) if row else None


def opened(cast: Cast, *event_ids: UUID) -> dict[UUID, sealing.Detail]:
    with binding.bind_tenant(cast.id), binding.reading():
        rows = PrivateDetail.objects.filter(event_id__in=event_ids).values_list("event_id", "sealed")
        return sealing.open_details(rows)
