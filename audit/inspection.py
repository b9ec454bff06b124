"""Following one tenant's chain row by row and naming each fault. Must never do I/O, nor stop at the first fault."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from audit.canonical import DEPTH_MAX, parse_canonical
from audit.chain import GENESIS, leaf_hash
from byok_portal.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEAF_KEYS: Final = frozenset({"body", "prev", "seq", "tenant", "v"})


class FaultKind(StrEnum):
    """What was done to the log."""

    EDITED = "edited"
    MISSING = "missing"
    REORDERED = "reordered"
    REATTRIBUTED = "reattributed"
    COLUMN = "column_differs"
    TAIL_CUT = "tail_cut"
    DUPLICATE = "duplicate"
    ADDED = "added"
    HEAD = "head_differs"
    UNRECORDED = "removal_unrecorded"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `number` is the tenant's own, or without a tenant the position in the log of the installation."""

    kind: FaultKind
    tenant_id: UUID | None
    number: int
    detail: str

    def __str__(self) -> str:
        place = f"Tenant {self.tenant_id}, entry {self.number}" if self.tenant_id else f"Log position {self.number}"
        return f"{place}: {self.kind.value.replace('_', ' ')}; {self.detail}."


class Row(NamedTuple):
    """One stored entry: the record itself in `leaf`, and the columns that it is found by."""

    tenant_id: UUID
    tseq: int
    idx: int
    event_id: UUID
    leaf: str


class Head(NamedTuple):
    """What the sequencer noted as the end of one tenant's chain."""

    tenant_id: UUID
    tseq: int
    idx: int
    leaf_hash: bytes


@dataclass(slots=True)
class Chain:
    """How far one tenant's chain was followed. `head` is None where a fault left nothing to link to."""

    tenant_id: UUID
    number: int = 0
    idx: int = -1
    head: bytes | None = GENESIS

    def follow(self, row: Row) -> Iterator[Fault]:
        """Take the next row in order of number; yields what is wrong with it or with the one before."""
        due = self.number + 1
        if row.tseq < due:
            yield self._fault(FaultKind.DUPLICATE, row.tseq, "another entry has this number, or it is below 1")
            return
        if row.tseq > due:
            yield self._fault(FaultKind.MISSING, due, f"the next entry that is there has number {row.tseq}")
            self.head = None
        if row.idx <= self.idx:
            yield self._fault(
                FaultKind.REORDERED, row.tseq, "it stands in the log before the entry with a lower number"
            )
        self.number, self.idx = row.tseq, row.idx
        leaf = read_leaf(row.leaf)
        if leaf is None:
            yield self._fault(FaultKind.EDITED, row.tseq, "it does not have the form in which entries are written")
            self.head = None
            return
        yield from self._link(row, leaf)
        yield from self._compare(row, leaf)

    def close(self, head: Head | None) -> Iterator[Fault]:
        """Compare the end with what the sequencer noted as the end."""
        if head is None:
            yield self._fault(FaultKind.HEAD, self.number, "the head of this chain is missing")
        elif head.tseq > self.number:
            detail = f"the chain had {head.tseq} entries; those from here on are gone"
            yield self._fault(FaultKind.TAIL_CUT, self.number + 1, detail)
        elif head.tseq < self.number:
            detail = f"the sequencer numbered {head.tseq} entries, so this one came another way"
            yield self._fault(FaultKind.ADDED, head.tseq + 1, detail)
        elif self.head is not None and bytes(head.leaf_hash) != self.head:
            yield self._fault(
                FaultKind.EDITED, self.number, "its hash is not the one that was noted for the last entry"
            )
        elif head.idx != self.idx:
            yield self._fault(FaultKind.HEAD, self.number, f"its position is {self.idx}, the head says {head.idx}")

    def _link(self, row: Row, leaf: dict[str, Any]) -> Iterator[Fault]:
        before, self.head = self.head, None
        if leaf["tenant"] != str(row.tenant_id):
            yield self._fault(FaultKind.REATTRIBUTED, row.tseq, f"the record itself names tenant {leaf['tenant']}")
            return
        if leaf["seq"] != row.tseq:
            yield self._fault(FaultKind.REORDERED, row.tseq, f"the record itself has number {leaf['seq']}")
            return
        if before is not None and leaf["prev"] != base64.b64encode(before).decode("ascii"):
            # The link is in the later entry; what does not match is the content of the earlier one.
            number = max(row.tseq - 1, 1)
            yield self._fault(FaultKind.EDITED, number, f"entry {row.tseq} links to another content")
        self.head = leaf_hash(row.leaf.encode())

    def _compare(self, row: Row, leaf: dict[str, Any]) -> Iterator[Fault]:
        if row.event_id != _uuid(leaf["body"].get("id")):
            yield self._fault(FaultKind.COLUMN, row.tseq, "not as in the record: event_id")

    def _fault(self, kind: FaultKind, number: int, detail: str) -> Fault:
        return Fault(kind, self.tenant_id, number, detail)


def read_leaf(text: str) -> dict[str, Any] | None:
    """The leaf, or None when it is not one byte for byte (measured.md 1.2)."""
    try:
        leaf = parse_canonical(text.encode(), depth_max=DEPTH_MAX + 1)
    except IntegrityError:
        return None
    # `is int`, because True equals 1.
    numbers = type(leaf.get("seq")) is int and type(leaf.get("v")) is int and leaf["v"] == 1
    return leaf if numbers and leaf.keys() == _LEAF_KEYS and isinstance(leaf["body"], dict) else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None
