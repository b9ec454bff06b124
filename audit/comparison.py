"""What is stored of the tree beside what was made anew, and the faults that this finds. Must never write.

Also where the leaves of entries come from that retention removed: their hashes stay, in the tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from audit.merkle import HASH_BYTES
from audit.tiles import HEIGHT, WIDTH, Edge, tile_path
from audit.verification import KEPT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = 64
"""Tiles of removed leaves that are read at once."""

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
    PRUNED_HEAD = "pruned_head_differs"


@dataclass(frozen=True, slots=True)
class TreeFault:
    """One fault. `number` is a position in the log, or the size of a checkpoint."""

    kind: TreeFaultKind
    number: int
    detail: str
    tenant_id: None = None

    def __str__(self) -> str:
        return f"Log position {self.number}: {self.kind.value.replace('_', ' ')}; {self.detail}."


def read_pruned(cursor: Any, upto: int) -> Iterator[bytes]:
    """The leaf hashes of positions below `upto`, up to the first that no tile has."""
    for start in range(0, -(-upto // WIDTH), PAGE):
        numbers = list(range(start, min(start + PAGE, -(-upto // WIDTH))))
        cursor.execute(_TILES, [[0] * len(numbers), numbers])
        tiles = {n: bytes(hashes) for _, n, hashes in cursor.fetchall()}
        if numbers[-1] not in tiles and upto % WIDTH:
            cursor.execute("SELECT hashes FROM audit_edge WHERE level = 0")
            tiles[numbers[-1]] = bytes((cursor.fetchone() or (b"",))[0])
        for n in numbers:
            tile = tiles.get(n, b"")[: (upto - n * WIDTH) * HASH_BYTES]
            yield from (tile[i : i + HASH_BYTES] for i in range(0, len(tile), HASH_BYTES))
            if len(tile) < min(WIDTH, upto - n * WIDTH) * HASH_BYTES:
                return


def find_pruned_heads(cursor: Any) -> dict[int, bytes]:
    """Position and leaf hash of the last entry of each tenant that retention removed."""
    cursor.execute("SELECT idx, leaf_hash FROM audit_prunedhead")
    return {idx: bytes(digest) for idx, digest in cursor.fetchall()}


def compare_tiles(cursor: Any, full: list[tuple[int, int, bytes]]) -> Iterator[TreeFault]:
    """Full tiles that were made anew, beside the stored ones."""
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


def compare_edge(cursor: Any, edge: Edge) -> Iterator[TreeFault]:
    """The right edge that was made anew, beside the stored one."""
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


def find_extra_tiles(cursor: Any, size: int) -> Iterator[TreeFault]:
    """Stored tiles beyond the end of the log."""
    due: list[int] = []
    while size >> HEIGHT * (len(due) + 1):
        due.append(size >> HEIGHT * (len(due) + 1))
    cursor.execute(_EXTRA_TILES, [list(range(len(due))), due, KEPT])
    for level, n in cursor.fetchall():
        detail = f"tile {n} of level {level} covers entries that are not there ({WIDTH} hashes)"
        yield TreeFault(TreeFaultKind.EXTRA_TILE, size, detail)
