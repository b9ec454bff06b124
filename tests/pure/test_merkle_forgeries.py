"""What no Merkle proof may pass with: a changed bit, another place, another tree, a hash more or less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import EMPTY_ROOT, Frontier, fold, verify_consistency, verify_inclusion
from byok_portal.errors import IntegrityError, InvalidInput
from tests.pure.trees import Tree, flip, leaf_hashes, path_shape

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE_MAX = 300
TREE = Tree(leaf_hashes(SIZE_MAX))
ROOTS = [TREE.root(size) for size in range(SIZE_MAX + 1)]

trees = st.integers(1, SIZE_MAX).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))
extensions = st.integers(2, SIZE_MAX).flatmap(lambda new: st.tuples(st.integers(1, new - 1), st.just(new)))


def is_refused(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except IntegrityError:
        return True
    return False


def included(  # what a verifier is told, each part to be changed alone
    index: int, size: int, *, leaf: bytes | None = None, proof: list[bytes] | None = None, root: bytes | None = None
) -> Callable[[], None]:
    def verify() -> None:
        verify_inclusion(
            leaf_hash=TREE.leaves[index] if leaf is None else leaf,
            index=index,
            size=size,
            proof=TREE.path(index, 0, size) if proof is None else proof,
            root=ROOTS[size] if root is None else root,
        )

    return verify


def consistent(
    old: int, new: int, *, proof: list[bytes] | None = None, roots: tuple[bytes, bytes] | None = None
) -> Callable[[], None]:
    def verify() -> None:
        old_root, new_root = roots or (ROOTS[old], ROOTS[new])
        hashes = TREE.proof(old, new) if proof is None else proof
        verify_consistency(old_size=old, old_root=old_root, new_size=new, new_root=new_root, proof=hashes)

    return verify


def changed(proof: list[bytes], place: int, bit: int) -> list[bytes]:
    return [*proof[:place], flip(proof[place], bit), *proof[place + 1 :]]


@pytest.mark.parametrize("size", range(1, 41))
def test_every_changed_bit_of_every_inclusion_proof_is_refused(size: int) -> None:
    for index in range(size):
        proof, leaf = TREE.path(index, 0, size), TREE.leaves[index]
        for bit in range(256):
            assert is_refused(included(index, size, proof=proof, leaf=flip(leaf, bit)))
            assert is_refused(included(index, size, proof=proof, root=flip(ROOTS[size], bit)))
            for place in range(len(proof)):
                assert is_refused(included(index, size, proof=changed(proof, place, bit)))


@pytest.mark.parametrize("new", range(2, 41))
def test_every_changed_bit_of_every_consistency_proof_is_refused(new: int) -> None:
    for old in range(1, new):
        proof = TREE.proof(old, new)
        for bit in range(256):
            assert is_refused(consistent(old, new, proof=proof, roots=(flip(ROOTS[old], bit), ROOTS[new])))
            assert is_refused(consistent(old, new, proof=proof, roots=(ROOTS[old], flip(ROOTS[new], bit))))
            for place in range(len(proof)):
                assert is_refused(consistent(old, new, proof=changed(proof, place, bit)))


@given(tree=trees, bit=st.integers(0, 255), data=st.data())
def test_a_changed_bit_anywhere_is_refused(tree: tuple[int, int], bit: int, data: st.DataObject) -> None:
    index, size = tree
    proof = TREE.path(index, 0, size)
    assert is_refused(included(index, size, leaf=flip(TREE.leaves[index], bit)))
    assert is_refused(included(index, size, root=flip(ROOTS[size], bit)))
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        assert is_refused(included(index, size, proof=changed(proof, place, bit)))


@given(trees=extensions, bit=st.integers(0, 255), data=st.data())
def test_a_changed_bit_of_an_extension_is_refused(trees: tuple[int, int], bit: int, data: st.DataObject) -> None:
    old, new = trees
    proof = TREE.proof(old, new)
    assert is_refused(consistent(old, new, roots=(flip(ROOTS[old], bit), ROOTS[new])))
    assert is_refused(consistent(old, new, roots=(ROOTS[old], flip(ROOTS[new], bit))))
    place = data.draw(st.integers(0, len(proof) - 1))
    assert is_refused(consistent(old, new, proof=changed(proof, place, bit)))


def test_a_leaf_is_included_at_its_own_index_only() -> None:
    for size in range(1, 41):
        for index in range(size):
            proof, leaf = TREE.path(index, 0, size), TREE.leaves[index]
            others = [other for other in range(-1, size + 2) if other != index]
            assert all(is_refused(included(other, size, proof=proof, leaf=leaf)) for other in others)


def test_a_proof_fits_no_other_tree() -> None:
    for size in range(1, 41):
        for index in range(size):
            proof, leaf = TREE.path(index, 0, size), TREE.leaves[index]
            sizes = [other for other in range(index + 1, 42) if other != size]
            assert all(is_refused(included(index, other, proof=proof, leaf=leaf)) for other in sizes)


def test_a_size_without_its_root_is_bound_only_as_far_as_it_shapes_the_path() -> None:
    """Why size and root must come from one signed checkpoint: RFC 6962 proofs do not hash the size."""
    for size in range(1, 41):
        for index in range(size):
            proof, shape = TREE.path(index, 0, size), path_shape(index, size)
            for other in range(index + 1, 82):
                refused = is_refused(included(index, other, proof=proof, root=ROOTS[size]))
                assert refused == (path_shape(index, other) != shape)


def test_an_extension_fits_no_other_trees() -> None:
    """Where two pairs of trees share a proof, it proves both; no proof fits a pair that it does not prove."""
    for new in range(2, 26):
        for old in range(1, new):
            proof = TREE.proof(old, new)
            for other_new in range(1, 28):
                for other_old in range(1, other_new):
                    refused = is_refused(consistent(other_old, other_new, proof=proof))
                    assert refused == (proof != TREE.proof(other_old, other_new))


@given(tree=trees, extra=st.binary(min_size=32, max_size=32))
def test_a_longer_or_shorter_proof_is_refused(tree: tuple[int, int], extra: bytes) -> None:
    index, size = tree
    proof = TREE.path(index, 0, size)
    assert is_refused(included(index, size, proof=[*proof, extra]))
    assert is_refused(included(index, size, proof=[extra, *proof]))
    assert not proof or is_refused(included(index, size, proof=proof[:-1]))
    assert not proof or is_refused(included(index, size, proof=proof[1:]))


@given(trees=extensions, extra=st.binary(min_size=32, max_size=32))
def test_a_longer_or_shorter_extension_is_refused(trees: tuple[int, int], extra: bytes) -> None:
    old, new = trees
    proof = TREE.proof(old, new)
    for hashes in ([*proof, extra], [extra, *proof], proof[:-1], proof[1:], []):
        assert is_refused(consistent(old, new, proof=hashes))


def test_a_tree_of_the_same_size_with_another_root_is_refused() -> None:
    other = leaf_hashes(1)[0]
    assert is_refused(consistent(7, 7, proof=[], roots=(ROOTS[7], other)))
    assert is_refused(consistent(7, 7, proof=[other]))
    assert is_refused(consistent(0, 7, proof=[], roots=(other, ROOTS[7])))
    assert is_refused(consistent(0, 0, proof=[], roots=(other, other)))
    assert is_refused(consistent(0, 7, proof=[other], roots=(EMPTY_ROOT, ROOTS[7])))


def test_a_proof_of_another_length_is_called_so() -> None:
    for verify, words in (
        (included(3, 7, proof=[*TREE.path(3, 0, 7), EMPTY_ROOT]), "too long"),
        (included(3, 7, proof=TREE.path(3, 0, 7)[:-1]), "too short"),
        (consistent(3, 7, proof=[*TREE.proof(3, 7), EMPTY_ROOT]), "too long"),
        (consistent(3, 7, proof=TREE.proof(3, 7)[:-1]), "too short"),
    ):
        with pytest.raises(IntegrityError, match=words):
            verify()


def test_a_pair_of_hashes_cut_at_another_place_is_refused() -> None:
    """Nodes hash their children's concatenation, so that lengths are all that tells where one ends."""
    left, right = TREE.leaves[:2]
    assert is_refused(included(0, 2, leaf=left + right[:1], proof=[right[1:]]))
    assert is_refused(consistent(1, 2, proof=[right[1:]], roots=(left + right[:1], ROOTS[2])))


def test_a_tree_beyond_the_largest_size_is_refused() -> None:
    root, proof = fold([TREE.leaves[0]] * 64), [TREE.leaves[0]] * 63
    verify_inclusion(leaf_hash=proof[0], index=2**62 - 1, size=2**62, proof=proof[:62], root=fold(proof))
    assert is_refused(included(2**63 - 1, 2**63, leaf=proof[0], proof=proof, root=root))


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5), (1, 2**63), (-2, -1)])
def test_an_extension_to_an_impossible_size_is_refused(old: int, new: int) -> None:
    assert is_refused(consistent(old, new, proof=[EMPTY_ROOT], roots=(EMPTY_ROOT, EMPTY_ROOT)))


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33), bytes(64)])
def test_a_hash_of_another_length_is_refused(wrong: bytes) -> None:
    assert is_refused(included(0, 2, leaf=wrong))
    assert is_refused(included(0, 2, proof=[wrong]))
    assert is_refused(included(0, 2, root=wrong))
    assert is_refused(consistent(1, 2, proof=[wrong]))
    with pytest.raises(InvalidInput) as refusal:
        Frontier(1, [wrong])
    assert (refusal.value.field, refusal.value.code) == ("hashes", "hash_length")
