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
from audit.models import Outcome
from byok_portal import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger("byok.sequencer")

ALIAS: Final = "sequencer"
LOCK: Final = 0x62796F6B
BATCH: Final = 2000
MAX_BODY: Final = 16 * 1024
_WIDTHS: Final = (60, 10, 10, 0, 20, 0, 0)
"""How wide the text columns of `columns_of` are; 0 for those that hold no text."""

# Rows are named by tenant and event id together: nothing stops two tenants from having an event id in common.
_TAKE: Final = """
SELECT event_id, tenant_id, body FROM audit_inbox i WHERE NOT EXISTS (
  SELECT FROM unnest(%b::uuid[], %b::uuid[]) AS refused (tenant_id, event_id)
  WHERE refused.tenant_id = i.tenant_id AND refused.event_id = i.event_id
) ORDER BY event_id, tenant_id LIMIT %s
"""
_NUMBERED: Final = """
SELECT e.tenant_id, e.event_id FROM audit_entry e JOIN unnest(%b::uuid[], %b::uuid[]) AS taken (tenant_id, event_id)
ON e.tenant_id = taken.tenant_id AND e.event_id = taken.event_id
"""
_REMOVE: Final = """
DELETE FROM audit_inbox i USING unnest(%b::uuid[], %b::uuid[]) AS done (tenant_id, event_id)
WHERE i.tenant_id = done.tenant_id AND i.event_id = done.event_id
"""
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
    """Numbers events for as long as it holds the lock. `refused`: (tenant, event) of rows that it cannot number."""

    refused: set[tuple[UUID, UUID]] = field(default_factory=set)

    def acquire(self) -> bool:
        """Take the installation-wide lock, or say that another sequencer has it."""
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            return bool(cursor.fetchone()[0])

    def run_once(self) -> int:
        """Number one batch. Returns how many events were looked at: 0 when nothing is left that was not refused."""
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            cursor.execute(_TAKE, [*_columns(self.refused), BATCH])
            taken = cursor.fetchall()
            cursor.execute(_NUMBERED, _columns((tenant_id, event_id) for event_id, tenant_id, _ in taken))
            numbered = set(cursor.fetchall())
            rows = [row for row in taken if self._is_fit(row, numbered)]
            size = self._lock_state(cursor, len(rows))
            if rows:
                _number(cursor, rows, size)
        return len(taken)

    def _lock_state(self, cursor: Any, count: int) -> int:
        now = timezone.now()
        cursor.execute(
            "INSERT INTO audit_logstate (id, size, waiting, beat_at) VALUES (1, %s, %s, %s) ON CONFLICT (id) DO UPDATE "
            "SET size = audit_logstate.size + %s, waiting = %s, beat_at = %s RETURNING size",
            [count, len(self.refused), now, count, len(self.refused), now],
        )
        return int(cursor.fetchone()[0]) - count

    def _is_fit(self, row: tuple[UUID, UUID, str], numbered: set[tuple[UUID, UUID]]) -> bool:
        """Whether the row can be numbered. One that cannot must not hold up the others, whoever wrote it."""
        event_id, tenant_id, body = row
        try:
            if (tenant_id, event_id) in numbered:
                message = "an entry with this event id is in the log"
                raise errors.Conflict(message)
            _check(event_id, body)
        except errors.PortalError as error:
            self.refused.add((tenant_id, event_id))
            # No traceback: the row is at fault, and the reason names no content.
            log.error("refused", event_id=str(event_id), tenant_id=str(tenant_id), reason=str(error))  # noqa: TRY400
            return False
        return True


def _check(event_id: UUID, body: str) -> None:
    """Raises InvalidInput or IntegrityError unless the body is canonical, small, whole and of this event."""
    document = parse_canonical(body.encode())
    try:
        columns = columns_of(document)
    except (KeyError, TypeError, AttributeError, ValueError):
        message = "the body lacks a part, or one has another type"
        raise errors.InvalidInput(message) from None
    words = [(value, limit) for value, limit in zip(columns, _WIDTHS, strict=True) if limit]
    fits = all(isinstance(value, str) and len(value) <= limit for value, limit in words)
    if not fits or columns[1] not in Outcome.values or columns[-1].tzinfo is None:
        message = "the body has a word that is too long or unknown, or a time without a zone"
        raise errors.InvalidInput(message)
    if len(body.encode()) > MAX_BODY or document.get("id") != str(event_id):
        message = "the body is too long or names another event"
        raise errors.InvalidInput(message)


def _columns(pairs: Iterable[tuple[UUID, UUID]]) -> list[list[UUID]]:
    listed = list(pairs)
    return [[tenant_id for tenant_id, _ in listed], [event_id for _, event_id in listed]]


def _number(cursor: Any, rows: list[tuple[UUID, UUID, str]], size: int) -> None:
    heads = _load_heads(cursor, {tenant_id for _, tenant_id, _ in rows})
    entries = [
        _entry(heads[tenant_id], size + n, event_id, tenant_id, body)
        for n, (event_id, tenant_id, body) in enumerate(rows)
    ]
    cursor.execute(_INSERT, [list(column) for column in zip(*entries, strict=True)])
    columns = zip(*((tenant_id, head.tseq, head.idx, head.hash) for tenant_id, head in heads.items()), strict=True)
    cursor.execute(_HEADS, [list(column) for column in columns])
    cursor.execute(_REMOVE, _columns((tenant_id, event_id) for event_id, tenant_id, _ in rows))


def _load_heads(cursor: Any, tenant_ids: Iterable[UUID]) -> dict[UUID, Head]:
    heads = {tenant_id: Head() for tenant_id in tenant_ids}
    cursor.execute(
        "SELECT tenant_id, tseq, idx, leaf_hash FROM audit_tenanthead WHERE tenant_id = ANY(%b::uuid[])",
        [list(heads)],
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
