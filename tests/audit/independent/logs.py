"""A small log of several tenants, made with the pure modules alone, and its exports and static tiles."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from audit.chain import GENESIS, build_leaf, leaf_hash
from audit.merkle import consistency_proof, inclusion_proof, tree_root
from audit.notes import Checkpoint, CosignatureSigner, Signer, encode_base64
from audit.tiles import Edge, TileReader, encode_bundle, entries_path, tile_path, tiles_of
from audit.tlog_proof import Proof

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ORIGIN = "byok.example/audit/test"
TENANTS = [UUID(int=0x018F_0000_0000_7000_8000_0000_0000_0000 + number) for number in range(5)]
COSIGNED_AT = 1_800_000_000


@dataclass
class SmallLog:
    """Entries of five tenants in turns of uneven length, their tiles and two keys."""

    signer: Signer = field(default_factory=lambda: Signer.generate(ORIGIN))
    witness: CosignatureSigner = field(default_factory=lambda: CosignatureSigner.generate("witness.example/one"))
    leaves: list[bytes] = field(default_factory=list)
    owners: list[UUID] = field(default_factory=list)
    edge: Edge = field(default_factory=Edge)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    heads: dict[UUID, tuple[int, bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, size: int) -> SmallLog:
        log = cls()
        while len(log.leaves) < size:
            turn = len(log.leaves)
            log.append(TENANTS[turn * turn % 7 % 5], action="key.rotated", detail={"turn": turn, "text": "ü\u2028<&>"})
        return log

    def append(self, tenant: UUID, *, action: str, detail: Mapping[str, object]) -> None:
        seq, prev = self.heads.get(tenant, (0, GENESIS))
        body = {"action": action, "detail": detail, "outcome": "ok"}
        leaf = build_leaf(tenant=tenant, seq=seq + 1, prev=prev, body=body)
        self.leaves.append(leaf)
        self.owners.append(tenant)
        self.heads[tenant] = (seq + 1, leaf_hash(leaf))
        self.tiles.update({(level, n): data for level, n, data in self.edge.extend([leaf_hash(leaf)])})

    def read_tiles(self, wanted: list[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        partial = enumerate(self.edge.tiles)
        right = {(level, self.edge.size >> 8 * (level + 1)): data for level, data in partial}
        known = {**right, **self.tiles}
        return {tile: known[tile] for tile in wanted if tile in known}

    def checkpoint(self, size: int, *, signer: Signer | None = None, cosigned: bool = True) -> str:
        body = Checkpoint(ORIGIN, size, tree_root(size, TileReader(self.read_tiles))).body
        line = (signer or self.signer).sign(body)
        return f"{body}\n{line}" + (self.witness.cosign(body, time=COSIGNED_AT) if cosigned else "")

    def indexes(self, tenant: UUID, size: int) -> list[int]:
        return [index for index in range(size) if self.owners[index] == tenant]

    def prove(self, index: int, size: int) -> list[bytes]:
        return inclusion_proof(index, size, TileReader(self.read_tiles))

    def write_export(self, folder: Path, tenant: UUID, *, size: int, old: int = 0, first: int = 0) -> None:
        """An unpacked export; `old` adds consistency.json, `first` leaves out so many of the tenant's entries."""
        folder.mkdir()
        indexes = self.indexes(tenant, size)
        lines = b"".join(self.leaves[index] + b"\n" for index in indexes[first:])
        (folder / "entries.jsonl").write_bytes(lines)
        proof = Proof(indexes[-1], tuple(self.prove(indexes[-1], size)), self.checkpoint(size))
        (folder / "head.tlog-proof").write_text(proof.text)
        self.write_keys(folder)
        if old:
            hashes = consistency_proof(old, size, TileReader(self.read_tiles))
            extension = {"old": self.checkpoint(old), "hashes": [encode_base64(value) for value in hashes]}
            (folder / "consistency.json").write_text(json.dumps(extension))

    def write_before(self, folder: Path, tenant: UUID, *, size: int, first: int, pruned: int) -> None:
        """before.json for an export whose first entries are gone; `pruned` is the index of audit.pruned."""
        last = self.indexes(tenant, size)[first - 1]
        before = {
            "seq": first,
            "index": last,
            "hash": encode_base64(leaf_hash(self.leaves[last])),
            "hashes": [encode_base64(value) for value in self.prove(last, size)],
            "pruned": {
                "leaf": self.leaves[pruned].decode(),
                "index": pruned,
                "hashes": [encode_base64(value) for value in self.prove(pruned, size)],
            },
        }
        (folder / "before.json").write_text(json.dumps(before))

    def write_keys(self, folder: Path) -> None:
        (folder / "log.vkey").write_text(self.signer.vkey + "\n")
        (folder / "witness.vkey").write_text(self.witness.vkey + "\n")

    def write_tiles(self, folder: Path) -> None:
        """A folder as a static web server has it: checkpoint, keys, tiles and entry bundles."""
        folder.mkdir()
        size = len(self.leaves)
        (folder / "checkpoint").write_text(self.checkpoint(size))
        self.write_keys(folder)
        for level, n, width in tiles_of(size):
            self._write(folder / tile_path(level, n, width), self.read_tiles([(level, n)])[level, n])
            if level == 0:
                self._write(folder / entries_path(n, width), encode_bundle(self.leaves[n * 256 : n * 256 + width]))

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
