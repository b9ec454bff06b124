"""Trees to test with, computed as RFC 6962 section 2.1 writes them down: by recursion, from all leaves."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def leaf_hashes(count: int) -> list[bytes]:
    """Hashes of distinct made-up leaves."""
    return [hashlib.sha256(b"\0leaf %d" % index).digest() for index in range(count)]


class Tree:
    """A tree that remembers each node it computed, and how often it was asked for nodes."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self.reads = 0
        self.range_root = functools.cache(self._range_root)

    def _range_root(self, start: int, end: int) -> bytes:
        """MTH(D[start:end])."""
        if end - start == 1:
            return self.leaves[start]
        middle = start + split(end - start)
        pair = self.range_root(start, middle) + self.range_root(middle, end)
        return hashlib.sha256(b"\1" + pair).digest()

    def root(self, size: int) -> bytes:
        return self.range_root(0, size) if size else hashlib.sha256(b"").digest()

    def read(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """The HashReader. Refuses nodes that are no complete subtree of the tree."""
        self.reads += 1
        assert all((index + 1) << level <= len(self.leaves) for level, index in nodes)
        return [self.range_root(index << level, (index + 1) << level) for level, index in nodes]

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        """PATH(index, D[start:end]), RFC 6962 section 2.1.1."""
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return [*self.path(index, start, middle), self.range_root(middle, end)]
        return [*self.path(index, middle, end), self.range_root(start, middle)]

    def proof(self, old: int, new: int) -> list[bytes]:
        """PROOF(old, D[new]), RFC 6962 section 2.1.2."""
        return self._subproof(old, 0, new, whole=True)

    def _subproof(self, old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        if old == end:
            return [] if whole else [self.range_root(start, end)]
        middle = start + split(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, whole=whole), self.range_root(middle, end)]
        return [*self._subproof(old, middle, end, whole=False), self.range_root(start, middle)]


def split(size: int) -> int:
    """The largest power of two below `size`."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def path_shape(index: int, size: int) -> str:
    """Which siblings of a path are on the left and which on the right, from the leaf up."""
    if size == 1:
        return ""
    middle = split(size)
    return path_shape(index, middle) + "r" if index < middle else path_shape(index - middle, size - middle) + "l"


def flip(data: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
