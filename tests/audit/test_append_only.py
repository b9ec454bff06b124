"""Nobody changes or removes what is recorded: not the run-time logins, not the owner, not the superuser."""

# Attempts are SQL with the name of a partition.
# ruff: noqa: S608

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from byok_portal.boundary.identifiers import new_id
from tests import environment
from tests.audit import inbox
from tests.audit.attacking import PARTITION

if TYPE_CHECKING:
    from uuid import UUID

    from tests.world import World

ATTEMPTS = [
    "UPDATE audit_entry SET leaf = 'x'",
    "DELETE FROM audit_entry",
    "TRUNCATE audit_entry",
    # Past the parent, whose triggers a partition does not inherit.
    f"UPDATE {PARTITION} SET leaf = 'x'",
    f"DELETE FROM {PARTITION}",
    f"TRUNCATE {PARTITION}",
    "UPDATE audit_tile SET hashes = ''",
    "DELETE FROM audit_tile",
    "TRUNCATE audit_tile",
    "UPDATE audit_checkpoint SET note = ''",
    "DELETE FROM audit_checkpoint",
    "TRUNCATE audit_checkpoint",
    "UPDATE audit_inbox SET body = '{}'",
    "DELETE FROM audit_inbox",
    "TRUNCATE audit_inbox",
    "UPDATE audit_private SET sealed = ''",
    "DELETE FROM audit_private",
    "TRUNCATE audit_private",
]
ERASE = "DELETE FROM audit_private"
MAY = {("_SEQUENCER", "DELETE FROM audit_inbox"), ("", ERASE)}
LOGINS = ["", "_STAFF", "_SEQUENCER", "_AUDITOR", "_READER", "_OWNER"]
# The sequencer takes rows out of the inbox when it has numbered them; the app erases personal data.
CASES = [(login, attempt) for login in LOGINS for attempt in ATTEMPTS if (login, attempt) not in MAY]


@pytest.fixture(scope="module")
def tenant(world_setup: World) -> UUID:
    """A tenant with one row in each table. Nobody can change it, so one is enough."""
    server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
    tenant_id = new_id()
    with psycopg.connect(f"{server}/{environment.DATABASE}", autocommit=True) as admin:
        inbox.fill(admin, [tenant_id], each=1)
        world_setup.sequence()
        inbox.fill(admin, [tenant_id], each=1)
        admin.execute(
            "INSERT INTO audit_private (event_id, tenant_id, sealed) VALUES (%s, %s, '')", [new_id(), tenant_id]
        )
    return tenant_id


def rows_of(admin: psycopg.Connection, tenant_id: UUID) -> list[object]:
    """Everything recorded of the tenant, wherever it is in its way through the sequencer."""
    query = "SELECT to_jsonb(r)::text FROM {} r WHERE tenant_id = %s ORDER BY 1"
    tables = ("audit_entry", "audit_inbox", "audit_private")
    return [row for table in tables for row in admin.execute(query.format(table), [tenant_id]).fetchall()]


@pytest.mark.parametrize(("login", "attempt"), CASES)
@pytest.mark.parametrize("maintenance", ["on", "off"])
def test_no_login_changes_the_record(
    tenant: UUID, admin_connection: psycopg.Connection, login: str, attempt: str, maintenance: str
) -> None:
    before = rows_of(admin_connection, tenant)
    assert len(before) == 3
    with psycopg.connect(os.environ[f"DATABASE_URL{login}"], autocommit=True) as connection:
        connection.execute(f"SET app.tenant_id = '{tenant}'; SET app.maintenance = '{maintenance}'")
        with pytest.raises(InsufficientPrivilege):
            connection.execute(attempt)
    assert rows_of(admin_connection, tenant) == before


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("mode", ["origin", "replica", "local"])
def test_not_even_the_superuser_while_the_triggers_are_on(
    tenant: UUID, admin_connection: psycopg.Connection, attempt: str, mode: str
) -> None:
    before = rows_of(admin_connection, tenant)
    admin_connection.execute(f"SET session_replication_role = {mode}")
    with pytest.raises(InsufficientPrivilege, match=r"append-only|only the sequencer|only an erasure"):
        admin_connection.execute(attempt)
    assert rows_of(admin_connection, tenant) == before


def test_personal_data_is_out_of_reach_for_another_tenant(tenant: UUID, admin_connection: psycopg.Connection) -> None:
    before = rows_of(admin_connection, tenant)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"SET app.tenant_id = '{new_id()}'")
        assert connection.execute(ERASE).rowcount == 0
    assert rows_of(admin_connection, tenant) == before


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_leaves_the_triggers_behind(login: str) -> None:
    with (
        psycopg.connect(os.environ[f"DATABASE_URL{login}"]) as connection,
        pytest.raises(InsufficientPrivilege),
    ):
        connection.execute("SET session_replication_role = replica")


@pytest.mark.parametrize("login", ["", "_STAFF", "_SEQUENCER", "_AUDITOR", "_READER"])
def test_no_run_time_login_disables_a_trigger_or_a_policy(login: str) -> None:
    for statement in (
        "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
        "ALTER TABLE audit_entry DISABLE ROW LEVEL SECURITY",
        "DROP TABLE audit_entry",
        f"ALTER TABLE {PARTITION} DISABLE TRIGGER ALL",
        f"ALTER TABLE audit_entry DETACH PARTITION {PARTITION}",
        f"DROP TABLE {PARTITION}",
    ):
        with (
            psycopg.connect(os.environ[f"DATABASE_URL{login}"]) as connection,
            pytest.raises(InsufficientPrivilege),
        ):
            connection.execute(statement)


@pytest.mark.parametrize("login", ["", "_STAFF", "_AUDITOR", "_READER"])
def test_only_the_sequencer_numbers(tenant: UUID, login: str) -> None:
    for statement in (
        "INSERT INTO audit_entry SELECT * FROM audit_entry",
        "UPDATE audit_tenanthead SET tseq = 0",
        "UPDATE audit_logstate SET size = 0",
    ):
        with psycopg.connect(os.environ[f"DATABASE_URL{login}"], autocommit=True) as connection:
            connection.execute(f"SET app.tenant_id = '{tenant}'")
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement)


def test_the_app_cannot_read_the_inbox_nor_write_into_another_tenants_chain(tenant: UUID) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"SET app.tenant_id = '{new_id()}'")
        with pytest.raises(InsufficientPrivilege):
            connection.execute("SELECT * FROM audit_inbox")
        with pytest.raises(InsufficientPrivilege, match="row-level security"):
            connection.execute(inbox.INSERT, [new_id(), tenant, "{}"])
