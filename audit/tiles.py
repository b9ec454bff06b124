"""C2SP tlog-tiles: the tree as files of 256 hashes, their paths, and entry bundles. Must never do I/O.

A tile of level L holds roots of complete subtrees of 256^L leaves; levels between are hashed anew from it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from audit.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_LIMIT, fold
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from audit.merkle import Node

    Tile = tuple[int, int]  # (level, n)
    FullTile = tuple[int, int, bytes]  # (level, n, 8192 bytes)
    TileFetcher = Callable[[list[Tile]], dict[Tile, bytes]]

HEIGHT: Final = 8
WIDTH: Final = 256
TILE_BYTES: Final = WIDTH * HASH_BYTES
ENTRY_MAX_BYTES: Final = 65535  # bundles carry a u16 length

_LEVEL_MAX: Final = 63
_REMEMBERED_ROOTS: Final = 1024  # over at most 8 KiB each, 1.5 on average
_WORTH_REMEMBERING: Final = 16 * HASH_BYTES
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<n>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class Address(NamedTuple):
    """What a path names: a tile of a level or a bundle of entries. A width below 256 is partial."""

    level: int | Literal["entries"]
    n: int
    width: int


def tile_path(level: int, n: int, width: int = WIDTH) -> str:
    """The path of a tile, such as `tile/0/x001/234.p/5`."""
    if not 0 <= level <= _LEVEL_MAX:
        raise InvalidInput("level is from 0 to 63", code="out_of_range", field="level")
    return f"tile/{level}/{_encode_number(n, width)}"


def entries_path(n: int, width: int = WIDTH) -> str:
    """The path of an entry bundle, such as `tile/entries/x001/234`."""
    return f"tile/entries/{_encode_number(n, width)}"


def parse_path(text: str) -> Address:
    """Return what a path names. Raises InvalidInput for any but the one form that tile_path writes."""
    match = _PATH.fullmatch(text)
    if match is None:
        raise InvalidInput("path: it is not that of a tile", code="tile_path", field="path")
    level: int | Literal["entries"] = "entries" if match["level"] == "entries" else int(match["level"])
    n = int(match["n"].replace("x", "").replace("/", ""))
    width = int(match["width"] or WIDTH)
    try:
        again = entries_path(n, width) if level == "entries" else tile_path(level, n, width)
    except InvalidInput as error:
        raise InvalidInput(f"path: {error.detail}", code="tile_path", field="path") from None
    if again != text:
        raise InvalidInput(f"path: the tile's is {again}", code="tile_path", field="path")
    return Address(level, n, width)


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """All tiles of a tree as (level, n, width), level by level from the left; the last of a level may be partial."""
    level = 0
    while size >> (HEIGHT * level):
        hashes = size >> (HEIGHT * level)
        for n in range(hashes // WIDTH):
            yield level, n, WIDTH
        if hashes % WIDTH:
            yield level, hashes // WIDTH, hashes % WIDTH
        level += 1


def encode_bundle(leaves: Sequence[bytes]) -> bytes:
    """The entry bundle of 1 to 256 leaves: each behind its length, a big-endian u16."""
    if not 1 <= len(leaves) <= WIDTH:
        raise InvalidInput("leaves: a bundle has 1 to 256", code="bundle_width", field="leaves")
    if any(len(leaf) > ENTRY_MAX_BYTES for leaf in leaves):
        raise InvalidInput("leaves: an entry has at most 65535 bytes", code="entry_too_long", field="leaves")
    return b"".join([len(leaf).to_bytes(2, "big") + leaf for leaf in leaves])


def decode_bundle(data: bytes) -> list[bytes]:
    """The leaves of an entry bundle. Raises IntegrityError where it is cut, empty or too wide."""
    leaves: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data):
            raise IntegrityError("the entry bundle is cut short", code="bad_bundle")
        leaves.append(data[start:position])
        if len(leaves) > WIDTH:
            break
    if not 1 <= len(leaves) <= WIDTH:
        raise IntegrityError("an entry bundle has 1 to 256 entries", code="bad_bundle")
    return leaves


class TileReader:
    """A merkle.HashReader over tiles, which it fetches with one call per read.

    `read_tile` gets each needed (level, n) once and answers with the bytes of those that are there; the
    rightmost of a level may be shorter than 8192 bytes.
    """

    def __init__(self, read_tile: TileFetcher) -> None:
        self._read_tile = read_tile

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        places = [_place(level, index) for level, index in nodes]
        tiles = self._read_tile(sorted({tile for tile, _, _ in places}))
        return [_subtree(tiles, tile, offset, width) for tile, offset, width in places]


class Edge:
    """The right edge of the tree as tiles: per level the hashes that do not fill a tile yet."""

    __slots__ = ("hashes",)

    def __init__(self, hashes: Iterable[Sequence[bytes]] = ()) -> None:
        self.hashes = [list(level) for level in hashes]
        for level in self.hashes:
            if len(level) >= WIDTH or any(len(value) != HASH_BYTES for value in level):
                raise IntegrityError("the edge has at most 255 hashes of 32 bytes per level", code="bad_edge")

    @classmethod
    def from_tiles(cls, tiles: Iterable[bytes]) -> Edge:
        """The edge whose partial tiles are given, level by level; an empty one for a level without."""
        return cls([tile[i : i + HASH_BYTES] for i in range(0, len(tile), HASH_BYTES)] for tile in tiles)

    @property
    def tiles(self) -> list[bytes]:
        """The partial tile of each level as bytes, empty where the level's last tile is full."""
        return [b"".join(level) for level in self.hashes]

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return sum(len(level) << (HEIGHT * i) for i, level in enumerate(self.hashes))

    def extend(self, leaf_hashes: Iterable[bytes]) -> list[FullTile]:
        """Add leaf hashes on the right; return the tiles that this filled, level by level."""
        full: list[FullTile] = []
        size, added, level = self.size, list(leaf_hashes), 0
        if any(len(value) != HASH_BYTES for value in added):
            raise InvalidInput("leaf_hashes: a hash has 32 bytes", code="hash_length", field="leaf_hashes")
        while added:
            if level == len(self.hashes):
                self.hashes.append([])
            row = self.hashes[level] + added
            first = size >> (HEIGHT * (level + 1))
            added = []
            for start in range(0, len(row) - WIDTH + 1, WIDTH):
                tile = b"".join(row[start : start + WIDTH])
                full.append((level, first + start // WIDTH, tile))
                added.append(_complete_root(tile))
            self.hashes[level] = row[len(row) // WIDTH * WIDTH :]
            level += 1
        return full

    def root(self) -> bytes:
        """The root of the whole tree."""
        hashes: list[bytes] = []
        for level in reversed(self.hashes):
            start = 0
            while start < len(level):
                width = 1 << ((len(level) - start).bit_length() - 1)
                hashes.append(_complete_root(b"".join(level[start : start + width])))
                start += width
        return fold(hashes) if hashes else EMPTY_ROOT

    def copy(self) -> Edge:
        """An edge of its own, to extend in a transaction that may not commit."""
        return Edge(self.hashes)


def _complete_root(data: bytes) -> bytes:
    """The root over concatenated hashes, as many as a power of two."""
    return _remembered_root(data) if len(data) >= _WORTH_REMEMBERING else _hash_up(data)


def _hash_up(data: bytes) -> bytes:
    sha256 = hashlib.sha256
    while len(data) > HASH_BYTES:
        data = b"".join([sha256(b"\x01" + data[i : i + 64]).digest() for i in range(0, len(data), 64)])
    return data


# By what is hashed and not by where it lies, so it cannot be stale: proofs share the tiles above the leaves.
_remembered_root = functools.lru_cache(maxsize=_REMEMBERED_ROOTS)(_hash_up)


def _place(level: int, index: int) -> tuple[Tile, int, int]:
    """The tile of a node, and the first and the number of the tile's hashes that it spans."""
    tile_level, inner = divmod(level, HEIGHT)
    n, offset = divmod(index << inner, WIDTH)
    return (tile_level, n), offset, 1 << inner


def _subtree(tiles: dict[Tile, bytes], tile: Tile, offset: int, width: int) -> bytes:
    data = tiles.get(tile, b"")[offset * HASH_BYTES : (offset + width) * HASH_BYTES]
    if len(data) != width * HASH_BYTES:
        raise IntegrityError(f"{tile_path(*tile)} lacks hashes of the tree", code="tile_missing")
    return _complete_root(data)


def _encode_number(n: int, width: int) -> str:
    if not 0 <= n < SIZE_LIMIT // WIDTH:
        raise InvalidInput("n is the number of a tile, from 0", code="out_of_range", field="n")
    if not 1 <= width <= WIDTH:
        raise InvalidInput("width is from 1 to 256", code="out_of_range", field="width")
    groups = f"{n:,}".split(",")
    groups[0] = groups[0].zfill(3)
    number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return number if width == WIDTH else f"{number}.p/{width}"
