"""Derives the whole log anew from its entries and compares everything stored or signed with it, for an auditor.

Reads one snapshot in batches, so memory stays bounded. Shares no code with the writer but the pure files, and must
never trust a stored hash: tiles, edge and checkpoints are what is being checked.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, transaction

from audit.chain import leaf_hash
from audit.endorsements import Endorsements, Published
from audit.merkle import HASH_BYTES
from audit.tiles import HEIGHT, WIDTH, Edge, tile_path
from audit.verification import KEPT, verify_log
from byok_portal.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from audit.endorsements import AuditorPin
    from audit.inspection import Fault

BATCH: Final = 2000
LATE_SECONDS: Final = 60
"""How much older than the witness time below it an entry may be: a transaction may take a while to commit."""

_ENTRIES: Final = "SELECT idx, leaf FROM audit_entry WHERE idx > %s ORDER BY idx LIMIT %s"
_CHECKPOINTS: Final = """
SELECT size, root, origin, note, witnessed_at FROM audit_checkpoint WHERE size > %s ORDER BY size LIMIT %s
"""
_TILES: Final = """
SELECT t.level::int, t.n, t.hashes FROM audit_tile t
JOIN unnest(%b::int[], %b::bigint[]) AS wanted (level, n) ON t.level = wanted.level AND t.n = wanted.n
"""
_EXTRA_TILES: Final = """
SELECT t.level::int, t.n FROM audit_tile t LEFT JOIN unnest(%b::int[], %b::bigint[]) AS due (level, tiles) USING (level)
WHERE t.n < 0 OR t.n >= coalesce(due.tiles, 0) ORDER BY 1, 2 LIMIT %b
"""


class TreeFaultKind(StrEnum):
    """What does not agree with the entries."""

    GAP = "gap"
    LEAF = "leaf_differs"
    TILE = "tile_differs"
    EDGE = "edge_differs"
    EXTRA_TILE = "extra_tile"
    ROOT = "root_differs"
    SIGNATURE = "signature"
    CHECKPOINT = "checkpoint_differs"
    UNWITNESSED = "unwitnessed"
    TAIL_CUT = "tail_cut"
    BACKDATED = "backdated"
    OLDER = "older_than_pin"
    FORK = "fork_at_pin"


@dataclass(frozen=True, slots=True)
class TreeFault:
    """One fault. `number` is a position in the log, or the size of a checkpoint."""

    kind: TreeFaultKind
    number: int
    detail: str
    tenant_id: None = None

    def __str__(self) -> str:
        return f"Log position {self.number}: {self.kind.value.replace('_', ' ')}; {self.detail}."


@dataclass(slots=True)
class Rebuilt:
    """What was read and found. `found` counts every fault, `faults` holds the first thousand."""

    size: int = 0
    root: bytes = b""
    tenants: int = 0
    checkpoints: int = 0
    signed: int = 0
    seconds: float = 0.0
    found: int = 0
    faults: list[Fault | TreeFault] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.found

    def add(self, faults: Iterable[Fault | TreeFault]) -> None:
        """Count the faults and keep the first ones."""
        for fault in faults:
            self.found += 1
            if self.found <= KEPT:
                self.faults.append(fault)


def rebuild_log(
    alias: str,
    endorsements: Endorsements,
    *,
    pinned: AuditorPin | None = None,
    progress: Callable[[int], None] | None = None,
) -> Rebuilt:
    """Rebuild the tree from every entry, compare all that is stored of it, then verify every chain.

    Raises Conflict for a log whose beginning was pruned; a broken log raises nothing, the answer says what is wrong.
    """
    report, started = Rebuilt(), time.perf_counter()
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        # One snapshot for tree and chains: the sequencer goes on while we read.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT pruned_to FROM audit_logstate WHERE id = 1")
        (pruned_to,) = cursor.fetchone() or (0,)
        if pruned_to:
            message = f"entries below position {pruned_to} were pruned: rebuilding such a log is not supported yet"
            raise Conflict(message, code="log_pruned")
        walk = _Walk(cursor, report, endorsements, pinned)
        walk.run(progress)
        chains = verify_log(alias)
    report.add(chains.faults)
    report.found += chains.found - len(chains.faults)
    report.tenants = chains.tenants
    report.seconds = time.perf_counter() - started
    return report


class _Walk:
    """Goes through the entries in order of position, with the checkpoints beside them."""

    def __init__(self, cursor: Any, report: Rebuilt, endorsements: Endorsements, pinned: AuditorPin | None) -> None:
        self._cursor = cursor
        self._report = report
        self._endorsements = endorsements
        self._pinned = pinned
        self._edge = Edge()
        self._pending: list[bytes] = []
        self._size = 0
        self._forked = False
        self._floor: float | None = None
        self._checkpoints = (Published.read(row) for row in _page(cursor, _CHECKPOINTS))
        self._next = next(self._checkpoints, None)

    def run(self, progress: Callable[[int], None] | None) -> None:
        """Everything, up to the first gap; beyond one no tree can be made."""
        whole = True
        for idx, leaf in _page(self._cursor, _ENTRIES):
            if idx != self._size:
                self._fault(TreeFaultKind.GAP, self._size, f"the next entry has position {idx}: no tree beyond this")
                whole = False
                break
            self._take(idx, leaf)
            if progress and self._size % BATCH == 0:
                progress(self._size)
        self._flush()
        self._report.size, self._report.root = self._size, self._edge.root()
        self._report_rest(whole=whole)
        if whole:
            self._report.add(_compare_edge(self._cursor, self._edge))
            self._report.add(_find_extra_tiles(self._cursor, self._size))

    def _take(self, idx: int, leaf: str) -> None:
        if self._floor is not None and (moment := _time_of(leaf)) is not None and moment < self._floor - LATE_SECONDS:
            seen = datetime.fromtimestamp(self._floor).astimezone()
            detail = f"it says it is older than {seen:%Y-%m-%d %H:%M:%S %z}, when a witness saw the log without it"
            self._fault(TreeFaultKind.BACKDATED, idx, detail)
        self._pending.append(leaf_hash(leaf.encode()))
        self._size += 1
        if len(self._pending) == BATCH:
            self._flush()
        if self._pinned is not None and self._pinned.size == self._size:
            self._flush()
            if self._edge.root() != self._pinned.root:
                self._fault(TreeFaultKind.FORK, self._size, "the log up to here is not the one of the last rebuild")
        while self._next is not None and self._next.size <= self._size:
            self._meet(self._next)
            self._next = next(self._checkpoints, None)

    def _meet(self, published: Published) -> None:
        """A checkpoint of exactly this many entries."""
        self._flush()
        self._judge(published)
        same = self._edge.root() == published.root
        if not same and not self._forked:
            # Once only: every later checkpoint covers the same change.
            detail = "the entries give another root than the checkpoint, and maybe than all after it"
            self._fault(TreeFaultKind.ROOT, published.size, detail)
        self._forked = not same

    def _judge(self, published: Published) -> None:
        self._report.checkpoints += 1
        self._report.signed = published.size
        verdict = self._endorsements.judge(published)
        for kind, detail in verdict.problems:
            self._fault(TreeFaultKind(kind), published.size, detail)
        if verdict.witnessed_at is not None:
            self._floor = max(self._floor or 0, verdict.witnessed_at)

    def _report_rest(self, *, whole: bool) -> None:
        """Checkpoints and a pin that lie beyond the end."""
        cut = False
        while self._next is not None:
            self._judge(self._next)
            if whole and not cut:
                detail = f"a checkpoint of {self._next.size} entries is there, but the log ends here"
                self._fault(TreeFaultKind.TAIL_CUT, self._size, detail)
                cut = True
            self._next = next(self._checkpoints, None)
        for kind, size, detail in self._endorsements.close():
            self._fault(TreeFaultKind(kind), size, detail)
        if whole and self._pinned is not None and self._pinned.size > self._size:
            detail = f"the last rebuild read {self._pinned.size} entries, so this is an older or shortened log"
            self._fault(TreeFaultKind.OLDER, self._size, detail)
        signed = self._report.signed
        if self._pinned is not None and self._pinned.signed > signed:
            detail = (
                f"the last rebuild saw a checkpoint of {self._pinned.signed} entries, the newest now is of {signed}"
            )
            self._fault(TreeFaultKind.OLDER, signed, detail)

    def _flush(self) -> None:
        full = self._edge.extend(self._pending)
        self._pending.clear()
        if full:
            self._report.add(_compare_tiles(self._cursor, full))

    def _fault(self, kind: TreeFaultKind, number: int, detail: str) -> None:
        self._report.add([TreeFault(kind, number, detail)])


def _page(cursor: Any, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows by keyset over the first column, because a pooler in transaction mode cannot keep a server-side cursor."""
    last = -(2**63)
    while True:
        cursor.execute(query, [last, BATCH])
        rows = cursor.fetchall()
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


