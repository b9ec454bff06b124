"""What was recorded of a tenant, wherever it is on its way through the sequencer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg


def recorded(admin: psycopg.Connection, tenant_id: UUID) -> list[tuple[str, str, str, str]]:
    """(action, outcome, actor, code) of everything recorded of the tenant, numbered or not, oldest first."""
    query = (
        "SELECT b->>'action', b->>'outcome', b#>>'{actor,id}', b#>>'{detail,code}' FROM ("
        "SELECT event_id, body::jsonb AS b FROM audit_inbox WHERE tenant_id = %(t)s UNION ALL "
        "SELECT event_id, leaf::jsonb->'body' FROM audit_entry WHERE tenant_id = %(t)s) events ORDER BY event_id"
    )
    return admin.execute(query, {"t": tenant_id}).fetchall()
