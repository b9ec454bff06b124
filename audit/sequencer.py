"""The one process that numbers events: inbox to entries in one transaction, per-tenant chains, no gaps.

Rows are taken because they are visible, not because they come after a cursor: a late commit is numbered later and
never skipped. It must never change or remove an entry, and a second sequencer must wait (advisory lock).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from django.db import connections, transaction
from django.utils import timezone

from audit.canonical import parse_canonical
from audit.chain import GENESIS, build_leaf, leaf_hash
from byok_portal import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger("byok.sequencer")

ALIAS: Final = "sequencer"
LOCK: Final = 0x62796F6B
BATCH: Final = 2000
MAX_BODY: Final = 16 * 1024

_TAKE: Final = (
    "SELECT event_id, tenant_id, body FROM audit_inbox WHERE NOT event_id = ANY(%b::uuid[]) ORDER BY event_id LIMIT %s"
)
# Binary array parameters: psycopg's text form of text[] spends most of its time in a regular expression.
_INSERT: Final = """
INSERT INTO audit_entry (idx, tenant_id, tseq, event_id, leaf, action, outcome, actor_kind, actor_id, target_kind,
                         target_id, occurred_at)
SELECT * FROM unnest(%b::bigint[], %b::uuid[], %b::bigint[], %b::uuid[], %b::text[], %b::text[], %b::text[],
                     %b::text[], %b::uuid[], %b::text[], %b::uuid[], %b::timestamptz[])
"""
_HEADS: Final = """
INSERT INTO audit_tenanthead (tenant_id, tseq, idx, leaf_hash)
SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::bigint[], %b::bytea[])
ON CONFLICT (tenant_id) DO UPDATE SET tseq = EXCLUDED.tseq, idx = EXCLUDED.idx, leaf_hash = EXCLUDED.leaf_hash
"""


@dataclass(slots=True)
class Head:
    """The end of one tenant's chain."""

    tseq: int = 0
    idx: int = -1
    hash: bytes = GENESIS


@dataclass(slots=True)
class Sequencer:
    """Numbers events for as long as it holds the lock. `refused` are inbox rows that are not canonical."""

    refused: set[UUID] = field(default_factory=set)

    def acquire(self) -> bool:
        """Take the installation-wide lock, or say that another sequencer has it."""
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            return bool(cursor.fetchone()[0])

    def run_once(self) -> int:
        """Number one batch. Returns how many events were numbered."""
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            cursor.execute(_TAKE, [list(self.refused), BATCH])
            rows = [row for row in cursor.fetchall() if self._is_canonical(*row)]
            size = self._lock_state(cursor, len(rows))
            if rows:
                _number(cursor, rows, size)
        return len(rows)

    def _lock_state(self, cursor: Any, count: int) -> int:
        now = timezone.now()
        cursor.execute(
            "INSERT INTO audit_logstate (id, size, waiting, beat_at) VALUES (1, %s, %s, %s) ON CONFLICT (id) DO UPDATE "
            "SET size = audit_logstate.size + %s, waiting = %s, beat_at = %s RETURNING size",
            [count, len(self.refused), now, count, len(self.refused), now],
        )
        return int(cursor.fetchone()[0]) - count

    def _is_canonical(self, event_id: UUID, tenant_id: UUID, body: str) -> bool:
        try:
            if len(body.encode()) > MAX_BODY or parse_canonical(body.encode())["id"] != str(event_id):
                message = "the body is too long or names another event"
                raise errors.InvalidInput(message)
        except (errors.PortalError, KeyError, UnicodeEncodeError) as error:
            self.refused.add(event_id)
            log.error("refused", event_id=str(event_id), tenant_id=str(tenant_id), reason=type(error).__name__)
            return False
        return True


def _number(cursor: Any, rows: list[tuple[UUID, UUID, str]], size: int) -> None:
    heads = _load_heads(cursor, {tenant_id for _, tenant_id, _ in rows})
    entries = [_entry(heads[tenant_id], size + n, event_id, tenant_id, body) for n, (event_id, tenant_id, body) in enumerate(rows)]
    cursor.execute(_INSERT, [list(column) for column in zip(*entries, strict=True)])
    columns = zip(*((tenant_id, head.tseq, head.idx, head.hash) for tenant_id, head in heads.items()), strict=True)
    cursor.execute(_HEADS, [list(column) for column in columns])
    cursor.execute("DELETE FROM audit_inbox WHERE event_id = ANY(%b::uuid[])", [[row[0] for row in rows]])


def _load_heads(cursor: Any, tenant_ids: Iterable[UUID]) -> dict[UUID, Head]:
    heads = {tenant_id: Head() for tenant_id in tenant_ids}
    cursor.execute(
        "SELECT tenant_id, tseq, idx, leaf_hash FROM audit_tenanthead WHERE tenant_id = ANY(%b::uuid[])", [list(heads)]
    )
    for tenant_id, tseq, idx, digest in cursor.fetchall():
        heads[tenant_id] = Head(tseq, idx, bytes(digest))
    return heads


def _entry(head: Head, idx: int, event_id: UUID, tenant_id: UUID, body: str) -> tuple[Any, ...]:
    document = parse_canonical(body.encode())
    leaf = build_leaf(tenant=tenant_id, seq=head.tseq + 1, prev=head.hash, body=document)
    head.tseq, head.idx, head.hash = head.tseq + 1, idx, leaf_hash(leaf)
    return (idx, tenant_id, head.tseq, event_id, leaf.decode(), *columns_of(document))


def columns_of(body: dict[str, Any]) -> tuple[Any, ...]:
    """The filter columns, read from an event's body: the only place that maps them."""
    actor, target = body["actor"], body["target"]
    return (
        body["action"],
        body["outcome"],
        actor["kind"],
        UUID(actor["id"]),
        target["kind"],
        UUID(target["id"]),
        datetime.fromisoformat(body["time"]),
    )
