"""A database of its own where the superuser has switched the triggers off: a log to break on purpose."""

# The attacker writes SQL from words of this file.
# ruff: noqa: S608

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
from byok_portal.quickstart import roles
from tests import environment, spawning
from tests.audit import inbox
from tests.conftest import copy_template

if TYPE_CHECKING:
    from uuid import UUID

ALIAS = "attacked"
EACH = 120
PARTITION = "audit_entry_000000000000"
_LOG = "SELECT relid::regclass::text FROM pg_partition_tree('audit_entry')"
_TABLES = ("audit_entry", "audit_tenanthead", "audit_logstate")


@dataclass
class AttackedLog:
    """Two tenants with 120 entries each, in turns. `restore` takes back every attack."""

    name: str
    admin: psycopg.Connection
    victim: UUID
    other: UUID

    @classmethod
    def build(cls) -> Self:
        """Copy the template, fill the log through the real sequencer, keep what it was like."""
        name, victim, other = f"{environment.DATABASE}_attacked", new_id(), new_id()
        server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
        copy_template(name)
        admin = psycopg.connect(f"{server}/{name}", autocommit=True)
        inbox.fill(admin, [victim, other], each=EACH)
        urls = roles.login_urls(os.environ["BYOK_TEST_ADMIN_URL"], name=name, passwords=environment.PASSWORDS)
        spawning.run("sequencer", "--once", env={**os.environ, **urls}).check_returncode()
        admin.execute("CREATE SCHEMA kept")
        for table in _TABLES:
            admin.execute(f"CREATE TABLE kept.{table} AS TABLE {table}")
        for (table,) in admin.execute(_LOG).fetchall():
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
        connections.settings[ALIAS] = {**connections.settings["auditor"], "NAME": name}
        return cls(name, admin, victim, other)

    def restore(self) -> None:
        """The log as it was built."""
        for table in _TABLES:
            self.admin.execute(f"TRUNCATE {table}")
            self.admin.execute(f"INSERT INTO {table} SELECT * FROM kept.{table}")

    def close(self) -> None:
        """Drop the copy."""
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.settings[ALIAS]
        self.admin.close()
        server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
        with psycopg.connect(f"{server}/postgres", autocommit=True) as server_admin:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            server_admin.execute(statement.format(sql.Identifier(self.name)))

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