def _time_of(leaf: str) -> float | None:
    """When the entry says that it happened; None for one that the verification of its chain will name."""
    try:
        return datetime.fromisoformat(json.loads(leaf)["body"]["time"]).timestamp()
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _compare_tiles(cursor: Any, full: list[tuple[int, int, bytes]]) -> Iterator[TreeFault]:
    cursor.execute(_TILES, [[level for level, _, _ in full], [n for _, n, _ in full]])
    stored = {(level, n): bytes(hashes) for level, n, hashes in cursor.fetchall()}
    for level, n, hashes in full:
        first = n << HEIGHT * (level + 1)
        if (level, n) not in stored:
            yield TreeFault(TreeFaultKind.TILE, first, f"{tile_path(level, n)} is missing")
        elif level == 0:
            yield from _compare_leaves(stored[level, n], hashes, first)
        elif stored[level, n] != hashes:
            yield TreeFault(TreeFaultKind.TILE, first, f"{tile_path(level, n)} is not that of the entries")


def _compare_leaves(stored: bytes, rebuilt: bytes, first: int) -> Iterator[TreeFault]:
    for start in range(0, len(rebuilt), HASH_BYTES):
        if stored[start : start + HASH_BYTES] != rebuilt[start : start + HASH_BYTES]:
            detail = "the entry is not the one that was hashed here when it was numbered"
            yield TreeFault(TreeFaultKind.LEAF, first + start // HASH_BYTES, detail)


def _compare_edge(cursor: Any, edge: Edge) -> Iterator[TreeFault]:
    cursor.execute("SELECT level::int, hashes FROM audit_edge ORDER BY level")
    stored = {level: bytes(hashes) for level, hashes in cursor.fetchall() if hashes}
    rebuilt = {level: tile for level, tile in enumerate(edge.tiles) if tile}
    for level in sorted(stored.keys() | rebuilt.keys()):
        ours, theirs = rebuilt.get(level, b""), stored.get(level, b"")
        first = edge.size >> HEIGHT * (level + 1) << HEIGHT * (level + 1)
        if level == 0 and len(ours) == len(theirs):
            yield from _compare_leaves(theirs, ours, first)
        elif ours != theirs:
            detail = f"the right edge of level {level} is not that of the entries"
            yield TreeFault(TreeFaultKind.EDGE, first, detail)


def _find_extra_tiles(cursor: Any, size: int) -> Iterator[TreeFault]:
    due: list[int] = []
    while size >> HEIGHT * (len(due) + 1):
        due.append(size >> HEIGHT * (len(due) + 1))
    cursor.execute(_EXTRA_TILES, [list(range(len(due))), due, KEPT])
    for level, n in cursor.fetchall():
        detail = f"tile {n} of level {level} covers entries that are not there ({WIDTH} hashes)"
        yield TreeFault(TreeFaultKind.EXTRA_TILE, size, detail)
