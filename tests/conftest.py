"""The database and the cast of every test. Each test commits, in tenants of its own; nothing is rolled back."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from psycopg import sql
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

from byok_portal.quickstart import roles, state
from tests import environment
from tests.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """A database for this process."""
    copy_template(environment.DATABASE)
    with django_db_blocker.unblock():
        yield


def copy_template(name: str) -> None:
    """Make the database anew, as a copy of a template that one process migrated as `byok_owner`."""
    with migrated_template() as url, psycopg.connect(os.environ["BYOK_TEST_ADMIN_URL"], autocommit=True) as admin:
        copy, template = sql.Identifier(name), sql.Identifier(url.rsplit("/", 1)[1])
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(copy))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER byok_owner").format(copy, template))
        roles.create_database(admin, name)


@contextmanager
def migrated_template() -> Iterator[str]:
    """Address of the template, for one process at a time: PostgreSQL copies only what nobody else is connected to."""
    admin_url = os.environ["BYOK_TEST_ADMIN_URL"]
    with (state.state_folder("tests") / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield f"{admin_url.rsplit('/', 1)[0]}/{_make_template(admin_url)}"


def _make_template(admin_url: str) -> str:
    """Name of a migrated template database for this exact schema; made on first use."""
    sources = sorted(
        path
        for app in ("byok_portal", "tenants", "keys", "audit")
        for path in (ROOT / app).rglob("*")
        if path.suffix in {".py", ".toml"}
        and ("migrations" in path.parts or path.parent.name in {"boundary", "catalogue"})
    )
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    name = f"byok_template_{digest}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        done = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [f"{name}_ok"]).fetchone()
        if done:
            return f"{name}_ok"
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    roles.set_up(admin_url, name=name, passwords=environment.PASSWORDS)
    urls = roles.login_urls(admin_url, name=name, passwords=environment.PASSWORDS)
    command = [
        sys.executable,
        "manage.py",
        "migrate",
        "--database",
        "owner",
        "--verbosity",
        "0",
        "--skip-checks",
    ]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **urls}, check=True)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        old, new = sql.Identifier(name), sql.Identifier(f"{name}_ok")
        admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(old, new))
    return f"{name}_ok"


@pytest.fixture(scope="session")
def world_setup(django_db_setup: None) -> World:
    """One world for the process: people, tenants and upstream servers are made on demand."""
    return World()


@pytest.fixture
def world(world_setup: World) -> Iterator[World]:
    """What a test makes its tenants with."""
    yield world_setup
    from django.db import connections  # noqa: PLC0415  # settings must be ready

    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()


@pytest.fixture
def admin_connection() -> Iterator[psycopg.Connection]:
    """A superuser's connection to this process's database: for attacks and for looking behind row-level security."""
    parts = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
    with psycopg.connect(f"{parts}/{environment.DATABASE}", autocommit=True) as connection:
        yield connection


def pytest_configure() -> None:
    """Passwords of the cast are public; hashing them slowly would only slow the suite."""
    from django.conf import settings  # noqa: PLC0415

    slow = "django.contrib.auth.hashers.PBKDF2PasswordHasher"  # what the real processes of a journey read
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", slow]


class Together(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """Spreads tests over processes, but keeps those together that share what is dear to build, or are cheap.

    What takes long begins first, so that no process is alone at the end.
    """

    BROWSERS: Final = 2
    CHEAP: Final = ("tests/pure/", "tests/ui/", "tests/docs/", "tests/audit/test_ocsf.py")
    """Tests of a millisecond: handing them out one by one takes as long as they do."""
    LONG: Final = (
        "tests/browser/",
        "tests/gate/test_faults.py",
        "tests/api/test_contract.py",
        "tests/audit/test_reopening.py",
        "tests/audit/test_signing_crashes.py",
        "tests/isolation/",
        "tests/pages/test_pages.py",
        "tests/audit/test_attacks.py",
        "tests/pure/test_merkle_forgeries.py",
        "tests/crash/",
        "tests/journey/",
        "tests/scale/",
        "tests/boundary/test_operations.py",
        "tests/audit/test_append_only.py",
        "tests/audit/test_documents.py",
        "tests/races/",
        "tests/gate/",
        "tests/audit/witness/",
        "tests/audit/",
        "tests/quickstart/",
    )
    MODULES: Final = frozenset(
        f"tests/{path}.py"
        for path in (
            "audit/test_append_only",
            "audit/test_attacks",
            "audit/test_documents",
            "audit/test_reopening",
            "audit/test_signing_crashes",
            "boundary/test_operations",
            "gate/test_conformance",
            "gate/test_proxy",
            "gate/test_relay",
            "gate/test_serving",
            "pages/test_pages",
            "scale/test_replica",
        )
    )

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if path.startswith("tests/browser/"):
            return f"browser {zlib.crc32(nodeid.encode()) % self.BROWSERS}"
        if path.startswith("tests/isolation/"):
            return "isolation"
        return path if path in self.MODULES or path.startswith(self.CHEAP) else nodeid

    @classmethod
    def place(cls, nodeid: str) -> int:
        """When its turn is."""
        places = (number for number, path in enumerate(cls.LONG) if nodeid.startswith(path))
        return next(places, len(cls.LONG))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """How pytest-xdist hands out the tests."""
    config.option.loadscopereorder = False  # it would begin with what has most tests, however short they are
    return Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order in which pytest-xdist hands them out; among those of one place the random one stays."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: Together.place(item.nodeid))
