"""The one process that numbers events: inbox to entries in one transaction, per-tenant chains, no gaps.

Rows are taken because they are visible, not because they come after a cursor: a late commit is numbered later and
never skipped. It must never change or remove an entry, and a second sequencer must wait (advisory lock).
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from django.db import connections, transaction
from django.utils import timezone

from audit import tree
from audit.bodies import check_body
from audit.bulk import bulk_cursor, joined
from audit.chain import GENESIS, leaf_hash, leaf_of
from byok_portal import errors
from byok_portal.boundary import sessions

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger("byok.sequencer")

ALIAS: Final = "sequencer"
LOCK: Final = 0x62796F6B
BATCH: Final = 5000
PART: Final = 1000
Row = tuple[str, str, str]
"""(event id, tenant id, body)"""

# Rows are named by their place: nothing stops two tenants from having an event id in common. No row of the inbox is
# ever changed, so a place names the same row for as long as this transaction lasts.
_TAKE: Final = """
DELETE FROM audit_inbox WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM audit_inbox i WHERE NOT EXISTS (
    SELECT FROM unnest(string_to_array(%b, ',')::uuid[], string_to_array(%b, ',')::uuid[]) AS refused (tenant, event)
    WHERE refused.tenant = i.tenant_id AND refused.event = i.event_id
  ) ORDER BY event_id, tenant_id LIMIT %b
)) RETURNING event_id::text, tenant_id::text, body
"""
# One look-up each by event id: left to itself, the planner reads a whole partition, or whole chains.
_NUMBERED: Final = """
SELECT e.tenant_id::text, e.event_id::text FROM unnest(string_to_array(%b, ',')::uuid[]) AS taken (event)
CROSS JOIN LATERAL (SELECT tenant_id, event_id FROM audit_entry WHERE event_id = taken.event OFFSET 0) e
"""
# A leaf is canonical JSON and holds no raw line feed.
_INSERT: Final = r"""
INSERT INTO audit_entry (idx, tenant_id, tseq, event_id, leaf)
SELECT %b::bigint + n - 1, tenant::uuid, tseq::bigint, event::uuid, leaf
FROM unnest(
  string_to_array(%b, ','), string_to_array(%b, ','), string_to_array(%b, ','), string_to_array(%b, E'\n')
) WITH ORDINALITY AS t (tenant, tseq, event, leaf, n)
"""
_TILES: Final = """
INSERT INTO audit_tile (level, n, hashes) SELECT * FROM unnest(%b::smallint[], %b::bigint[], %b::bytea[])
"""
_EDGE: Final = """
INSERT INTO audit_edge (level, hashes) SELECT * FROM unnest(%b::smallint[], %b::bytea[])
ON CONFLICT (level) DO UPDATE SET hashes = EXCLUDED.hashes
"""
_STATE: Final = """
UPDATE audit_logstate SET waiting = %b, beat_at = %b, sequencer = %b WHERE id = 1
RETURNING size, partition_rows
"""
_HEADS: Final = """
INSERT INTO audit_tenanthead (tenant_id, tseq, idx, leaf_hash)
SELECT tenant::uuid, tseq::bigint, idx::bigint, decode(hash, 'hex')
FROM unnest(
  string_to_array(%b, ','), string_to_array(%b, ','), string_to_array(%b, ','), string_to_array(%b, ',')
) AS t (tenant, tseq, idx, hash)
ON CONFLICT (tenant_id) DO UPDATE SET tseq = EXCLUDED.tseq, idx = EXCLUDED.idx, leaf_hash = EXCLUDED.leaf_hash
"""
_LOAD_HEADS: Final = """
SELECT tenant_id::text, tseq, idx, leaf_hash FROM audit_tenanthead
WHERE tenant_id = ANY (string_to_array(%b, ',')::uuid[])
"""


class _UnfitError(Exception):
    """The batch holds rows that cannot be numbered: it goes back to the inbox, and the next one leaves them out."""


@dataclass(slots=True)
class Head:
    """The end of one tenant's chain."""

    tseq: int = 0
    idx: int = -1
    hash: bytes = GENESIS


