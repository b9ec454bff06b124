"""Go's golang.org/x/mod/sumdb opens our exports and tiles, and refuses them once a byte differs."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

import pytest

from audit.chain import leaf_hash
from audit.merkle import root_of, tree_root
from audit.notes import Signer
from audit.tiles import TileReader, entries_path, tile_path
from tests.audit.independent.golang import GoRefused, go_open_export, go_open_tiles
from tests.audit.independent.logs import COSIGNED_AT, ORIGIN, TENANTS, SmallLog
from tests.pure.trees import flip

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

SIZE = 700
TENANT = TENANTS[1]


@cache
def log() -> SmallLog:
    return SmallLog.of(SIZE)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    log().write_export(folder, TENANT, size=SIZE, old=300)
    return folder


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    folder = tmp_path / "tiles"
    log().write_tiles(folder)
    return folder


@pytest.mark.parametrize("tenant", [tenant for tenant in TENANTS if tenant in set(SmallLog.of(40).owners)])
@pytest.mark.parametrize(("size", "old"), [(SIZE, 0), (SIZE, 256), (SIZE, SIZE), (512, 511), (257, 1), (40, 0)])
def test_go_opens_every_export(tmp_path: Path, tenant: UUID, size: int, old: int) -> None:
    log().write_export(tmp_path / "export", tenant, size=size, old=old)
    answer = go_open_export(tmp_path / "export", tenant=str(tenant))
    count = len(log().indexes(tenant, size))
    assert answer == {
        "origin": ORIGIN,
        "size": size,
        "tenant": str(tenant),
        "entries": count,
        "last": count,
        "cosigners": ["witness.example/one"],
        "cosigned_at": COSIGNED_AT,
        "extends": old or -1,
    }


def test_go_opens_an_export_without_a_witness(export: Path) -> None:
    (export / "witness.vkey").unlink()
    assert go_open_export(export)["cosigners"] is None


def test_go_opens_an_export_while_a_key_is_rotated(export: Path) -> None:
    keys = Signer.generate(ORIGIN).vkey + "\n" + (export / "log.vkey").read_text()
    (export / "log.vkey").write_text(keys)
    assert go_open_export(export)["size"] == SIZE


def changed_line(export: Path, number: int, old: bytes, new: bytes) -> None:
    lines = (export / "entries.jsonl").read_bytes().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    (export / "entries.jsonl").write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("number", "old", "new", "reason"),
    [
        (3, b'"ok"', b'"no"', "entry due at 5: it does not continue"),
        (-1, b'"ok"', b'"no"', "the last entry is not in the signed tree"),
        (3, b'"seq":4', b'"seq":5', "entry due at 4: it has number 5"),
        (3, b'"v":1', b'"v":2', "entry due at 4: not a leaf"),
        (3, str(TENANT).encode(), str(TENANTS[2]).encode(), "entry due at 4: it names another tenant"),
        (3, b'"v":1}', b'"v":1,"w":1}', "unknown field"),
    ],
)
def test_go_refuses_a_changed_entry(export: Path, number: int, old: bytes, new: bytes, reason: str) -> None:
    changed_line(export, number, old, new)
    with pytest.raises(GoRefused, match=reason):
        go_open_export(export)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (slice(1, None), "entry due at 1: it has number 2"),
        (slice(None, -1), "the last entry is not in the signed tree"),
        (slice(0, 0), "no entry"),
        (slice(None, None, -1), "entry due at 1"),
        (slice(None, None, 2), "entry due at 2: it has number 3"),
    ],
)
def test_go_refuses_an_export_with_entries_left_out_or_moved(export: Path, kept: slice, reason: str) -> None:
    lines = (export / "entries.jsonl").read_bytes().splitlines(keepends=True)
    (export / "entries.jsonl").write_bytes(b"".join(lines[kept]))
    with pytest.raises(GoRefused, match=reason):
        go_open_export(export)


def test_go_refuses_the_export_of_another_tenant(export: Path) -> None:
    with pytest.raises(GoRefused, match="another tenant"):
        go_open_export(export, tenant=str(TENANTS[0]))


@pytest.mark.parametrize("name", ["head.tlog-proof", "log.vkey", "witness.vkey", "consistency.json"])
def test_go_refuses_a_flipped_byte_anywhere_in_the_proofs(export: Path, name: str) -> None:
    data = (export / name).read_bytes()
    places = range(0, len(data) - data.endswith(b"\n"), 7)  # a key file may do without its last newline
    # x/mod lets pass what our reader refuses: base64 whose last spare bits are set.
    for place in (place for place in places if data[place + 1 : place + 2] != b"="):
        (export / name).write_bytes(flip(data, place * 8))
        with pytest.raises(GoRefused):
            go_open_export(export)


def test_go_refuses_a_checkpoint_by_another_key(export: Path) -> None:
    stranger = Signer.generate(ORIGIN)
    note, forged = log().checkpoint(SIZE), log().checkpoint(SIZE, signer=stranger)
    proof = (export / "head.tlog-proof").read_text()
    (export / "head.tlog-proof").write_text(proof.replace(note, forged))
    with pytest.raises(GoRefused, match="no verifiable signatures"):
        go_open_export(export)


def test_go_refuses_a_checkpoint_that_no_witness_saw(export: Path) -> None:
    proof = (export / "head.tlog-proof").read_text()
    alone = proof.replace(log().checkpoint(SIZE), log().checkpoint(SIZE, cosigned=False))
    (export / "head.tlog-proof").write_text(alone)
    with pytest.raises(GoRefused, match="witness: note has no verifiable signatures"):
        go_open_export(export)


def test_go_refuses_a_log_that_was_rewritten(export: Path) -> None:
    """The same keys sign another history, to which the older checkpoint does not lead."""
    fork = SmallLog(signer=log().signer, witness=log().witness)
    for turn in range(300):
        fork.append(TENANTS[0], action="key.rotated", detail={"turn": -turn})
    extension = json.loads((export / "consistency.json").read_text())
    extension["old"] = fork.checkpoint(300)
    (export / "consistency.json").write_text(json.dumps(extension))
    with pytest.raises(GoRefused, match="does not extend the older checkpoint"):
        go_open_export(export)


def pruned_export(folder: Path, *, to: int) -> None:
    """An export that begins at the tenant's eleventh entry, and the record of a pruning up to an index."""
    pruned = SmallLog(signer=log().signer, witness=log().witness)
    for leaf, owner in zip(log().leaves, log().owners, strict=True):
        pruned.append(owner, action="key.rotated", detail={"of": leaf.decode()[:40]})
    pruned.append(TENANTS[0], action="audit.pruned", detail={"from": 0, "to": to})
    size = len(pruned.leaves)
    pruned.write_export(folder, TENANT, size=size, first=10)
    pruned.write_before(folder, TENANT, size=size, first=10, pruned=size - 1)


