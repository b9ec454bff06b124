"""A signed log with small partitions, in databases of its own: each test prunes a copy."""

# Names of databases are made here.

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from audit import exports
from audit.endorsements import Endorsements
from audit.rebuild import rebuild_log
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
    from tests.world import Cast, World

WIDTH: Final = 300
"""Entries of a partition: no multiple of a tile's width."""
GONE: Final = 3 * WIDTH
"""Three partitions of four are full."""
EACH: Final = 350
ALIASES: Final = ("default", "staff", "sequencer", "auditor", "reader", "owner")


@dataclass
class PrunableLog:
    """`early` and the tenant of `cast` have entries in the first partition only, `both` in all, `late` in the last."""

    name: str
    folder: Path
    early: UUID = field(default_factory=new_id)
    both: UUID = field(default_factory=new_id)
    late: UUID = field(default_factory=new_id)
    cast: Cast | None = None

    @classmethod
    def build(cls, folder: Path, world: World) -> Self:
        """About 1,080 entries in four partitions, the last still growing; numbered, signed and read."""
        log = cls(f"{environment.DATABASE}_prune", folder)
        copy_template(log.name)
        with log.opened():
            with log.admin() as admin:
                admin.execute("UPDATE audit_logstate SET partition_rows = %s", [WIDTH])
                admin.execute("ALTER TABLE audit_entry DETACH PARTITION audit_entry_000000000000")
                admin.execute("DROP TABLE audit_entry_000000000000")
                # The sequencer makes those that it is about to need: the first batch begins two earlier.
                admin.execute("SELECT audit_add_partition(0), audit_add_partition(%s)", [WIDTH])
                log.cast = world.tenant()
                inbox.fill(admin, [log.early, log.both], each=20)
                inbox.fill(admin, [log.both], each=2 * WIDTH - 20, start=21)
                admin.execute(
                    "INSERT INTO audit_private (tenant_id, event_id, sealed) "
                    "SELECT tenant_id, event_id, 'x' FROM audit_inbox WHERE tenant_id = ANY (%s)",
                    [[log.early, log.both]],
                )
                log.sequence()
                inbox.fill(admin, [log.both, log.late], each=EACH // 2 + 50, start=1000)
                log.sequence()
            call_command("readers", "--once")
        return log

    def copy(self, name: str, folder: Path) -> PrunableLog:
        """The same log once more, with its pin."""
        made = PrunableLog(name, folder, self.early, self.both, self.late, self.cast)
        with psycopg.connect(self._url("postgres"), autocommit=True) as server:
            new, old = sql.Identifier(name), sql.Identifier(self.name)
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(new))
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER byok_owner").format(new, old))
        shutil.copy(self.folder / "pin.json", folder / "pin.json")
        return made

    def drop(self) -> None:
        with psycopg.connect(self._url("postgres"), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Every login of this process goes to this database."""
        kept, pin = {alias: connections.settings[alias]["NAME"] for alias in ALIASES}, settings.LOG_PIN_FILE
        settings.LOG_PIN_FILE = str(self.folder / "pin.json")
        self._point(dict.fromkeys(ALIASES, self.name))
        try:
            yield self
        finally:
            settings.LOG_PIN_FILE = pin
            self._point(kept)

    def sequence(self) -> None:
        """Number and sign what waits."""
        call_command("sequencer", "--once")
        time.sleep(settings.CHECKPOINT_SECONDS)

    @contextmanager
    def sequencing(self) -> Iterator[None]:
        """A sequencer beside what the test does."""
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                call_command("sequencer", "--once")
                stop.wait(0.1)
            connections.close_all()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)

    def prune(self, *options: str, days: int = 0) -> str:
        """`audit_prune` beside a sequencer, which a dry run does not need; what it said."""
        out = StringIO()
        words = ["--keep-days", str(days), "--archive", str(self.folder / "archive"), "--yes", *options]
        with nullcontext() if "--dry-run" in options else self.sequencing():
            call_command("audit_prune", *words, stdout=out)
        return out.getvalue()

    @contextmanager
    def admin(self) -> Iterator[psycopg.Connection]:
        """The superuser."""
        with psycopg.connect(self._url(self.name), autocommit=True) as connection:
            yield connection

    def one(self, query: str, *values: object) -> Any:
        """The one value that the query answers with."""
        with self.admin() as admin:
            row = admin.execute(query, values).fetchone()
        return row[0] if row else None

    def export(self, tenant: UUID, *, kept: str = "") -> exports.Export:
        """What the tenant is given now."""
        with binding.bind_tenant(tenant), binding.reading():
            return exports.prepare(kept=kept)

    def download(self, tenant: UUID, *, kept: str = "") -> Path:
        path = self.folder / "export.zip"
        path.write_bytes(b"".join(exports.stream(self.export(tenant, kept=kept))))
        return path

    def check(self, export: Path, *options: object) -> Answer:
        """The lone verifier; the entries of these logs are dated long ago."""
        return run_copy(self.folder, export, "--log-key", settings.LOG_VKEY, "--no-heartbeat", *options)

    def rebuild(self) -> Rebuilt:
        return rebuild_log("auditor", Endorsements.parse(log=settings.LOG_VKEY, witness=""))

    @property
    def environment(self) -> dict[str, str]:
        """For processes on this database."""
        urls = {name: value for name, value in os.environ.items() if name.startswith("DATABASE_URL")}
        moved = {name: urlsplit(url)._replace(path=f"/{self.name}").geturl() for name, url in urls.items()}
        return {**os.environ, **moved, "BYOK_LOG_PIN_FILE": str(self.folder / "pin.json")}

    def _point(self, names: dict[str, str]) -> None:
        for alias, name in names.items():
            connections[alias].close()
            connections.settings[alias]["NAME"] = name
            connections[alias].settings_dict["NAME"] = name

    def _url(self, name: str) -> str:
        return f"{os.environ['BYOK_TEST_ADMIN_URL'].rsplit('/', 1)[0]}/{name}"
