"""Events written straight into the inbox, as whoever holds a database login could."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from byok_portal.boundary.identifiers import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    import psycopg

INSERT = "INSERT INTO audit_inbox (event_id, tenant_id, body) VALUES (%s, %s, %s)"


def document(event_id: UUID, **changes: Any) -> dict[str, Any]:
    """A whole body of an event."""
    body: dict[str, Any] = {
        "action": "key.used",
        "actor": {"id": str(new_id()), "kind": "consumer"},
        "detail": {},
        "id": str(event_id),
        "outcome": "allowed",
        "priv": "A" * 43 + "=",
        "req": "",
        "target": {"id": str(new_id()), "kind": "key"},
        "time": "2026-01-02T03:04:05.000006Z",
    }
    return {**body, **changes}


def text(body: dict[str, Any]) -> str:
    """Its canonical form."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fill(
    connection: psycopg.Connection, tenants: Iterable[UUID], *, each: int, start: int = 1
) -> list[tuple[UUID, UUID]]:
    """`each` events per tenant, taken in turns and numbered in `detail.n`. Returns (tenant, event) ids in order."""
    chosen = list(tenants)
    made = [(tenant, new_id(), n) for n in range(start, start + each) for tenant in chosen]
    rows = [(event, tenant, text(document(event, detail={"n": n}))) for tenant, event, n in made]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(INSERT, rows)
    return [(tenant, event) for tenant, event, _ in made]