def test_go_opens_an_export_whose_beginning_was_pruned(tmp_path: Path) -> None:
    folder, last = tmp_path / "export", log().indexes(TENANT, SIZE)[9]
    pruned_export(folder, to=last + 1)
    answer = go_open_export(folder)
    assert answer["last"] == answer["entries"] + 10 == len(log().indexes(TENANT, SIZE))


def test_go_refuses_an_export_whose_beginning_was_not_pruned(tmp_path: Path) -> None:
    folder, last = tmp_path / "export", log().indexes(TENANT, SIZE)[9]
    pruned_export(folder, to=last)
    with pytest.raises(GoRefused, match="was not pruned"):
        go_open_export(folder)


def test_go_proves_entries_and_older_sizes_from_our_tiles(tiles: Path) -> None:
    sizes = [1, 255, 256, 257, 511, 512, 699, 700]
    answer = go_open_tiles(tiles, records=SIZE, old=sizes)
    hashes = [leaf_hash(leaf) for leaf in log().leaves]
    assert answer["records"] == answer["bundled"] == answer["size"] == SIZE
    assert answer["roots"] == {str(size): root_of(hashes[:size]).hex() for size in sizes}


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 513])
def test_go_opens_tiles_of_every_shape(tmp_path: Path, size: int) -> None:
    small = SmallLog.of(size)
    small.write_tiles(tmp_path / "tiles")
    half = (size + 1) // 2
    answer = go_open_tiles(tmp_path / "tiles", old=[half])
    assert answer["records"] == min(size, 256)
    assert answer["roots"] == {str(half): tree_root(half, TileReader(small.read_tiles)).hex()}


def test_go_opens_tiles_three_levels_high(tmp_path: Path) -> None:
    tall = SmallLog.of(256 * 256 + 300)
    tall.write_tiles(tmp_path / "tiles")
    assert go_open_tiles(tmp_path / "tiles", records=50, old=[65535, 65536, 65537])["bundled"] == 50


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (tile_path(0, 0), 100),
        (tile_path(0, 1), 8191),
        (tile_path(0, 2, SIZE - 512), 0),
        (tile_path(1, 0, 2), 40),
        (entries_path(1), 5000),
        ("checkpoint", 30),
    ],
)
def test_go_refuses_a_flipped_byte_in_a_tile(tiles: Path, path: str, place: int) -> None:
    data = (tiles / path).read_bytes()
    (tiles / path).write_bytes(flip(data, place * 8))
    with pytest.raises(GoRefused):
        go_open_tiles(tiles, records=SIZE)


def test_go_refuses_tiles_of_which_one_is_missing(tiles: Path) -> None:
    (tiles / tile_path(0, 1)).unlink()
    with pytest.raises(GoRefused, match="no such file"):
        go_open_tiles(tiles, records=SIZE)
