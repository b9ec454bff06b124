"""The reader that makes the search index: the words of each block of 256 entries of a tenant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from audit.words import block_of, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from audit.models import Entry

# Words as text: an array of arrays of different lengths is none in SQL.
_ADD: Final = """
INSERT INTO audit_searchblock (tenant_id, number, upto, words)
SELECT tenant_id, number, upto, words::int[]
FROM unnest(%b::uuid[], %b::bigint[], %b::bigint[], %b::text[]) AS new (tenant_id, number, upto, words)
ON CONFLICT (tenant_id, number) DO UPDATE SET
  upto = greatest(audit_searchblock.upto, EXCLUDED.upto),
  words = ARRAY(SELECT DISTINCT w FROM unnest(audit_searchblock.words || EXCLUDED.words) AS w ORDER BY w)
"""


@dataclass(slots=True)
class Block:
    """What is new in one block."""

    upto: int = 0
    words: set[int] = field(default_factory=set)


class SearchReader:
    """Notes the words of every entry. It must leave none out: a search would not find that entry."""

    name: ClassVar[str] = "search"

    def fold(self, cursor: Any, entries: Sequence[Entry]) -> None:
        """Add the words of these entries. Raises on an entry that it cannot read: the index ends before it then."""
        blocks: dict[tuple[UUID, int], Block] = {}
        for entry in entries:
            block = blocks.setdefault((entry.tenant_id, block_of(entry.tseq)), Block())
            block.upto = max(block.upto, entry.tseq)
            block.words |= words_of(entry.body)
        rows = [(*place, block.upto, _array(block.words)) for place, block in sorted(blocks.items(), key=_place)]
        cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])

    def clear(self, cursor: Any) -> None:
        """Remove the index; searches read every entry until it is back."""
        cursor.execute("DELETE FROM audit_searchblock")


def _place(item: tuple[tuple[UUID, int], Block]) -> tuple[UUID, int]:
    return item[0]


def _array(words: set[int]) -> str:
    return "{" + ",".join(map(str, sorted(words))) + "}"
