"""A log in memory that writes exports as the format says, with no code of the portal's own writer."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from audit.chain import GENESIS, build_leaf, leaf_hash
from audit.merkle import consistency_proof, inclusion_proof, root_of
from audit.notes import Checkpoint, CosignatureSigner, Signer, encode_base64
from audit.tlog_proof import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ORIGIN: Final = "byok.example/audit/cell-1"
WITNESS: Final = "witness.example/w1"
ACME: Final = UUID("018f0000-0000-7000-8000-00000000000a")
GLOBEX: Final = UUID("018f0000-0000-7000-8000-00000000000b")
PLATFORM: Final = UUID(int=0)
START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)

Files = dict[str, bytes]


def make_body(action: str, number: int, time: datetime, detail: dict[str, Any] | None = None) -> dict[str, Any]:
    """An entry's body, as the portal writes them."""
    return {
        "action": action,
        "actor": {"id": f"018f1111-0000-7000-8000-{number:012d}", "kind": "consumer"},
        "detail": {"code": "allowed", "scope": "reports:read", "status": 200} if detail is None else detail,
        "id": f"018f2222-0000-7000-8000-{number:012d}",
        "outcome": "allowed",
        "priv": f"{number:064x}",
        "req": f"request-{number}",
        "target": {"id": "018f3333-0000-7000-8000-000000000001", "kind": "key"},
        "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }


@dataclass
class Log:
    """Entries of several tenants in one tree, and the keys that sign it."""

    signers: list[Signer] = field(default_factory=lambda: [Signer.generate(ORIGIN)])
    witness: CosignatureSigner = field(default_factory=lambda: CosignatureSigner.generate(WITNESS))
    leaves: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    chains: dict[UUID, list[int]] = field(default_factory=dict)
    time: datetime = START

    def append(self, tenant: UUID, action: str = "key.used", detail: dict[str, Any] | None = None) -> int:
        """Add the tenant's next entry, a minute after the one before. Returns its place in the log."""
        self.time += timedelta(minutes=1)
        chain = self.chains.setdefault(tenant, [])
        body = make_body(action, len(self.leaves), self.time, detail)
        prev = self.hashes[chain[-1]] if chain else GENESIS
        chain.append(len(self.leaves))
        self.leaves.append(build_leaf(tenant=tenant, seq=len(chain), prev=prev, body=body))
        self.hashes.append(leaf_hash(self.leaves[-1]))
        return chain[-1]

    def fill(self, count: int) -> Log:
        """Add this many entries of Acme, and about as many of others between them."""
        for number in range(count):
            self.append(ACME, "key.rotated" if number % 7 == 3 else "key.used")
            for _ in range(number % 3):
                self.append(GLOBEX)
        return self

    def read(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """Hashes of complete subtrees."""
        return [root_of(self.hashes[index << level : (index + 1) << level]) for level, index in nodes]

    def checkpoint(self, *, witnessed: bool = True, after: timedelta = timedelta(minutes=1), size: int = -1) -> str:
        """The signed tree, cosigned a while after the newest entry."""
        size = len(self.leaves) if size < 0 else size
        body = Checkpoint(self.signers[0].name, size, root_of(self.hashes[:size])).body
        lines = [signer.sign(body) for signer in self.signers]
        if witnessed:
            lines.append(self.witness.cosign(body, time=int((self.time + after).timestamp())))
        return f"{body}\n" + "".join(lines)

    def prove(self, index: int, note: str) -> str:
        """An entry's proof file under a checkpoint."""
        return Proof(index, tuple(inclusion_proof(index, size_of(note), self.read)), note).text

    def export(self, tenant: UUID = ACME, *, note: str | None = None, since: str | None = None) -> Files:
        """The files of a tenant's export under a checkpoint (a new one), which extends an older one."""
        note = note or self.checkpoint()
        places = [place for place in self.chains[tenant] if place < size_of(note)]
        files = {
            "entries.jsonl": b"".join(self.leaves[place] + b"\n" for place in places),
            "head.tlog-proof": self.prove(places[-1], note).encode(),
            "log.vkey": "".join(f"{signer.vkey}\n" for signer in self.signers).encode(),
            "witness.vkey": f"{self.witness.vkey}\n".encode(),
            "README.txt": b"How to check this.\n",
        }
        if since is not None:
            hashes = consistency_proof(size_of(since), size_of(note), self.read)
            files["consistency.json"] = json.dumps({"old": since, "hashes": encode_all(hashes)}).encode()
        return files

    def prune(self, files: Files, tenant: UUID, seq: int, *, place: int, size: int) -> Files:
        """The export without its entries up to `seq`, and what shows that they were pruned: the entry at `place`."""
        index = self.chains[tenant][seq - 1]
        before = {
            "seq": seq,
            "index": index,
            "hash": encode_base64(self.hashes[index]),
            "hashes": encode_all(inclusion_proof(index, size, self.read)),
            "pruned": {
                "leaf": self.leaves[place].decode(),
                "index": place,
                "hashes": encode_all(inclusion_proof(place, size, self.read)),
            },
        }
        rest = files["entries.jsonl"].split(b"\n", seq)[seq]
        return files | {"entries.jsonl": rest, "before.json": json.dumps(before).encode()}


def size_of(note: str) -> int:
    """The tree size that a checkpoint names."""
    return int(note.split("\n")[1])


def encode_all(hashes: Sequence[bytes]) -> list[str]:
    """Hashes as JSON holds them."""
    return [encode_base64(value) for value in hashes]


def edit_lines(files: Files, edit: Callable[[list[bytes]], list[bytes]]) -> Files:
    """The export with its lines changed (they keep their newlines)."""
    return files | {"entries.jsonl": b"".join(edit(files["entries.jsonl"].splitlines(keepends=True)))}


def write_folder(folder: Path, files: Files) -> Path:
    """The export unpacked."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> Path:
    """The export as it is downloaded."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
