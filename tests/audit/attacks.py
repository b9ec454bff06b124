"""A witnessed log in a database of its own, and a superuser who attacks it: who notices?"""

# The attacker writes SQL from words of this file.
# ruff: noqa: S608

from __future__ import annotations

import dataclasses
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import sql

from audit import exports, proofs, sequencer
from audit.chain import GENESIS, leaf_hash, leaf_of
from audit.cosigning import WitnessClient
from audit.endorsements import AuditorPin, Endorsements
from audit.notes import Checkpoint, CosignatureVerifier
from audit.rebuild import rebuild_log
from audit.signing import LogSigner, Pin
from audit.tiles import Edge
from audit.witness import state
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from tests import environment
from tests.audit import inbox
from tests.audit.verifying import run_copy
from tests.conftest import copy_template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from audit.rebuild import Rebuilt
    from tests.audit.verifying import Answer
    from tests.audit.witness.witnessing import WitnessThread

ALIASES: Final = ("default", "sequencer", "auditor")
FIRST, MORE = 300, 50
"""Entries of each of the two tenants under the first checkpoint, and under the second."""
TABLES: Final = (
    "audit_entry",
    "audit_tenanthead",
    "audit_logstate",
    "audit_tile",
    "audit_edge",
    "audit_checkpoint",
)
_GUARDED: Final = """
SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only' AND tgrelid::regclass::text ~ %s
"""


