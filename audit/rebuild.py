"""Derives the whole log anew from its entries and compares everything stored or signed with it, for an auditor.

Reads one snapshot in batches, so memory stays bounded. Shares no code with the writer but the pure files, and must
never trust a stored hash: tiles, edge and checkpoints are what is being checked.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, transaction

from audit.chain import leaf_hash
from audit.comparison import (
    TreeFault,
    TreeFaultKind,
    compare_edge,
    compare_tiles,
    find_extra_tiles,
    find_pruned_heads,
    read_pruned,
)
from audit.endorsements import Endorsements, Published
from audit.tiles import Edge
from audit.verification import KEPT, verify_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from audit.endorsements import AuditorPin
    from audit.inspection import Fault

BATCH: Final = 2000
LATE_SECONDS: Final = 60
"""How much older than the witness time below it an entry may be: a transaction may take a while to commit."""

_ENTRIES: Final = "SELECT idx, leaf FROM audit_entry WHERE idx > %s ORDER BY idx LIMIT %s"
_CHECKPOINTS: Final = """
SELECT size, root, origin, note, witnessed_at FROM audit_checkpoint WHERE size > %s
ORDER BY size FETCH FIRST %s ROWS WITH TIES
"""


@dataclass(slots=True)
class Rebuilt:
    """What was read and found. `found` counts every fault, `faults` holds the first thousand.

    Of entries below `pruned_to` there were only the hashes.
    """

    size: int = 0
    root: bytes = b""
    tenants: int = 0
    checkpoints: int = 0
    signed: int = 0
    pruned_to: int = 0
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

    Where retention removed entries, their hashes come from the tiles; the signed roots say whether these are right.
    A broken log raises nothing, the answer says what is wrong.
    """
    report, started = Rebuilt(), time.perf_counter()
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        # One snapshot for tree and chains: the sequencer goes on while we read.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT pruned_to FROM audit_logstate WHERE id = 1")
        (report.pruned_to,) = cursor.fetchone() or (0,)
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
        whole = self._take_pruned(progress)
        for idx, leaf in _page(self._cursor, _ENTRIES, self._report.pruned_to - 1) if whole else ():
            if idx != self._size:
                self._fault(TreeFaultKind.GAP, self._size, f"the next entry has position {idx}: no tree beyond this")
                whole = False
                break
            self._check_time(idx, leaf)
            self._take(leaf_hash(leaf.encode()), progress)
        self._flush()
        self._report.size, self._report.root = self._size, self._edge.root()
        self._report_rest(whole=whole)
        if whole:
            self._report.add(compare_edge(self._cursor, self._edge))
            self._report.add(find_extra_tiles(self._cursor, self._size))

    def _take_pruned(self, progress: Callable[[int], None] | None) -> bool:
        """The leaves whose entries retention removed. Says whether all their hashes are there."""
        upto, heads = self._report.pruned_to, find_pruned_heads(self._cursor)
        for digest in read_pruned(self._cursor, upto):
            if heads.pop(self._size, digest) != digest:
                detail = "the entry that was noted as a tenant's last one removed is not the one that the tree has here"
                self._fault(TreeFaultKind.PRUNED_HEAD, self._size, detail)
            self._take(digest, progress)
        whole = self._size == upto
        if not whole:
            self._fault(TreeFaultKind.GAP, self._size, "no tile has the hash of this entry, which retention removed")
        for idx in sorted(heads) if whole else ():
            self._fault(TreeFaultKind.PRUNED_HEAD, idx, f"noted as removed, but retention removed only below {upto}")
        return whole

    def _check_time(self, idx: int, leaf: str) -> None:
        if self._floor is not None and (moment := _time_of(leaf)) is not None and moment < self._floor - LATE_SECONDS:
            seen = datetime.fromtimestamp(self._floor).astimezone()
            detail = f"it says it is older than {seen:%Y-%m-%d %H:%M:%S %z}, when a witness saw the log without it"
            self._fault(TreeFaultKind.BACKDATED, idx, detail)

    def _take(self, digest: bytes, progress: Callable[[int], None] | None) -> None:
        self._pending.append(digest)
        self._size += 1
        if len(self._pending) == BATCH:
            self._flush()
        if progress and self._size % BATCH == 0:
            progress(self._size)
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
            self._report.add(compare_tiles(self._cursor, full))

    def _fault(self, kind: TreeFaultKind, number: int, detail: str) -> None:
        self._report.add([TreeFault(kind, number, detail)])


def _page(cursor: Any, query: str, last: int = -(2**63)) -> Iterator[tuple[Any, ...]]:
    """Rows by keyset over the first column, because a pooler in transaction mode cannot keep a server-side cursor."""
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
