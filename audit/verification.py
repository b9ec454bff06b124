"""Verifies the whole stored log and names every fault. Shares no code with the writer but the pure files.

Reads one snapshot in batches, so memory stays bounded. Whoever can rewrite the heads as well can cut or replace the
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BATCH: Final = 2000
KEPT: Final = 1000
"""How many faults are kept one by one; further ones are only counted."""

_OPENED: Final = action_is("tenant.opened")
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
    heads = _Heads(_page(cursor, _HEADS, 3, tenant_id))
    chain: Chain | None = None
    for values in _page(cursor, _ENTRIES, 3, tenant_id):
        row = Row(*values)
        if chain is None or chain.tenant_id != row.tenant_id:
            report.add(heads.close(chain, until=row.tenant_id))
            chain = Chain(row.tenant_id)
            report.tenants += 1
        report.add(chain.follow(row))
        report.entries += 1
        if progress and report.entries % BATCH == 0:
            progress(report.entries)
    report.add(heads.close(chain, until=None))


_ENTRIES: Final = (
    f"SELECT {', '.join(Row._fields)} FROM audit_entry "  # noqa: S608  # names from this code
    "WHERE (tenant_id, tseq, idx) > (%s, %s, %s) {only} ORDER BY tenant_id, tseq, idx LIMIT %s"
)
_HEADS: Final = (
    f"SELECT {', '.join(Head._fields)} FROM audit_tenanthead "  # noqa: S608  # names from this code
    "WHERE (tenant_id, tseq, idx) > (%s, %s, %s) {only} ORDER BY tenant_id, tseq, idx LIMIT %s"
)
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

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = (Head(*row) for row in rows)
        self._next = next(self._rows, None)

    def close(self, chain: Chain | None, *, until: UUID | None) -> Iterator[Fault]:
        """Compare the end of a chain with its head; heads in between have lost their whole chain."""
        own = None
        while self._next is not None and (until is None or self._next.tenant_id < until):
            head, self._next = self._next, next(self._rows, None)
            if chain is not None and head.tenant_id == chain.tenant_id:
                own = head
            else:
                yield from Chain(head.tenant_id).close(head)
        if chain is not None:
            yield from chain.close(own)


def _verify_positions(cursor: Any) -> Iterator[Fault]:
    """Positions run from 0 without a gap up to the size that the sequencer noted."""
    due, last = 0, -(2**63)
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
