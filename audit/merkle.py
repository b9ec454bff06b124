"""RFC 6962 section 2.1 Merkle trees: roots, proofs and their verification. Must never do I/O.

Storage is a HashReader: it is asked once per proof, with every node that the proof needs.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Node = tuple[int, int]  # (level, index): the complete subtree over leaves [index * 2^level, (index + 1) * 2^level)
    HashReader = Callable[[Sequence[Node]], list[bytes]]  # as many 32-byte hashes as nodes, in their order
    Span = tuple[int, int]  # leaves [start, end); start is a multiple of the power of two that the span fits in

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
SIZE_LIMIT: Final = 2**63  # tree sizes and indexes are below it: bigint in the database, int64 in Go


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 interior hash: SHA-256 over a one byte and both children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; EMPTY_ROOT over none."""
    if not hashes:
        return EMPTY_ROOT
    sha256 = hashlib.sha256
    row = list(hashes)
    while len(row) > 1:
        odd = row[len(row) & ~1 :]  # a node without a right sibling moves up as it is
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        row += odd
    return row[0]


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over complete subtrees that shrink from left to right."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


class Frontier:
    """The right edge of a growing tree: one complete subtree per bit of the size, the largest first."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size < SIZE_LIMIT or len(hashes) != size.bit_count():
            raise InvalidInput("a frontier has one hash per bit of its size", field="hashes")
        for value in hashes:
            check_hash(value, field="hashes")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf hash on the right."""
        hashes, size = self.hashes, self.size
        while size & 1:
            leaf_hash = hashlib.sha256(b"\x01" + hashes.pop() + leaf_hash).digest()
            size >>= 1
        hashes.append(leaf_hash)
        self.size += 1

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaf hashes on the right, in order."""
        for leaf_hash in leaf_hashes:
            self.append(leaf_hash)

    def root(self) -> bytes:
        """The root of the tree so far."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT


def tree_root(size: int, read: HashReader) -> bytes:
    """The root of the first `size` leaves."""
    _check_range(size, 0, SIZE_LIMIT - 1, "size")
    return _read_spans([(0, size)], read)[0] if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """RFC 6962 section 2.1.1: siblings of leaf `index` in the tree of `size` leaves, the leaf's own first."""
    _check_range(size, 1, SIZE_LIMIT - 1, "size")
    _check_range(index, 0, size - 1, "index")
    return _read_spans(_inclusion_spans(index, size), read)


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """RFC 6962 section 2.1.2: that the tree of `old` leaves is the start of the one of `new`.

    Empty where nothing needs a proof: from the empty tree, and from a tree to itself.
    """
    _check_range(new, 0, SIZE_LIMIT - 1, "new")
    _check_range(old, 0, new, "old")
    return _read_spans(_consistency_spans(old, new), read) if 0 < old < new else []


def verify_inclusion(*, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 section 2.1.3.2. Raises IntegrityError unless the leaf is number `index` in the tree.

    The size only shapes the path: it must come with the root, from one signed checkpoint.
    """
    _check_claim(place=index, limit=size, size=size, hashes=(leaf_hash, root, *proof))
    found = leaf_hash
    for sibling, is_left in _climb(index, size - 1, proof, code="bad_inclusion_proof"):
        found = node_hash(sibling, found) if is_left else node_hash(found, sibling)
    if not hmac.compare_digest(found, root):
        raise IntegrityError("the inclusion proof leads to another root", code="bad_inclusion_proof")


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """RFC 9162 section 2.1.4.2. Raises IntegrityError unless the new tree is the old one with leaves added.

    The sizes only shape the path: each must come with its root, from one signed checkpoint.
    """
    _check_claim(place=old_size, limit=new_size + 1, size=new_size, hashes=(old_root, new_root, *proof))
    if old_size in {0, new_size}:
        _verify_trivial_consistency(old_size, old_root, new_size, new_root, proof)
        return
    # An old tree that is one complete subtree is where the path begins, and is not sent.
    path = [*proof] if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise IntegrityError("the proof is too short", code="bad_consistency_proof")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    found_old = found_new = path[0]
    for sibling, is_left in _climb(position, last, path[1:], code="bad_consistency_proof"):
        found_old = node_hash(sibling, found_old) if is_left else found_old
        found_new = node_hash(sibling, found_new) if is_left else node_hash(found_new, sibling)
    if not hmac.compare_digest(found_old, old_root):
        raise IntegrityError("the consistency proof leads to another old root", code="bad_consistency_proof")
    if not hmac.compare_digest(found_new, new_root):
        raise IntegrityError("the consistency proof leads to another new root", code="bad_consistency_proof")


def check_hash(value: bytes, *, field: str) -> None:
    """Raises InvalidInput unless the value has the length of a SHA-256 hash."""
    if len(value) != HASH_BYTES:
        raise InvalidInput(f"{field}: a hash has 32 bytes", code="hash_length", field=field)


def _verify_trivial_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    if proof:
        raise IntegrityError("the proof is too long", code="bad_consistency_proof")
    expected = new_root if old_size == new_size else EMPTY_ROOT
    if not hmac.compare_digest(old_root, expected) or (new_size == 0 and new_root != EMPTY_ROOT):
        raise IntegrityError("trees of one size have different roots", code="bad_consistency_proof")


def _climb(position: int, last: int, path: Sequence[bytes], *, code: str) -> Iterator[tuple[bytes, bool]]:
    """Walk from a node to the root: each sibling and whether it is the left one.

    Raises IntegrityError unless the path has one hash per sibling.
    """
    for sibling in path:
        if last == 0:
            raise IntegrityError("the proof is too long", code=code)
        is_left = bool(position & 1) or position == last
        yield sibling, is_left
        while is_left and position and not position & 1:  # on the right edge, a node without sibling moves up
            position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
    if last != 0:
        raise IntegrityError("the proof is too short", code=code)


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _inclusion_spans(index: int, size: int) -> list[Span]:
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    spans.reverse()
    return spans


def _consistency_spans(old: int, new: int) -> list[Span]:
    spans: list[Span] = []
    start, end = 0, new
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start:  # else what is left is the whole old tree, whose root the verifier has
        spans.append((start, end))
    spans.reverse()
    return spans


def _span_nodes(span: Span) -> list[Node]:
    """The complete subtrees of a span, largest first."""
    start, end = span
    nodes: list[Node] = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def _read_spans(spans: list[Span], read: HashReader) -> list[bytes]:
    """The root of each span, with one call to read."""
    groups = [_span_nodes(span) for span in spans]
    nodes = [node for group in groups for node in group]
    hashes = iter(read(nodes)) if nodes else iter(())
    return [fold([next(hashes) for _ in group]) for group in groups]


def _check_range(value: int, low: int, high: int, field: str) -> None:
    if not low <= value <= high:
        raise InvalidInput(f"{field} is from {low} to {high}", code="out_of_range", field=field)


def _check_claim(*, place: int, limit: int, size: int, hashes: Sequence[bytes]) -> None:
    """What a proof claims comes from outside: nonsense in it is a proof that fails, not the caller's mistake."""
    if not 0 <= place < limit or not 0 <= size < SIZE_LIMIT:
        raise IntegrityError("the proof is for a place outside the tree", code="proof_out_of_range")
    if any(len(value) != HASH_BYTES for value in hashes):
        raise IntegrityError("a hash in the proof does not have 32 bytes", code="hash_length")
