"""Geometry of the picture of an inclusion proof: hashes in, boxes and lines out. Must never emit markup or verify.

The entry's own path rises in the middle; each audit hash stands beside it, on the side where it is hashed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from audit.merkle import node_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 320
BOX: Final = 84
TALL: Final = 22
STEP: Final = 42
MARGIN: Final = 6
SHOWN: Final = 8
_MIDDLE: Final = WIDTH // 2
_SIDE: Final = MARGIN + BOX // 2


@dataclass(frozen=True, slots=True)
class Box:
    """One hash. `kind`: leaf, path, audit or root; `x` and `y` are its corner, `mid` and `base` where its text goes."""

    kind: str
    label: str
    x: int
    y: int
    mid: int
    base: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes over lines in a `width` x `height` picture; `steps` is how many audit hashes there are."""

    height: int
    lines: tuple[str, ...]
    boxes: tuple[Box, ...]
    steps: int
    width: int = WIDTH
    box_width: int = BOX
    box_height: int = TALL


def draw_path(leaf_hash: bytes, index: int, size: int, hashes: Sequence[bytes]) -> Drawing:
    """The way from the leaf (bottom) to the root (top)."""
    height = STEP * len(hashes) + TALL + 2 * MARGIN
    centre = height - MARGIN - TALL // 2
    found, lines = leaf_hash, list[str]()
    boxes = [_box("leaf" if hashes else "root", found, _MIDDLE, centre)]
    for number, (sibling, is_left) in enumerate(zip(hashes, list_sides(index, size, len(hashes)), strict=True), 1):
        beside = _SIDE if is_left else WIDTH - _SIDE
        above = centre - STEP
        boxes.append(_box("audit", sibling, beside, centre))
        lines += [_line(_MIDDLE, centre, above), _line(beside, centre, above)]
        found = node_hash(sibling, found) if is_left else node_hash(found, sibling)
        boxes.append(_box("root" if number == len(hashes) else "path", found, _MIDDLE, above))
        centre = above
    return Drawing(height, tuple(lines), tuple(boxes), len(hashes))


def list_sides(index: int, size: int, steps: int) -> list[bool]:
    """Whether each audit hash is hashed in on the left (RFC 9162 section 2.1.3.2)."""
    sides, place, last = list[bool](), index, size - 1
    for _ in range(steps):
        is_left = bool(place & 1) or place == last
        sides.append(is_left)
        while is_left and place and not place & 1:  # levels where the last node has no sibling
            place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
    return sides


def _box(kind: str, value: bytes, centre_x: int, centre_y: int) -> Box:
    return Box(kind, value.hex()[:SHOWN], centre_x - BOX // 2, centre_y - TALL // 2, centre_x, centre_y + 4)


def _line(start: int, low: int, high: int) -> str:
    return f"M{start} {low - TALL // 2} L{_MIDDLE} {high + TALL // 2}"
