"""The stored tree: tiles and right edge as one consistent read. Must never write; the sequencer alone does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from audit import merkle
from audit.bulk import bulk_cursor
from audit.tiles import HEIGHT, WIDTH, Edge, TileReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.merkle import HashReader

REMEMBERED_TILES: Final = 1000  # of 8 KiB

# One statement is one snapshot: a tile that fills while we read must not be missing from both tables.
_TILES: Final = """
SELECT t.level::int, t.n, t.hashes FROM audit_tile t
JOIN unnest(%b::int[], %b::bigint[]) AS wanted (level, n) ON t.level = wanted.level AND t.n = wanted.n
UNION ALL
SELECT e.level::int, (s.size >> (e.level * %b::int)) / %b::int, e.hashes
FROM audit_edge e, audit_logstate s WHERE s.id = 1
"""
_EDGE: Final = "SELECT level, hashes FROM audit_edge ORDER BY level"


def read_tiles(alias: str, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The bytes of these (level, n) tiles, as far as they are there; those of the right edge are partial."""
    with bulk_cursor(alias) as cursor:
        cursor.execute(_TILES, [[level for level, _ in wanted], [n for _, n in wanted], HEIGHT, WIDTH], binary=True)
        return {(level, n): bytes(hashes) for level, n, hashes in cursor.fetchall()}


def reader(alias: str) -> HashReader:
    """Hashes of complete subtrees, for proofs."""
    return TileReader(lambda wanted: read_tiles(alias, wanted))


def remembering_reader(alias: str) -> HashReader:
    """As `reader`, for many proofs in one tree: neighbours share tiles, and those only ever grow."""
    known: dict[tuple[int, int], bytes] = {}

    def fetch(wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        missing = [place for place in wanted if place not in known]
        if missing:
            if len(known) > REMEMBERED_TILES:
                known.clear()
                missing = list(wanted)
            known.update(read_tiles(alias, missing))
        return {place: known[place] for place in wanted if place in known}

    return TileReader(fetch)


def load_edge(cursor: Any) -> Edge:
    """The right edge as stored. Raises IntegrityError for one that cannot be."""
    cursor.execute(_EDGE)
    levels = {level: bytes(hashes) for level, hashes in cursor.fetchall()}
    return Edge.from_tiles(levels.get(level, b"") for level in range(max(levels, default=-1) + 1))


def root_at(alias: str, size: int) -> bytes:
    """The root of the first `size` leaves. Raises IntegrityError where a tile is missing."""
    return merkle.tree_root(size, reader(alias))