@dataclass(slots=True)
class Sequencer:
    """Numbers events for as long as it holds the lock. `refused`: (tenant, event) of rows that it cannot number.

    Ids are text throughout: 5,000 UUID objects are slow to make, to compare and to write.
    """

    refused: set[tuple[str, str]] = field(default_factory=set)
    room: int = 0
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}"[:200])

    def acquire(self) -> bool:
        """Take the installation-wide lock, or say that another sequencer has it. Raises Unavailable behind a pooler."""
        return sessions.take_lock(ALIAS, LOCK)

    def run_once(self) -> int:
        """Number one batch. Returns how many events were looked at: 0 when nothing is left that was not refused."""
        taken: list[Row] = []
        try:
            with transaction.atomic(using=ALIAS), bulk_cursor(ALIAS) as cursor:
                refused = [joined(tenant for tenant, _ in self.refused), joined(event for _, event in self.refused)]
                cursor.execute(_TAKE, [*refused, BATCH])
                taken = sorted(cursor.fetchall())
                self._refuse_unfit(cursor, taken)
                # Locks the row: should two sequencers ever run, the second numbers after the first has committed.
                cursor.execute(_STATE, [len(self.refused), timezone.now(), self.name])
                size, width = _one(cursor)
                if taken:
                    self._make_room(cursor, size + len(taken), width)
                    _number(cursor, taken, size)
        except _UnfitError:
            pass
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
            cursor.execute("SELECT audit_add_partition(%b)", [size // width * width])
            cursor.execute("SELECT audit_add_partition(%b)", [(size // width + 1) * width])
            self.room = (size // width + 2) * width

    def _refuse_unfit(self, cursor: Any, taken: list[Row]) -> None:
        """Raises _UnfitError if some cannot be numbered. They must not hold up the others, whoever wrote them."""
        with cursor.connection.pipeline():  # the server looks while we read
            cursor.execute(_NUMBERED, [joined(event_id for event_id, _, _ in taken)])
            unfit = {(row[1], row[0]) for row in taken if not _is_fit(row)}
            numbered = set(cursor.fetchall())
        again = numbered.intersection((tenant_id, event_id) for event_id, tenant_id, _ in taken)
        for tenant_id, event_id in again:
            _log_refusal(event_id, tenant_id, "an entry with this event id is in the log")
        self.refused |= unfit | again
        if unfit or again:
            raise _UnfitError


def _is_fit(row: Row) -> bool:
    event_id, tenant_id, body = row
    try:
        check_body(event_id, body)
    except errors.PortalError as error:
        _log_refusal(event_id, tenant_id, str(error))
        return False
    return True


def _log_refusal(event_id: str, tenant_id: str, reason: str) -> None:
    # The reason names no content.
    log.error("refused", event_id=event_id, tenant_id=tenant_id, reason=reason)


def _number(cursor: Any, rows: list[Row], size: int) -> None:
    """Entries, heads, tiles and edge of one batch, in the transaction that takes it out of the inbox."""
    edge = tree.load_edge(cursor)
    if edge.size != size:
        message = f"the tree has {edge.size} leaves, but {size} entries are numbered"
        raise errors.IntegrityError(message, code="tree_differs")
    heads = _load_heads(cursor, {tenant_id for _, tenant_id, _ in rows})
    with cursor.connection.pipeline():  # the server stores one part while the next is made
        hashes: list[bytes] = []
        for start in range(0, len(rows), PART):
            hashes += _append(cursor, rows[start : start + PART], size + start, heads)
        new = _transposed((tenant, head.tseq, head.idx, head.hash.hex()) for tenant, head in heads.items())
        cursor.execute(_HEADS, [joined(column) for column in new])
        if full := edge.extend(hashes):
            cursor.execute(_TILES, _transposed(full))
        cursor.execute(_EDGE, _transposed(enumerate(edge.tiles)))
    # A UUIDv7 begins with the millisecond in which the event was made.
    oldest = UUID(rows[0][0]).int >> 80
    lag = max(0, round(timezone.now().timestamp() * 1000) - oldest)
    cursor.execute("UPDATE audit_logstate SET size = size + %b, lag_ms = %b WHERE id = 1", [len(rows), lag])


def _append(cursor: Any, rows: list[Row], size: int, heads: dict[str, Head]) -> list[bytes]:
    """Entries behind the heads, from position `size` on; moves the heads and returns the leaf hashes."""
    numbers, leaves, hashes = [], [], []
    for idx, (_, tenant_id, body) in enumerate(rows, start=size):
        head = heads[tenant_id]
        leaf = leaf_of(tenant=tenant_id, seq=head.tseq + 1, prev=head.hash, body=body)
        head.tseq, head.idx, head.hash = head.tseq + 1, idx, leaf_hash(leaf)
        numbers.append(head.tseq)
        leaves.append(leaf)
        hashes.append(head.hash)
    events, tenants = joined(row[0] for row in rows), joined(row[1] for row in rows)
    cursor.execute(_INSERT, [size, tenants, joined(numbers), events, b"\n".join(leaves).decode()])
    return hashes


def _one(cursor: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] = cursor.fetchone()
    return row


def _transposed(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _load_heads(cursor: Any, tenant_ids: Iterable[str]) -> dict[str, Head]:
    heads = {tenant_id: Head() for tenant_id in tenant_ids}
    cursor.execute(_LOAD_HEADS, [joined(heads)])
    for tenant_id, tseq, idx, digest in cursor.fetchall():
        heads[tenant_id] = Head(tseq, idx, bytes(digest))
    return heads
