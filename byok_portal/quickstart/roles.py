"""The database roles, and the database they share: SQL for any PostgreSQL 15 or newer. None is a superuser.

Run by the quick start, by the tests, and by an operator: `python -m byok_portal.quickstart.roles`
(docs/operations.md).
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping

LOGINS: Final = {
    "owner": "byok_owner",
    "app": "byok_app",
    "staff": "byok_staff",
    "sequencer": "byok_sequencer",
    "auditor": "byok_auditor",
    "reader": "byok_reader",
    "gate": "byok_gate",
}
"""Short name to role. `owner` migrates; at run time nobody is the owner."""

PLANNING: Final = {
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
}
"""Of the gate's login: a batch is a handful of look-ups by index whatever the statistics say, and is planned once."""

DIRECTORY: Final = "byok_directory"
LOCK: Final = 0x62796F6C


def create_roles(admin: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    """Create or update every role. `admin` may create roles and is in autocommit; `passwords` by short name."""
    admin.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    try:
        for short, role in LOGINS.items():
            _ensure(admin, role)
            statement = sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD {}")
            admin.execute(statement.format(sql.Identifier(role), sql.Literal(passwords[short])))
        for name, value in PLANNING.items():
            admin.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(sql.Identifier(LOGINS["gate"]), sql.SQL(name), value)
            )
        _ensure(admin, DIRECTORY)
        admin.execute(f"ALTER ROLE {DIRECTORY} NOLOGIN NOSUPERUSER NOBYPASSRLS")
        # The owner of migrations hands the narrow look-up functions to the directory role.
        admin.execute(f"GRANT {DIRECTORY} TO {LOGINS['owner']}")
    finally:
        admin.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def create_database(admin: psycopg.Connection, name: str) -> None:
    """Create the database if it is missing, owned by the migration role, closed to everyone else."""
    if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        owner, database = sql.Identifier(LOGINS["owner"]), sql.Identifier(name)
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    for role in LOGINS.values():
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(name), sql.Identifier(role)))


def prepare_schema(database: psycopg.Connection) -> None:
    """Rights on the schema itself; `database` is the admin's connection to the portal's database."""
    database.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    database.execute(f"GRANT USAGE ON SCHEMA public TO {', '.join([*LOGINS.values(), DIRECTORY])}")
    # CREATE is needed to own a function in the schema; the directory role cannot log in.
    database.execute(f"GRANT CREATE ON SCHEMA public TO {LOGINS['owner']}, {DIRECTORY}")


def set_up(admin_url: str, *, name: str, passwords: Mapping[str, str]) -> None:
    """Roles, database and schema; safe to run again."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        create_roles(admin, passwords)
        create_database(admin, name)
    parts = urlsplit(admin_url)
    with psycopg.connect(parts._replace(path=f"/{name}").geturl(), autocommit=True) as database:
        prepare_schema(database)


def login_urls(admin_url: str, *, name: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """The `DATABASE_URL…` settings of each role."""
    parts = urlsplit(admin_url)
    host = f"{parts.hostname}:{parts.port or 5432}"
    urls = {
        short: f"postgres://{role}:{quote(passwords[short], safe='')}@{host}/{name}" for short, role in LOGINS.items()
    }
    app = urls.pop("app")
    return {"DATABASE_URL": app, **{f"DATABASE_URL_{short.upper()}": url for short, url in urls.items()}}


def _ensure(admin: psycopg.Connection, role: str) -> None:
    if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))


def main() -> None:
    """Operator's entry: passwords come from `BYOK_PASSWORD_<ROLE>` variables, so they show in no process list."""
    parser = argparse.ArgumentParser(description="Create the portal's database roles and database.")
    parser.add_argument("--database", default="byok")
    arguments = parser.parse_args()
    try:
        passwords = {short: os.environ[f"BYOK_PASSWORD_{short.upper()}"] for short in LOGINS}
        admin_url = os.environ["DATABASE_URL_ADMIN"]
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set")
    set_up(admin_url, name=arguments.database, passwords=passwords)
    print("Roles and database are ready. Now run: python manage.py migrate --database owner")  # noqa: T201


if __name__ == "__main__":
    main()
