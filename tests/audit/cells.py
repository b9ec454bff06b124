"""A log in a database of its own, with its key, its pin, a real witness, and sequencers as real processes."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg import sql

from audit import merkle
from audit.chain import leaf_hash
from audit.cosigning import WitnessClient
from audit.notes import Checkpoint, CosignatureVerifier, Signer, Verifier, open_note, parse_checkpoint
from byok_portal.boundary.identifiers import new_id
from byok_portal.quickstart import roles
from tests import environment, spawning
from tests.audit import inbox
from tests.audit.witness.witnessing import WitnessThread
from tests.conftest import copy_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import CompletedProcess
    from uuid import UUID

PATIENCE: Final = 40
# Autovacuum may wait for the table too.
_WAITS: Final = """
SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted
AND pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend')
"""
_BUSY: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


def wait_until(condition: Callable[[], bool]) -> None:
    """Raises when it does not come true in time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Cell:
    """One log. `tenant` has all events that tests write; `key`: the log's key now, `first` the one it began with."""

    name: str
    folder: Path
    key: Signer
    first: Signer
    witness: WitnessThread
    tenant: UUID = field(default_factory=new_id)
    _admin: psycopg.Connection | None = None
    _labels: set[str] = field(default_factory=set)

    @classmethod
    def build(cls, folder: Path) -> Self:
        name = f"{environment.DATABASE}_cell"
        copy_template(name)
        key = Signer.generate("portal.example/audit/cell-1")
        cell = cls(name, folder, key, key, WitnessThread(folder / "witness", key.vkey))
        cell.store_key(key)
        cell.witness.start()
        return cell

    @property
    def pin(self) -> Path:
        return self.folder / "pin.json"

    @property
    def admin(self) -> psycopg.Connection:
        """A superuser's connection, opened anew after a restore."""
        if self._admin is None:
            self._admin = psycopg.connect(f"{_server()}/{self.name}", autocommit=True)
        return self._admin

    def store_key(self, key: Signer) -> None:
        """The file that sequencers are started with."""
        self.key = key
        path = self.folder / "key.txt"
        path.unlink(missing_ok=True)
        path.write_text(key.text.reveal_text())

    def environment(self, **changes: str) -> dict[str, str]:
        """Of a sequencer's host."""
        urls = roles.login_urls(os.environ["BYOK_TEST_ADMIN_URL"], name=self.name, passwords=environment.PASSWORDS)
        return {
            **os.environ,
            **urls,
            "BYOK_LOG_KEY_FILE": str(self.folder / "key.txt"),
            "BYOK_LOG_PIN_FILE": str(self.pin),
            "BYOK_LOG_VKEY": self.key.vkey,
            "BYOK_WITNESS_URL": self.witness.url,
            "BYOK_WITNESS_VKEY": self.witness.vkey,
            "BYOK_CHECKPOINT_SECONDS": "0.05",
            **changes,
        }

    @contextmanager
    def sequencer(self, **changes: str) -> Iterator[spawning.Spawned]:
        """A running one; killed in the end."""
        environment = self.environment(**changes)
        with (
            Path(os.devnull).open("wb") as nowhere,
            spawning.start("sequencer", "--poll", "0.02", env=environment, stderr=nowhere) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def manage(self, *arguments: str, typed: str = "", **changes: str) -> CompletedProcess[str]:
        """One command to its end."""
        return spawning.run(*arguments, env=self.environment(**changes), typed=typed)

    def number(self, count: int = 0, **changes: str) -> None:
        """Write events, then number everything and sign once."""
        self.write(count)
        # A killed one holds the lock until the server notices.
        wait_until(lambda: not self.lock_is_taken())
        done = self.manage("sequencer", "--once", **changes)
        assert done.returncode == 0, done.stderr

    def write(self, count: int) -> None:
        """Events of the tenant, made now."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        with self.admin.transaction():  # a sequencer that runs takes all of them or none
            for n in range(count):
                event = new_id()
                body = inbox.text(inbox.document(event, time=now, detail={"n": n}))
                self.admin.execute(inbox.INSERT, [event, self.tenant, body])

    def one(self, query: str, *values: object) -> Any:
        """The one value that the query answers with."""
        row = self.admin.execute(query, values).fetchone()
        assert row is not None
        return row[0]

    @property
    def size(self) -> int:
        return int(self.one("SELECT size FROM audit_logstate"))

    @property
    def fault(self) -> str:
        return str(self.one("SELECT fault FROM audit_logstate"))

    def published(self) -> list[tuple[str, int]]:
        """(origin, size) of every checkpoint in the table."""
        return self.admin.execute("SELECT origin, size FROM audit_checkpoint ORDER BY size, origin").fetchall()

    def pinned(self, path: Path | None = None) -> tuple[str, int]:
        """(origin, size) that the pin file says; nothing is ("", 0)."""
        path = path or self.pin
        if not path.exists():
            return "", 0
        document = json.loads(path.read_text())
        return str(document["origin"]), int(document["size"])

    def witnessed(self) -> Checkpoint | None:
        """What the witness remembers of the log."""
        return WitnessClient(self.witness.url, [self.witness.verifier]).find_last(self.key.name)

    def lock_is_taken(self) -> bool:
        query = (
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND l.granted AND d.datname = %s"
        )
        return bool(self.one(query, self.name))

    @contextmanager
    def locked(self, table: str, mode: str) -> Iterator[Callable[[], bool]]:
        """Hold the table; gives the question whether somebody waits for it."""
        with psycopg.connect(f"{_server()}/{self.name}") as holder:
            holder.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.Identifier(table), sql.SQL(mode)))
            yield lambda: bool(self.one(_WAITS, table))
            holder.rollback()

    def keep(self, label: str = "kept") -> None:
        """Remember everything as it is now: database, pin and the witness's memory."""
        self._labels.add(label)
        self._copy(self.name, f"{self.name}_{label}")
        shutil.copy2(self.pin, self.folder / f"{label}.pin")
        shutil.copytree(self.witness.state, self.folder / f"{label}-state")

    def reset(self, label: str = "kept") -> None:
        """Everything as it was kept, with the first key."""
        self._copy(f"{self.name}_{label}", self.name)
        shutil.copy2(self.folder / f"{label}.pin", self.pin)
        self.store_key(self.first)
        self.witness.stop()
        shutil.rmtree(self.witness.state)
        shutil.copytree(self.folder / f"{label}-state", self.witness.state)
        self.witness.trust(self.first.vkey)
        self.witness.start()
        for path in self.folder.glob("key-*.txt"):
            path.unlink()

    def back_up(self) -> None:
        """The database as it is now, beside it."""
        self._copy(self.name, f"{self.name}_backup")

    def restore(self) -> None:
        """The backup in the database's place: what came after it is lost."""
        self._copy(f"{self.name}_backup", self.name)

    def _copy(self, source: str, target: str) -> None:
        self._disconnect()
        with psycopg.connect(f"{_server()}/postgres", autocommit=True) as admin:
            admin.execute(_BUSY, [source])
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
            names = sql.Identifier(target), sql.Identifier(source)
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER byok_owner").format(*names))
            roles.create_database(admin, target)

    def _disconnect(self) -> None:
        if self._admin is not None:
            self._admin.close()
        self._admin = None

    def assert_whole(self, *keys: Verifier) -> None:
        """No gap, no double; every checkpoint is of the tree that the entries give, signed and witnessed; the newest
        one is what the pin and the witness say.
        """
        rows = self.admin.execute("SELECT idx, event_id, leaf FROM audit_entry ORDER BY idx").fetchall()
        assert [row[0] for row in rows] == list(range(len(rows)))
        assert len({row[1] for row in rows}) == len(rows) == self.size
        hashes = [leaf_hash(row[2].encode()) for row in rows]
        heads = self.admin.execute("SELECT size, root, origin, note FROM audit_checkpoint ORDER BY size").fetchall()
        witness = CosignatureVerifier.parse(self.witness.vkey)
        for size, root, origin, note in heads:
            known = [key for key in (*keys, self.key.verifier) if key.name == origin]
            assert open_note(note, known).body == open_note(note, [witness]).body
            head = parse_checkpoint(open_note(note, known).body)
            assert (head.origin, head.size, head.root) == (origin, size, bytes(root))
            assert merkle.root_of(hashes[:size]) == head.root
        assert len({size for size, *_ in heads}) == len(heads)
        assert self.pinned() == (self.key.name, heads[-1][0])
        assert self.witnessed() == Checkpoint(self.key.name, heads[-1][0], bytes(heads[-1][1]))
        assert self.fault == ""

    def close(self) -> None:
        """Drop the database and its backup, stop the witness."""
        self._disconnect()
        self.witness.stop()
        with psycopg.connect(f"{_server()}/postgres", autocommit=True) as admin:
            for name in (self.name, *(f"{self.name}_{label}" for label in ("backup", *self._labels))):
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _server() -> str:
    return os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
