"""The one process that numbers events: inbox to entries in one transaction, per-tenant chains, no gaps.

Rows are taken because they are visible, not because they come after a cursor: a late commit is numbered later and
never skipped. It must never change or remove an entry, and a second sequencer must wait (advisory lock).
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import connections, transaction
from django.utils import timezone

from audit import tree
from audit.bulk import bulk_cursor
from audit.canonical import parse_canonical
from audit.chain import GENESIS, leaf_hash, leaf_of
from audit.models import Outcome
from byok_portal import errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

log = structlog.get_logger("byok.sequencer")

ALIAS: Final = "sequencer"
LOCK: Final = 0x62796F6B
BATCH: Final = 5000
MAX_BODY: Final = 16 * 1024
_KEYS: Final = frozenset({"action", "actor", "detail", "id", "outcome", "priv", "req", "target", "time"})
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OUTCOMES: Final = frozenset(Outcome.values)
_WIDTHS: Final = {"action": 60, "outcome": 10, "actor": 10, "target": 20}
"""How long each word of a body may be; of actor and target the kind."""

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
INSERT INTO audit_entry (idx, tenant_id, tseq, event_id, leaf)
SELECT * FROM unnest(%b::bigint[], %b::uuid[], %b::bigint[], %b::uuid[], %b::text[])
"""
_TILES: Final = """
INSERT INTO audit_tile (level, n, hashes) SELECT * FROM unnest(%b::smallint[], %b::bigint[], %b::bytea[])
"""
_EDGE: Final = """
INSERT INTO audit_edge (level, hashes) SELECT * FROM unnest(%b::smallint[], %b::bytea[])
ON CONFLICT (level) DO UPDATE SET hashes = EXCLUDED.hashes
"""
_STATE: Final = """
UPDATE audit_logstate SET waiting = %s, beat_at = %s, sequencer = %s WHERE id = 1
RETURNING size, partition_rows
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
    room: int = 0
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}"[:200])

    def acquire(self) -> bool:
        """Take the installation-wide lock, or say that another sequencer has it."""
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            return bool(cursor.fetchone()[0])

    def run_once(self) -> int:
        """Number one batch. Returns how many events were looked at: 0 when nothing is left that was not refused."""
        with transaction.atomic(using=ALIAS), bulk_cursor(ALIAS) as cursor:
            cursor.execute(_TAKE, [*_columns(self.refused), BATCH])
            taken = cursor.fetchall()
            cursor.execute(_NUMBERED, _columns((tenant_id, event_id) for event_id, tenant_id, _ in taken))
            numbered = set(cursor.fetchall())
            rows = [row for row in taken if self._is_fit(row, numbered)]
            # Locks the row: should two sequencers ever run, the second numbers after the first has committed.
            cursor.execute(_STATE, [len(self.refused), timezone.now(), self.name])
            size, width = _one(cursor)
            if rows:
                self._make_room(cursor, size + len(rows), width)
                _number(cursor, rows, size)
        return len(taken)

    def note_fault(self, fault: str) -> None:
        """Say on the health page why no checkpoint is signed; empty when all is well again."""
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            cursor.execute(
                "UPDATE audit_logstate SET fault = %s, fault_at = CASE WHEN %s = '' THEN NULL ELSE now() END "
                "WHERE id = 1 AND fault <> %s",
                [fault[:500], fault, fault[:500]],
            )

    def _make_room(self, cursor: Any, size: int, width: int) -> None:
        """Partitions up to one beyond the batch, made ahead of need; each call is nothing when it is there."""
        while self.room < size + width // 2:
            cursor.execute("SELECT audit_add_partition(%s)", [size // width * width])
            cursor.execute("SELECT audit_add_partition(%s)", [(size // width + 1) * width])
            self.room = (size // width + 2) * width

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
        said = {
            "action": document["action"],
            "outcome": document["outcome"],
            "actor": document["actor"]["kind"],
            "target": document["target"]["kind"],
        }
        moment = datetime.fromisoformat(document["time"])
        whole = document.keys() == _KEYS and isinstance(document["detail"], dict)
        whole = whole and all(document[name].keys() == {"id", "kind"} for name in ("actor", "target"))
        # The one spelling that searches look for.
        whole = whole and all(_ID.fullmatch(document[name]["id"]) for name in ("actor", "target"))
    except (KeyError, TypeError, AttributeError, ValueError):
        message = "the body lacks a part, or one has another type"
        raise errors.InvalidInput(message) from None
    fits = whole and all(isinstance(text, str) and len(text) <= _WIDTHS[name] for name, text in said.items())
    if not fits or said["outcome"] not in _OUTCOMES or moment.tzinfo is None:
        message = "the body has a word that is too long or unknown, or a time without a zone"
        raise errors.InvalidInput(message)
    if len(body.encode()) > MAX_BODY or document.get("id") != str(event_id):
        message = "the body is too long or names another event"
        raise errors.InvalidInput(message)


def _columns(pairs: Iterable[tuple[UUID, UUID]]) -> list[list[UUID]]:
    listed = list(pairs)
    return [[tenant_id for tenant_id, _ in listed], [event_id for _, event_id in listed]]


def _number(cursor: Any, rows: list[tuple[UUID, UUID, str]], size: int) -> None:
    """Entries, heads, tiles and edge of one batch, in the transaction that takes it out of the inbox."""
    edge = tree.load_edge(cursor)
    if edge.size != size:
        message = f"the tree has {edge.size} leaves, but {size} entries are numbered"
        raise errors.IntegrityError(message, code="tree_differs")
    heads = _load_heads(cursor, {tenant_id for _, tenant_id, _ in rows})
    entries, hashes = [], []
    for n, (event_id, tenant_id, body) in enumerate(rows):
        head = heads[tenant_id]
        leaf = leaf_of(tenant=tenant_id, seq=head.tseq + 1, prev=head.hash, body=body)
        head.tseq, head.idx, head.hash = head.tseq + 1, size + n, leaf_hash(leaf)
        entries.append((size + n, tenant_id, head.tseq, event_id, leaf.decode()))
        hashes.append(head.hash)
    cursor.execute(_INSERT, _transposed(entries))
    if full := edge.extend(hashes):
        cursor.execute(_TILES, _transposed(full))
    cursor.execute(_EDGE, _transposed(enumerate(edge.tiles)))
    cursor.execute(_HEADS, _transposed((tenant, head.tseq, head.idx, head.hash) for tenant, head in heads.items()))
    cursor.execute(_REMOVE, _columns((tenant_id, event_id) for event_id, tenant_id, _ in rows))
    # A UUIDv7 begins with the millisecond in which the event was made.
    oldest = min(event_id.int for event_id, _, _ in rows) >> 80
    lag = max(0, round(timezone.now().timestamp() * 1000) - oldest)
    cursor.execute("UPDATE audit_logstate SET size = size + %s, lag_ms = %s WHERE id = 1", [len(rows), lag])


def _one(cursor: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] = cursor.fetchone()
    return row


def _transposed(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _load_heads(cursor: Any, tenant_ids: Iterable[UUID]) -> dict[UUID, Head]:
    heads = {tenant_id: Head() for tenant_id in tenant_ids}
    cursor.execute(
        "SELECT tenant_id, tseq, idx, leaf_hash FROM audit_tenanthead WHERE tenant_id = ANY(%b::uuid[])",
        [list(heads)],
    )
    for tenant_id, tseq, idx, digest in cursor.fetchall():
        heads[tenant_id] = Head(tseq, idx, bytes(digest))
    return heads
