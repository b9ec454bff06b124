"""Verifies the whole stored log and names every fault. Shares no code with the writer but the pure files.

Reads one snapshot in batches, so memory stays bounded. Where retention removed the beginning, chains go on from what it
noted, and the log must record the removal. Whoever can rewrite the heads as well can cut or replace the
end of a chain unseen by this: that takes a copy outside the database, such as a tenant's own export.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import connections, transaction

from audit.inspection import Chain, Fault, FaultKind, Head, Row, read_leaf
from audit.words import action_is
from byok_portal.boundary.identifiers import PLATFORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BATCH: Final = 2000
KEPT: Final = 1000
"""How many faults are kept one by one; further ones are only counted."""

_OPENED: Final = action_is("tenant.opened")
_REMOVED: Final = action_is("audit.pruned")
_BEFORE_ALL: Final = (UUID(int=0), -(2**63), -(2**63))


@dataclass(slots=True)
class Report:
    """What a verification read and found. `found` counts every fault, `faults` holds the first thousand."""

    entries: int = 0
    tenants: int = 0
    seconds: float = 0.0
    found: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.found

    def add(self, faults: Iterable[Fault]) -> None:
        """Count the faults and keep the first ones."""
        for fault in faults:
            self.found += 1
            if self.found <= KEPT:
                self.faults.append(fault)


def verify_log(alias: str, *, tenant_id: UUID | None = None, progress: Callable[[int], None] | None = None) -> Report:
    """Verify every chain, or one tenant's, and the numbering of the whole log.

    `progress` is told how many entries were read. Raises nothing for a broken log: the report says what is wrong.
    """
    report, started = Report(), time.perf_counter()
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        # One snapshot: the sequencer goes on while we read.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        _verify_chains(cursor, report, tenant_id, progress)
        if tenant_id is None:
            report.add(_verify_removal(cursor))
            report.add(_verify_positions(cursor))
    report.seconds = time.perf_counter() - started
    return report


def find_tenants(alias: str, slug: str) -> list[UUID]:
    """The tenants that the log says were opened with this slug."""
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, leaf FROM audit_entry WHERE leaf LIKE %s ORDER BY tenant_id, tseq", [f"{_OPENED}%"]
        )
        opened = [(row[0], read_leaf(row[1])) for row in cursor.fetchall()]
    return [tenant for tenant, leaf in opened if leaf and ("slug", slug) in _pairs(leaf["body"].get("detail"))]


def _pairs(value: object) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _verify_chains(cursor: Any, report: Report, tenant_id: UUID | None, progress: Callable[[int], None] | None) -> None:
    starts = _Starts(cursor, tenant_id)
    heads = _Heads(_page(cursor, _HEADS, 3, tenant_id), starts)
    chain: Chain | None = None
    for values in _page(cursor, _ENTRIES, 3, tenant_id):
        row = Row(*values)
        if chain is None or chain.tenant_id != row.tenant_id:
            report.add(heads.close(chain, until=row.tenant_id))
            chain = starts.take(row.tenant_id)
            report.tenants += 1
        report.add(chain.follow(row))
        report.entries += 1
        if progress and report.entries % BATCH == 0:
            progress(report.entries)
    report.add(heads.close(chain, until=None))
    report.add(starts.close())


_ENTRIES: Final = (
    f"SELECT {', '.join(Row._fields)} FROM audit_entry "  # noqa: S608  # names from this code
    "WHERE (tenant_id, tseq, idx) > (%s, %s, %s) {only} ORDER BY tenant_id, tseq, idx LIMIT %s"
)
_HEADS: Final = (
    f"SELECT {', '.join(Head._fields)} FROM audit_tenanthead "  # noqa: S608  # names from this code
    "WHERE (tenant_id, tseq, idx) > (%s, %s, %s) {only} ORDER BY tenant_id, tseq, idx LIMIT %s"
)
_PRUNED_HEADS: Final = f"SELECT {', '.join(Head._fields)} FROM audit_prunedhead {{only}}"  # noqa: S608  # as above
_PRUNED: Final = "SELECT pruned_to, pruned_record FROM audit_logstate WHERE id = 1"
_POSITIONS: Final = "SELECT idx FROM audit_entry WHERE idx > %s ORDER BY idx LIMIT %s"


def _page(cursor: Any, query: str, width: int, tenant_id: UUID | None) -> Iterator[tuple[Any, ...]]:
    """Rows by keyset, because a pooler in transaction mode cannot keep a server-side cursor."""
    only, tenants = ("AND tenant_id = %s", [tenant_id]) if tenant_id else ("", [])
    last: tuple[Any, ...] = _BEFORE_ALL
    while True:
        cursor.execute(query.format(only=only), [*last, *tenants, BATCH])
        rows = cursor.fetchall()
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1][:width]


class _Heads:
    """Walks the heads beside the chains; both are sorted by tenant."""

    def __init__(self, rows: Iterator[tuple[Any, ...]], starts: _Starts) -> None:
        self._rows = (Head(*row) for row in rows)
        self._starts = starts
        self._next = next(self._rows, None)

    def close(self, chain: Chain | None, *, until: UUID | None) -> Iterator[Fault]:
        """Compare the end of a chain with its head; heads in between have lost their whole chain."""
        own = None
        while self._next is not None and (until is None or self._next.tenant_id < until):
            head, self._next = self._next, next(self._rows, None)
            if chain is not None and head.tenant_id == chain.tenant_id:
                own = head
            else:
                yield from self._starts.take(head.tenant_id).close(head)
        if chain is not None:
            yield from chain.close(own)


class _Starts:
    """What retention noted of each chain whose beginning it removed; one per tenant."""

    def __init__(self, cursor: Any, tenant_id: UUID | None) -> None:
        only, tenants = ("WHERE tenant_id = %s", [tenant_id]) if tenant_id else ("", [])
        cursor.execute(_PRUNED_HEADS.format(only=only), tenants)
        self._heads = {row[0]: Head(*row) for row in cursor.fetchall()}
        cursor.execute(_PRUNED)
        self._upto = (cursor.fetchone() or (0,))[0]

    def take(self, tenant_id: UUID) -> Chain:
        """A chain as it stands before the first entry that is there."""
        head = self._heads.pop(tenant_id, None)
        # Noted beyond what was removed: somebody hides entries behind it, so they count as missing.
        if head is None or head.idx >= self._upto:
            return Chain(tenant_id)
        return Chain(tenant_id, head.tseq, head.idx, bytes(head.leaf_hash))

    def close(self) -> Iterator[Fault]:
        """Chains of which neither an entry nor the head is there any more."""
        for tenant_id in sorted(self._heads):
            yield from self.take(tenant_id).close(None)


def _verify_removal(cursor: Any) -> Iterator[Fault]:
    """Entries are gone only as far as an entry of the platform's own chain says."""
    cursor.execute(_PRUNED)
    upto, record = cursor.fetchone() or (0, None)
    if not upto:
        return
    cursor.execute("SELECT tenant_id, leaf FROM audit_entry WHERE idx = %s", [record])
    row = cursor.fetchone()
    leaf = read_leaf(row[1]) if row and row[0] == PLATFORM and row[1].startswith(_REMOVED) else None
    detail = dict(_pairs(leaf["body"].get("detail"))) if leaf else {}
    said = detail["to"] if detail.get("from") == 0 and type(detail.get("to")) is int else 0
    if record is None or said < upto or record < said:
        detail_text = f"entries from here up to position {upto - 1} are gone, and no entry of the log says so"
        yield Fault(FaultKind.UNRECORDED, None, min(said, upto), detail_text)


def _verify_positions(cursor: Any) -> Iterator[Fault]:
    """Positions run without a gap, from where retention ended, up to the size that the sequencer noted."""
    cursor.execute(_PRUNED)
    due, last = (cursor.fetchone() or (0,))[0], -(2**63)
    while True:
        cursor.execute(_POSITIONS, [last, BATCH])
        positions = [row[0] for row in cursor.fetchall()]
        for idx in positions:
            if idx != due:
                kind = FaultKind.MISSING if idx > due else FaultKind.DUPLICATE
                yield Fault(kind, None, min(due, idx), f"the next entry that is there has position {idx}")
            due, last = idx + 1, idx
        if len(positions) < BATCH:
            break
    cursor.execute("SELECT size FROM audit_logstate")
    noted = cursor.fetchone()
    size = noted[0] if noted else 0
    if size > due:
        yield Fault(FaultKind.TAIL_CUT, None, due, f"the log had {size} entries; those from here on are gone")
    elif size < due:
        yield Fault(
            FaultKind.ADDED,
            None,
            size,
            f"the sequencer numbered {size} entries, so this one came another way",
        )
