"""Which partitions of the log retention may remove, and their removal. Only the owner's login can do either.

Must never remove what is not archived, recorded and covered by a published checkpoint: `audit_prune` does the three.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db import OperationalError, connections, transaction
from psycopg import sql

from audit.words import BLOCK, action_is
from byok_portal.boundary import sessions
from byok_portal.boundary.identifiers import PLATFORM, parse_id
from byok_portal.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

ALIAS: Final = "owner"
PRUNED: Final = "audit.pruned"
LOCK: Final = 0x62796F6C
"""Next to the sequencer's: one removal at a time."""
READERS: Final = ("search", "usage")
"""Readers that must have passed an entry before it goes, even where they have not begun."""
_TRIES: Final = 20
_BOUNDS: Final = re.compile(r"FOR VALUES FROM \('(\d+)'\) TO \('(\d+)'\)")

_PARTITIONS: Final = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), pg_total_relation_size(c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'audit_entry'::regclass
"""
_AGED: Final = "SELECT max(size) FROM audit_checkpoint WHERE origin = %s AND signed_at < %s"
_NEWEST: Final = "SELECT size, note FROM audit_checkpoint WHERE origin = %s ORDER BY size DESC LIMIT 1"
_NUMBERED: Final = """
SELECT event_id, idx, leaf FROM audit_entry WHERE tenant_id = %s AND leaf LIKE %s ORDER BY tseq DESC LIMIT 1
"""
_WAITING: Final = """
SELECT event_id, body FROM audit_inbox WHERE tenant_id = %s AND body LIKE %s ORDER BY event_id DESC LIMIT 1
"""
_UNREAD: Final = """
SELECT EXISTS (SELECT FROM audit_entry WHERE tenant_id = %s AND idx >= %s AND idx < %s)
"""
# Addressed through the parent: a partition of its own is open to nobody.
_HEADS: Final = """
INSERT INTO audit_prunedhead (tenant_id, tseq, idx, leaf_hash)
SELECT tenant_id, tseq, idx, sha256('\\x00'::bytea || convert_to(leaf, 'UTF8')) FROM (
  SELECT DISTINCT ON (tenant_id) tenant_id, tseq, idx, leaf FROM audit_entry
  WHERE idx >= %(start)s AND idx < %(end)s ORDER BY tenant_id, tseq DESC
) AS last
ON CONFLICT (tenant_id) DO UPDATE SET tseq = EXCLUDED.tseq, idx = EXCLUDED.idx, leaf_hash = EXCLUDED.leaf_hash
"""
_PRIVATE: Final = """
DELETE FROM audit_private p USING audit_entry e
WHERE e.idx >= %(start)s AND e.idx < %(end)s AND p.tenant_id = e.tenant_id AND p.event_id = e.event_id
"""
_BLOCKS: Final = """
DELETE FROM audit_searchblock b USING audit_prunedhead p
WHERE b.tenant_id = p.tenant_id AND (b.number + 1) * %(block)s <= p.tseq
"""
_STATE: Final = """
UPDATE audit_logstate SET pruned_to = %(end)s, pruned_record = %(record)s, pruned_leaf = %(leaf)s
WHERE id = 1 AND pruned_to = %(start)s
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """Positions start <= i < end, and the bytes on disk."""

    name: str
    start: int
    end: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would go. `note`: the newest published checkpoint."""

    partitions: tuple[Partition, ...]
    note: str

    @property
    def span(self) -> range:
        return range(self.partitions[0].start, self.partitions[-1].end)

    @property
    def size(self) -> int:
        return sum(partition.size for partition in self.partitions)


@dataclass(frozen=True, slots=True)
class Record:
    """The `audit.pruned` event of a removal; without a position while it waits for its number."""

    event_id: UUID
    upto: int
    idx: int | None = None
    leaf: str = ""


@contextmanager
def alone() -> Iterator[None]:
    """Raises Conflict while another removal runs."""
    if not sessions.take_lock(ALIAS, LOCK):
        message = "another audit_prune is running"
        raise Conflict(message)
    try:
        yield
    finally:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def make_plan(before: datetime, *, origin: str) -> Plan:
    """The partitions that hold only entries signed before that moment. Raises Conflict, saying why there is none."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute(_NEWEST, [origin])
        newest = cursor.fetchone()
        if newest is None:
            raise _nothing("no checkpoint is published, and only signed entries may go")
        cursor.execute("SELECT pruned_to FROM audit_logstate WHERE id = 1")
        (start,) = cursor.fetchone()
        # Their own times are what the writers say; when a checkpoint covered them is what the log says.
        cursor.execute(_AGED, [origin, before])
        aged = cursor.fetchone()[0] or 0
        signed = list(_joining(_list_partitions(cursor), start, newest[0]))
        if not signed:
            raise _nothing(f"the partition that begins at position {start} is still growing, or not signed to its end")
        old = [partition for partition in signed if partition.end <= aged]
        if not old:
            last = signed[0].end - 1
            raise _nothing(
                f"positions {start} to {last} hold entries that were signed after {before:%Y-%m-%d %H:%M %Z}"
            )
        return Plan(tuple(_passed(cursor, old)), newest[1])


def find_record(upto: int) -> Record | None:
    """The newest record of a removal, if it says exactly this: one that an earlier run left."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        # The sequencer may take it from the one to the other meanwhile: looked for in that order it is not missed.
        cursor.execute(_WAITING, [PLATFORM, f'{{"action":"{PRUNED}",%'])
        waiting = [Record(event_id, _upto(f'{{"body":{body}}}')) for event_id, body in cursor.fetchall()]
        cursor.execute(_NUMBERED, [PLATFORM, f"{action_is(PRUNED)}%"])
        rows = [Record(event_id, _upto(leaf), idx, leaf) for event_id, idx, leaf in cursor.fetchall()]
    numbered = {row.event_id for row in rows}
    rows += [row for row in waiting if row.event_id not in numbered]
    matching = [row for row in rows if row.upto == upto and (row.idx is None or row.idx >= upto)]
    return matching[-1] if matching else None


def wait_for_record(event_id: UUID, upto: int, *, origin: str, seconds: float) -> Record:
    """The record with its position, once a published checkpoint covers it. Raises Unavailable: what is missing."""
    end = time.monotonic() + seconds
    while True:
        record = _find_numbered(event_id, upto, origin)
        if record is not None and record[1]:
            return record[0]
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    if record is None:
        message = "the removal is recorded, but no sequencer numbered that: start one and run this again"
    else:
        message = (
            "the removal is recorded, but no checkpoint covers that: see audit_logstate.fault, then run this again"
        )
    raise Unavailable(message)


def remove(partition: Partition, record: Record) -> None:
    """Remove one partition with what belongs to its entries, in one transaction. Raises Unavailable when it cannot."""
    values = {"start": partition.start, "end": partition.end, "record": record.idx, "leaf": record.leaf, "block": BLOCK}
    name = sql.Identifier(partition.name)
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute("SET LOCAL app.pruning = 'on'")
        for statement in (_HEADS, _PRIVATE, _BLOCKS):
            cursor.execute(statement, values)
        _lock_log(cursor)
        cursor.execute(_STATE, values)
        if cursor.rowcount != 1:
            message = f"position {partition.start} is not where the log begins any more: look at audit_logstate"
            raise Conflict(message)
        for ddl in ("ALTER TABLE public.audit_entry DETACH PARTITION public.{}", "DROP TABLE public.{}"):
            cursor.execute(sql.SQL(ddl).format(name))


def _list_partitions(cursor: Any) -> list[Partition]:
    cursor.execute(_PARTITIONS)
    found = [(name, _BOUNDS.fullmatch(bounds), size) for name, bounds, size in cursor.fetchall()]
    listed = [Partition(name, int(match[1]), int(match[2]), size) for name, match, size in found if match]
    return sorted(listed, key=lambda partition: partition.start)


def _joining(partitions: Sequence[Partition], start: int, upto: int) -> Iterator[Partition]:
    """Those that follow each other from `start` on and end by `upto`."""
    for partition in partitions:
        if partition.start == start and partition.end <= upto:
            yield partition
            start = partition.end


def _passed(cursor: Any, partitions: list[Partition]) -> list[Partition]:
    """Those that every reader has read to the end. Raises Conflict when there is none, naming the reader."""
    cursor.execute("SELECT name, position FROM audit_reader")
    places = {**dict.fromkeys(READERS, 0), **dict(cursor.fetchall())}
    passed = partitions
    for name, position in sorted(places.items()):
        passed = [each for each in passed if _has_read(cursor, name, position, each)]
        if not passed:
            end = partitions[0].end
            raise _nothing(f"the reader {name} stands at position {position} and has not read up to {end}")
    return passed


def _has_read(cursor: Any, name: str, position: int, partition: Partition) -> bool:
    """A delivery of one tenant's entries stands behind the last of these, however long ago that was."""
    if position >= partition.end:
        return True
    tenant_id = parse_id(name.split(":")[1]) if name.startswith("siem:") else None
    if tenant_id is None:
        return False
    cursor.execute(_UNREAD, [tenant_id, position, partition.end])
    return not cursor.fetchone()[0]


def _find_numbered(event_id: UUID, upto: int, origin: str) -> tuple[Record, bool] | None:
    """The record with its number, and whether a checkpoint covers it."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT idx, leaf, EXISTS (SELECT FROM audit_checkpoint c WHERE c.size > e.idx AND c.origin = %s) "
            "FROM audit_entry e WHERE tenant_id = %s AND event_id = %s",
            [origin, PLATFORM, event_id],
        )
        row = cursor.fetchone()
    return (Record(event_id, upto, row[0], row[1]), row[2]) if row else None


def _lock_log(cursor: Any) -> None:
    """Shut everybody out for the removal. Waits briefly each time: whoever comes later waits behind us."""
    cursor.execute("SET LOCAL lock_timeout = '2s'")
    for _ in range(_TRIES):
        try:
            with transaction.atomic(using=ALIAS):
                cursor.execute("LOCK TABLE public.audit_entry IN ACCESS EXCLUSIVE MODE")
        except OperationalError:
            time.sleep(1)
        else:
            return
    message = "somebody reads the log for long (an audit_rebuild, a backup): run this again afterwards"
    raise Unavailable(message)


def _upto(leaf: str) -> int:
    """The end of the range that a record names; -1 for one that names none."""
    upto = json.loads(leaf)["body"]["detail"].get("to")
    return upto if type(upto) is int else -1


def _nothing(why: str) -> Conflict:
    return Conflict(f"Nothing can be removed: {why}.", code="nothing_to_prune")
