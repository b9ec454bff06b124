"""C2SP tiles: paths, the growing right edge, proofs read from tiles, entry bundles."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    node_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from audit.tiles import (
    ENTRY_MAX_BYTES,
    TILE_BYTES,
    Address,
    Edge,
    TileReader,
    decode_bundle,
    encode_bundle,
    entries_path,
    parse_path,
    tile_path,
    tiles_of,
)
from byok_portal.errors import IntegrityError, InvalidInput
from tests.pure.trees import Tree, leaf_hashes

LEAVES = leaf_hashes(65537 + 256)
EDGES = [1, 2, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537]  # sizes at which tiles begin and end


class Store:
    """The tiles of a log as a database keeps them, and what was asked of it."""

    def __init__(self, size: int) -> None:
        self.edge = Edge()
        self.tiles = {(level, n): data for level, n, data in self.edge.extend(LEAVES[:size])}
        self.full = dict(self.tiles)
        for level, data in enumerate(self.edge.tiles):
            if data:
                self.tiles[level, size >> 8 * (level + 1)] = data
        self.asked: list[list[tuple[int, int]]] = []

    def read_tile(self, wanted: list[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        self.asked.append(wanted)
        return {tile: self.tiles[tile] for tile in wanted if tile in self.tiles}


store_of = functools.cache(Store)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("tile/0/000", Address(0, 0, 256)),
        ("tile/0/000.p/1", Address(0, 0, 1)),
        ("tile/1/x001/234.p/5", Address(1, 1234, 5)),
        ("tile/0/x001/x234/067", Address(0, 1234067, 256)),
        ("tile/63/999.p/255", Address(63, 999, 255)),
        ("tile/entries/x001/000", Address("entries", 1000, 256)),
        ("tile/entries/x001/x234/067.p/99", Address("entries", 1234067, 99)),
        ("tile/0/x036/x028/x797/x018/x963/967", Address(0, 2**55 - 1, 256)),
    ],
)
def test_paths_are_those_of_the_specification(path: str, address: Address) -> None:
    assert parse_path(path) == address
    level, n, width = address
    assert path == (entries_path(n, width) if level == "entries" else tile_path(level, n, width))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1000",
        "tile/0/001/000",  # every element but the last has an x
        "tile/0/x001/x000",
        "tile/0/x000/001",  # 1 is 001
        "tile/00/001",
        "tile/01/001",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/-01",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/300",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/\uff10\uff10\uff10",  # digits, but not ASCII
        "tile/entries/0",
        "tile/Entries/000",
        "tile/0/x036/x028/x797/x018/x963/968",  # leaf 2^63
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/../000",
        "checkpoint",
    ],
)
def test_a_path_in_another_spelling_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_path(path)
    assert (refusal.value.field, refusal.value.code) == ("path", "tile_path")


@given(level=st.integers(0, 63), n=st.integers(0, 2**55 - 1), width=st.integers(1, 256))
def test_every_path_is_read_back(level: int, n: int, width: int) -> None:
    assert parse_path(tile_path(level, n, width)) == (level, n, width)
    assert parse_path(entries_path(n, width)) == ("entries", n, width)


@pytest.mark.parametrize(
    ("level", "n", "width"), [(64, 0, 256), (-1, 0, 256), (0, -1, 256), (0, 2**55, 256), (0, 0, 0), (0, 0, 257)]
)
def test_no_path_is_made_for_an_impossible_tile(level: int, n: int, width: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        tile_path(level, n, width)
    assert refusal.value.code == "out_of_range"


def test_the_tiles_of_a_tree_are_those_of_the_specification() -> None:
    """The example of tlog-tiles: a tree of 70,000."""
    tiles = list(tiles_of(70_000))
    assert tiles == [
        *((0, n, 256) for n in range(273)),
        (0, 273, 112),
        (1, 0, 256),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert list(tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles_of(0)) == []


@pytest.mark.parametrize("size", EDGES)
def test_the_edge_makes_exactly_the_tiles_of_the_tree(size: int) -> None:
    store = store_of(size)
    widths = {(level, n): len(data) // 32 for (level, n), data in store.tiles.items()}
    assert widths == {(level, n): width for level, n, width in tiles_of(size)}
    assert all(len(data) == TILE_BYTES for data in store.full.values())
    for (level, n), data in store.tiles.items():
        span = 256**level
        for i in {0, len(data) // 32 - 1}:
            start = (n * 256 + i) * span
            assert data[i * 32 : i * 32 + 32] == root_of(LEAVES[start : start + span])


@pytest.mark.parametrize("size", EDGES)
def test_the_edge_knows_size_and_root(size: int) -> None:
    edge = store_of(size).edge
    assert (edge.size, edge.root()) == (size, root_of(LEAVES[:size]))
    again = Edge.from_tiles(edge.tiles)
    assert (again.hashes, again.size, again.root()) == (edge.hashes, edge.size, edge.root())


def test_the_edge_grows_leaf_by_leaf_through_every_small_size() -> None:
    edge, tree = Edge(), Tree(LEAVES[:1030])
    assert (edge.size, edge.root(), edge.tiles) == (0, EMPTY_ROOT, [])
    for size, leaf in enumerate(LEAVES[:1030], start=1):
        full = edge.extend([leaf])
        assert [(level, n) for level, n, _ in full] == ([(0, size // 256 - 1)] if size % 256 == 0 else [])
        assert (edge.size, edge.root()) == (size, tree.root(size))


@given(batches=st.lists(st.integers(0, 700), max_size=8))
def test_batches_make_the_tiles_that_one_run_makes(batches: list[int]) -> None:
    edge, tiles, size = Edge(), [], 0
    for batch in batches:
        tiles += edge.extend(LEAVES[size : size + batch])
        size += batch
        edge = Edge.from_tiles(edge.tiles)  # as after a restart
    whole = Edge()
    assert sorted(tiles) == sorted(whole.extend(LEAVES[:size]))
    assert (edge.size, edge.root(), edge.tiles) == (size, whole.root(), whole.tiles)


def test_filling_the_last_tile_of_several_levels_at_once_returns_them_all() -> None:
    edge = store_of(65535).edge.copy()
    full = edge.extend(LEAVES[65535:65537])
    assert [(level, n) for level, n, _ in full] == [(0, 255), (1, 0)]
    assert [len(level) for level in edge.hashes] == [1, 0, 1]
    assert store_of(65535).edge.size == 65535, "the copy grew alone"


@pytest.mark.parametrize("hashes", [[[bytes(31)]], [[], [bytes(33)]], [[bytes(32)] * 256]])
def test_an_edge_that_is_none_is_refused(hashes: list[list[bytes]]) -> None:
    with pytest.raises(IntegrityError) as refusal:
        Edge(hashes)
    assert refusal.value.code == "bad_edge"


def test_a_leaf_hash_of_another_length_leaves_the_edge_as_it_was() -> None:
    edge = store_of(257).edge.copy()
    with pytest.raises(InvalidInput) as refusal:
        edge.extend([*LEAVES[:300], bytes(31)])
    assert (refusal.value.field, edge.size) == ("leaf_hashes", 257)


@pytest.mark.parametrize("size", EDGES)
def test_proofs_read_from_tiles_verify(size: int) -> None:
    store = store_of(size)
    read, root = TileReader(store.read_tile), root_of(LEAVES[:size])
    assert tree_root(size, read) == root
    for index in {0, 1, 254, 255, 256, 257, size // 2, size - 2, size - 1} & set(range(size)):
        proof = inclusion_proof(index, size, read)
        verify_inclusion(leaf_hash=LEAVES[index], index=index, size=size, proof=proof, root=root)
    for old in {1, 2, 255, 256, 257, size // 2, size - 1} & set(range(1, size)):
        proof = consistency_proof(old, size, read)
        old_root = tree_root(old, read)
        assert old_root == root_of(LEAVES[:old])
        verify_consistency(old_size=old, old_root=old_root, new_size=size, new_root=root, proof=proof)


def test_a_proof_fetches_its_tiles_at_once_and_each_once() -> None:
    store = Store(65537)
    inclusion_proof(40_000, 65537, TileReader(store.read_tile))
    assert store.asked == [[(0, 156), (0, 256), (1, 0)]]


def test_proofs_in_a_smaller_tree_are_read_from_tiles_that_grew_on() -> None:
    read = TileReader(Store(70 * 256).read_tile)
    for size in (1, 100, 255, 256, 257, 5000):
        proof = inclusion_proof(size - 1, size, read)
        root = root_of(LEAVES[:size])
        verify_inclusion(leaf_hash=LEAVES[size - 1], index=size - 1, size=size, proof=proof, root=root)


@pytest.mark.parametrize("remaining", [None, 0, 32 * 255, 31])
def test_a_tile_that_is_missing_or_cut_is_named(remaining: int | None) -> None:
    store = Store(600)
    if remaining is None:
        del store.tiles[0, 1]
    else:
        store.tiles[0, 1] = store.tiles[0, 1][:remaining]
    with pytest.raises(IntegrityError) as fault:
        inclusion_proof(256, 600, TileReader(store.read_tile))
    assert fault.value.code == "tile_missing"
    assert "tile/0/001" in fault.value.detail


@pytest.mark.parametrize("size", [2**24, 2**24 + 1, 2**32 + 2**16 + 77, 2**48 - 1, 2**62 + 5])
def test_proofs_in_trees_too_large_to_build_verify(size: int) -> None:
    """Every leaf is the same, so that all nodes of a level are, and tiles can be made up on demand."""
    nodes = [LEAVES[0]]
    while len(nodes) < 64:
        nodes.append(node_hash(nodes[-1], nodes[-1]))
    read = TileReader(lambda wanted: {(level, n): nodes[level * 8] * 256 for level, n in wanted})
    root = tree_root(size, read)
    for index in (0, size // 3, size - 1):
        proof = inclusion_proof(index, size, read)
        verify_inclusion(leaf_hash=LEAVES[0], index=index, size=size, proof=proof, root=root)
    for old in (1, 2**24, size // 3, size - 1):
        proof = consistency_proof(old, size, read)
        old_root = tree_root(old, read)
        verify_consistency(old_size=old, old_root=old_root, new_size=size, new_root=root, proof=proof)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundles_are_read_back(leaves: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(leaves)) == leaves


def test_a_bundle_is_lengths_and_leaves() -> None:
    assert encode_bundle([b"one", b"", b"x" * 258]) == b"\0\3one" + b"\0\0" + b"\1\2" + b"x" * 258
    assert decode_bundle(encode_bundle([b"y" * ENTRY_MAX_BYTES])) == [b"y" * ENTRY_MAX_BYTES]


@pytest.mark.parametrize("leaves", [[], [b""] * 257, [b"z" * (ENTRY_MAX_BYTES + 1)]])
def test_a_bundle_out_of_bounds_is_not_made(leaves: list[bytes]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        encode_bundle(leaves)
    assert refusal.value.field == "leaves"


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1", b"\0\3ab", b"\0\0\0", b"\0\0" * 257])
def test_a_bundle_that_is_cut_or_too_wide_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError) as refusal:
        decode_bundle(data)
    assert refusal.value.code == "bad_bundle"
