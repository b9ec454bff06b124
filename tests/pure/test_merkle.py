"""RFC 6962 trees: the reference vectors of Certificate Transparency, and every proof of every small tree."""

from __future__ import annotations

import hashlib

import pytest

from audit.chain import leaf_hash
from audit.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    node_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from byok_portal.errors import InvalidInput
from tests.pure.trees import Tree, leaf_hashes

# The leaves, roots and proofs that implementations of RFC 6962 have in common since the first of them.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CT_CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CT_HASHES = [leaf_hash(leaf) for leaf in CT_LEAVES]

SIZE_MAX = 300
TREE = Tree(leaf_hashes(SIZE_MAX))
ROOTS = [TREE.root(size) for size in range(SIZE_MAX + 1)]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    frontier = Frontier()
    frontier.extend(CT_HASHES[:size])
    roots = {root_of(CT_HASHES[:size]), frontier.root(), tree_root(size, Tree(CT_HASHES).read)}
    assert roots == {bytes.fromhex(CT_ROOTS[size])}


@pytest.mark.parametrize(("index", "size"), CT_INCLUSION)
def test_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int) -> None:
    proof = inclusion_proof(index, size, Tree(CT_HASHES).read)
    assert [value.hex() for value in proof] == CT_INCLUSION[index, size]
    root = bytes.fromhex(CT_ROOTS[size])
    verify_inclusion(leaf_hash=CT_HASHES[index], index=index, size=size, proof=proof, root=root)


@pytest.mark.parametrize(("old", "new"), CT_CONSISTENCY)
def test_consistency_proofs_are_those_of_certificate_transparency(old: int, new: int) -> None:
    proof = consistency_proof(old, new, Tree(CT_HASHES).read)
    assert [value.hex() for value in proof] == CT_CONSISTENCY[old, new]
    old_root, new_root = bytes.fromhex(CT_ROOTS[old]), bytes.fromhex(CT_ROOTS[new])
    verify_consistency(old_size=old, old_root=old_root, new_size=new, new_root=new_root, proof=proof)


def test_leaves_and_nodes_are_hashed_apart() -> None:
    left, right = leaf_hashes(2)
    assert node_hash(left, right) == hashlib.sha256(b"\1" + left + right).digest() != leaf_hash(left + right)


def test_every_way_to_the_root_agrees_on_every_tree() -> None:
    frontier = Frontier()
    for size in range(SIZE_MAX + 1):
        assert frontier.root() == root_of(TREE.leaves[:size]) == tree_root(size, TREE.read) == ROOTS[size]
        assert Frontier(frontier.size, frontier.hashes).root() == ROOTS[size]
        if size < SIZE_MAX:
            frontier.append(TREE.leaves[size])


def test_every_inclusion_proof_of_every_tree_verifies() -> None:
    for size in range(1, SIZE_MAX + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, TREE.read)
            assert proof == TREE.path(index, 0, size)
            verify_inclusion(leaf_hash=TREE.leaves[index], index=index, size=size, proof=proof, root=ROOTS[size])


def test_every_consistency_proof_of_every_tree_verifies() -> None:
    for new in range(SIZE_MAX + 1):
        for old in range(new + 1):
            proof = consistency_proof(old, new, TREE.read)
            assert proof == (TREE.proof(old, new) if old else [])
            verify_consistency(old_size=old, old_root=ROOTS[old], new_size=new, new_root=ROOTS[new], proof=proof)


def test_a_proof_asks_for_its_nodes_once() -> None:
    tree = Tree(leaf_hashes(300))
    inclusion_proof(123, 300, tree.read)
    consistency_proof(99, 300, tree.read)
    tree_root(299, tree.read)
    assert tree.reads == 3


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (0, 2**63)])
def test_no_proof_is_made_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        inclusion_proof(index, size, TREE.read)
    assert refusal.value.code == "out_of_range"


@pytest.mark.parametrize(("old", "new"), [(4, 3), (-1, 3), (0, -1), (1, 2**63)])
def test_no_proof_is_made_for_a_tree_that_shrinks(old: int, new: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        consistency_proof(old, new, TREE.read)
    assert refusal.value.code == "out_of_range"