@dataclass
class Scene:
    """Two tenants' entries in turns, two witnessed checkpoints, and what a tenant and an auditor kept of the first."""

    name: str
    admin: psycopg.Connection
    witness: WitnessThread
    signer: LogSigner
    victim: UUID
    other: UUID
    kept: str = ""
    pinned: AuditorPin | None = None
    pin: bytes = b""
    edge: Edge = field(default_factory=Edge)

    @classmethod
    def build(cls, folder: Path, witness: WitnessThread) -> Self:
        name = f"{environment.DATABASE}_scene"
        server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
        copy_template(name)
        for alias in ALIASES:
            connections.settings[f"scene_{alias}"] = {**connections.settings[alias], "NAME": name}
        signer = LogSigner.from_settings()
        assert signer is not None
        keys = [CosignatureVerifier.parse(witness.vkey)]
        signer.pin = Pin(folder / "pin.json")
        signer.witness, signer.witness_keys = WitnessClient(witness.url, keys), keys
        admin = psycopg.connect(f"{server}/{name}", autocommit=True)
        scene = cls(name, admin, witness, signer, new_id(), new_id())
        scene.grow(FIRST)
        scene.kept = scene.export().members["head.tlog-proof"]
        report = scene.rebuild()
        assert report.intact, report.faults
        scene.pinned = AuditorPin(signer.origin, report.size, report.root, report.signed)
        scene.grow(MORE)
        admin.execute("CREATE SCHEMA kept")
        for table in TABLES:
            admin.execute(f"CREATE TABLE kept.{table} AS TABLE {table}")
        for (table,) in admin.execute(_GUARDED, ["^audit_(entry|tile|checkpoint)"]).fetchall():
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
        scene.pin = signer.pin.path.read_bytes()
        return scene

    def grow(self, each: int, *, moment: datetime | None = None) -> Checkpoint | None:
        """More entries of both tenants, numbered and signed."""
        at = (moment or datetime.now(UTC)).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for n in range(each):
            for tenant in (self.victim, self.other):
                event = new_id()
                body = inbox.text(inbox.document(event, time=at, detail={"n": n}))
                self.admin.execute(inbox.INSERT, [event, tenant, body])
        with _sequencing():
            worker = sequencer.Sequencer()
            while worker.run_once():
                pass
        return self.publish()

    def publish(self) -> Checkpoint | None:
        """The next checkpoint."""
        return self.signer.publish("scene_sequencer")

    def export(self, *, kept: str = "") -> exports.Export:
        """What the tenant is given now."""
        with binding.use_alias("scene_default"), binding.bind_tenant(self.victim), binding.reading():
            return exports.prepare(kept=kept)

    def download(self, folder: Path, *, kept: str = "") -> None:
        """The tenant's export; with `kept` handed in, so that it holds the proof of extension."""
        export = self.export(kept=kept)
        (folder / "export.zip").write_bytes(b"".join(exports.stream(export, "scene_default")))

    def withhold(self, folder: Path, count: int) -> None:
        """The tenant's export as a portal makes it that leaves out the last entries, under the newest checkpoint."""
        export = self.export()
        last = export.last - count
        query = "SELECT idx FROM audit_entry WHERE tenant_id = %s AND tseq = %s"
        row = self.admin.execute(query, [self.victim, last]).fetchone()
        assert row is not None
        with binding.use_alias("scene_default"), binding.bind_tenant(self.victim), binding.reading():
            proof = proofs.prove(row[0], proofs.get_checkpoint()).text
        shown = dataclasses.replace(export, last=last, members={**export.members, "head.tlog-proof": proof})
        (folder / "export.zip").write_bytes(b"".join(exports.stream(shown, "scene_default")))

    def check(self, folder: Path, *options: str) -> Answer:
        """The tenant downloads an export and verifies it against the proof that it kept."""
        self.download(folder, kept=self.kept)
        return self.check_file(folder, *options, kept=self.kept)

    def check_file(self, folder: Path, *options: str, kept: str = "") -> Answer:
        """Verify the archive that lies there, with the proof that was kept if one was."""
        (folder / "kept.tlog-proof").write_text(kept)
        since = ("--since", folder / "kept.tlog-proof") if kept else ()
        keys = ("--log-key", settings.LOG_VKEY, "--witness-key", self.witness.vkey)
        return run_copy(folder, folder / "export.zip", *keys, *since, *options)

    def rebuild(self) -> Rebuilt:
        """What the auditor finds with its login, its keys and its pin."""
        keys = Endorsements.parse(log=settings.LOG_VKEY, witness=self.witness.vkey)
        return rebuild_log("scene_auditor", keys, pinned=self.pinned)

    def kinds(self) -> set[str]:
        """The kinds of the auditor's faults."""
        return {fault.kind.value for fault in self.rebuild().faults}

    def run(self, statement: str, **values: Any) -> None:
        """One statement of the attacker."""
        self.admin.execute(statement, {"victim": self.victim, "other": self.other, **values})

    def rows(self) -> list[tuple[int, UUID, int, str]]:
        """idx, tenant, number and leaf of all entries."""
        return self.admin.execute("SELECT idx, tenant_id, tseq, leaf FROM audit_entry ORDER BY idx").fetchall()

    def rechain(self, old: str, new: str) -> None:
        """The attacker replaces text in the first entry of the victim and links and numbers everything anew."""
        heads: dict[UUID, tuple[int, bytes]] = {}
        for idx, tenant, tseq, leaf in self.rows():
            body = leaf[len('{"body":') : leaf.rindex(',"prev":"')]
            body = body.replace(old, new) if (tenant, tseq) == (self.victim, 1) else body
            seq, prev = heads.get(tenant, (0, GENESIS))
            made = leaf_of(tenant=tenant, seq=seq + 1, prev=prev, body=body)
            heads[tenant] = (seq + 1, leaf_hash(made))
            self.admin.execute(
                "UPDATE audit_entry SET leaf = %s, tseq = %s WHERE idx = %s", [made.decode(), seq + 1, idx]
            )
        self.recache()

    def cut(self, size: int) -> None:
        """The attacker removes the tail and makes every table agree."""
        self.admin.execute("DELETE FROM audit_entry WHERE idx >= %s", [size])
        self.recache()

    def recache(self) -> None:
        """Tiles, edge, heads and size made anew from the entries that are there."""
        edge, heads = Edge(), {}
        full: list[tuple[int, int, bytes]] = []
        for idx, tenant, tseq, leaf in self.rows():
            digest = leaf_hash(leaf.encode())
            heads[tenant] = (tenant, tseq, idx, digest)
            full += edge.extend([digest])
        with self.admin.cursor() as cursor:
            cursor.execute("TRUNCATE audit_tile, audit_edge, audit_tenanthead")
            cursor.executemany("INSERT INTO audit_tile (level, n, hashes) VALUES (%s, %s, %s)", full)
            edges = list(enumerate(edge.tiles))
            cursor.executemany("INSERT INTO audit_edge (level, hashes) VALUES (%s, %s)", edges)
            insert = "INSERT INTO audit_tenanthead (tenant_id, tseq, idx, leaf_hash) VALUES (%s, %s, %s, %s)"
            cursor.executemany(insert, list(heads.values()))
            cursor.execute("UPDATE audit_logstate SET size = %s", [edge.size])
        self.edge = edge

    def forge(self) -> str:
        """A checkpoint of the tree as it is now, signed with the stolen log key and stored in place of all others."""
        head = Checkpoint(self.signer.origin, self.edge.size, self.edge.root())
        note = f"{head.body}\n{self.signer.signers[0].sign(head.body)}"
        with self.admin.cursor() as cursor:
            cursor.execute("TRUNCATE audit_checkpoint")
            cursor.execute(
                "INSERT INTO audit_checkpoint (size, root, origin, note, signed_at) VALUES (%s, %s, %s, %s, now())",
                [head.size, head.root, head.origin, note],
            )
        return note

    def collude(self) -> None:
        """`forge` with a witness that signs whatever the log's holder asks it to."""
        note = self.forge()
        key = state.load_key(self.witness.state)
        signed = key.cosign(note.partition("\n\n")[0] + "\n", time=(now := int(time.time())))
        statement = "UPDATE audit_checkpoint SET note = note || %s, witnessed_at = to_timestamp(%s)"
        self.admin.execute(statement, [signed, now])

    def restore(self) -> None:
        """The log as it was built."""
        for table in TABLES:
            self.admin.execute(f"TRUNCATE {table}")
            self.admin.execute(f"INSERT INTO {table} SELECT * FROM kept.{table}")
        self.signer.pin.path.write_bytes(self.pin)

    def close(self) -> None:
        """Drop the database."""
        for alias in ALIASES:
            connections[f"scene_{alias}"].close()
            del connections[f"scene_{alias}"]
            del connections.settings[f"scene_{alias}"]
        self.admin.close()
        server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))


@contextmanager
def _sequencing() -> Iterator[None]:
    """The sequencer's login is a constant of its module: here it is the one to this database."""
    kept, sequencer.ALIAS = sequencer.ALIAS, "scene_sequencer"  # type: ignore[misc]
    try:
        yield
    finally:
        sequencer.ALIAS = kept  # type: ignore[misc]
