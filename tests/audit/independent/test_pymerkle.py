"""pymerkle, which others wrote, computes the same trees from the same leaves."""

from __future__ import annotations

import pytest
from pymerkle import InmemoryTree
from pymerkle import verify_consistency as pymerkle_verify_consistency
from pymerkle import verify_inclusion as pymerkle_verify_inclusion
from pymerkle.proof import InclusionProof

from audit.chain import leaf_hash
from audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from audit.tiles import TileReader
from tests.audit.independent.logs import SmallLog

LOG = SmallLog.of(600)
READ = TileReader(LOG.read_tiles)
SIZES = [1, 2, 3, 7, 8, 9, 255, 256, 257, 300, 511, 512, 513, 600]


@pytest.fixture(scope="module")
def other() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    tree.append_entries(LOG.leaves)
    return tree


@pytest.mark.parametrize("size", [0, *SIZES])
def test_pymerkle_agrees_on_roots(other: InmemoryTree, size: int) -> None:
    root = other.get_root(size) if size else EMPTY_ROOT
    assert root == tree_root(size, READ) == root_of([leaf_hash(leaf) for leaf in LOG.leaves[:size]])


@pytest.mark.parametrize("size", SIZES)
def test_pymerkle_agrees_on_inclusion_proofs(other: InmemoryTree, size: int) -> None:
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        leaf, root, ours = leaf_hash(LOG.leaves[index]), tree_root(size, READ), inclusion_proof(index, size, READ)
        theirs = other.prove_inclusion(index + 1, size)  # it counts from one
        assert theirs.path == [leaf, *ours]
        verify_inclusion(leaf_hash=leaf, index=index, size=size, proof=theirs.path[1:], root=other.get_root(size))
        made = InclusionProof("sha256", True, size, index + 1, theirs.rule, [leaf, *ours])  # noqa: FBT003
        pymerkle_verify_inclusion(leaf, root, made, index=index + 1, size=size)


@pytest.mark.parametrize("new", SIZES[1:])
def test_pymerkle_agrees_on_extensions(other: InmemoryTree, new: int) -> None:
    """Its consistency proofs have another form, so each side proves its own between the other's roots."""
    for old in {1, 2, new // 3, new // 2, 255, 256, new - 1} & set(range(1, new)):
        proof = other.prove_consistency(old, new)
        ours, roots = consistency_proof(old, new, READ), (tree_root(old, READ), tree_root(new, READ))
        pymerkle_verify_consistency(*roots, proof, prior_size=old, later_size=new)
        verify_consistency(
            old_size=old, old_root=other.get_root(old), new_size=new, new_root=other.get_root(new), proof=ours
        )
