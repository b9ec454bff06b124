"""A copy of this process's database where the superuser has switched the triggers off: a log to break on purpose."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psycopg
from django.db import connections
from psycopg import sql

from audit.verification import Report, verify_log
from byok_portal.boundary.identifiers import new_id
from tests import environment
from tests.audit import inbox

if TYPE_CHECKING:
    from uuid import UUID

    from tests.world import World

ALIAS = "attacked"
EACH = 120
_TABLES = ("audit_entry", "audit_tenanthead", "audit_logstate")


@dataclass
class AttackedLog:
    """Two tenants with 120 entries each, in turns. `restore` takes back every attack."""

    name: str
    admin: psycopg.Connection
    victim: UUID
    other: UUID

    @classmethod
    def build(cls, world: World) -> Self:
        """Fill the log through the real sequencer, then copy the database."""
        victim, other = new_id(), new_id()
        server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
        with psycopg.connect(f"{server}/{environment.DATABASE}", autocommit=True) as source:
            inbox.fill(source, [victim, other], each=EACH)
        world.sequence()
        connections.close_all()  # a database in use cannot be copied
        name = f"{environment.DATABASE}_attacked"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as server_admin:
            _drop(server_admin, name)
            copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER byok_owner")
            server_admin.execute(copy.format(sql.Identifier(name), sql.Identifier(environment.DATABASE)))
        admin = psycopg.connect(f"{server}/{name}", autocommit=True)
        admin.execute("CREATE SCHEMA kept")
        for table in _TABLES:
            admin.execute(f"CREATE TABLE kept.{table} AS TABLE {table}")
        admin.execute("ALTER TABLE audit_entry DISABLE TRIGGER ALL")
        connections.settings[ALIAS] = {**connections.settings["auditor"], "NAME": name}
        return cls(name, admin, victim, other)

    def restore(self) -> None:
        """The log as it was built."""
        self.admin.execute("ALTER TABLE audit_entry DROP CONSTRAINT IF EXISTS audit_entry_pkey")
        for table in _TABLES:
            self.admin.execute(f"TRUNCATE {table}")
            self.admin.execute(f"INSERT INTO {table} SELECT * FROM kept.{table}")
        self.admin.execute("ALTER TABLE audit_entry ADD PRIMARY KEY (tenant_id, tseq)")

    def close(self) -> None:
        """Drop the copy."""
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.settings[ALIAS]
        self.admin.close()
        server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
        with psycopg.connect(f"{server}/postgres", autocommit=True) as server_admin:
            _drop(server_admin, self.name)

    def run(self, statement: str, **values: Any) -> None:
        """One statement of the attacker; `victim` and `other` are the tenants' ids."""
        self.admin.execute(statement, {"victim": self.victim, "other": self.other, **values})

    def position(self, number: int) -> int:
        """Where the victim's entry stands in the whole log."""
        return int(self.one("SELECT idx FROM audit_entry WHERE tenant_id = %(victim)s AND tseq = %(n)s", n=number))

    def one(self, query: str, **values: Any) -> Any:
        """The one value that the query answers with."""
        row = self.admin.execute(query, {"victim": self.victim, "other": self.other, **values}).fetchone()
        assert row is not None
        return row[0]

    def verify(self) -> Report:
        """What the verifier says, read with the auditor's login."""
        return verify_log(ALIAS)

    @property
    def auditor_url(self) -> str:
        """The auditor's login to the copy."""
        return urlsplit(os.environ["DATABASE_URL_AUDITOR"])._replace(path=f"/{self.name}").geturl()


def _drop(server_admin: psycopg.Connection, name: str) -> None:
    server_admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
