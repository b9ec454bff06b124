"""Nothing that the gate reads can change unnoticed: every column is watched, no change waits, and clocks are minded."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from byok_portal.boundary.identifiers import PLATFORM, new_id
from keys.gate.statements import CONTEXTS
from tests import environment
from tests.gate import gates
from tests.gate.test_conformance import USE, Scene, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from tests.world import World

# What the gate's login may read and no trigger that always fires watches: updates of it, rows that come or go.
UNWATCHED = """
SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
   AND has_column_privilege('byok_gate', c.oid, a.attnum, 'SELECT') AND c.relname <> ALL (%s)
   AND (NOT EXISTS (
     SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgfoid = 'boundary_note_revision'::regproc
        AND t.tgenabled = 'A' AND t.tgqual IS NULL AND t.tgtype & 29 = 29
        AND (t.tgattr = '' OR a.attnum = ANY (t.tgattr::int2[])))
    OR NOT EXISTS (
     SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgfoid = 'boundary_note_revision'::regproc
        AND t.tgenabled = 'A' AND t.tgqual IS NULL AND t.tgtype & 32 = 32))
 ORDER BY 1
"""
NOT_DECIDED_ON = ["boundary_revision", "keys_ratewindow"]
"""The notes themselves; rates, which are counted anew for each use."""

MUTANTS = {
    "a column that nobody watches": ("GRANT SELECT (hint) ON keys_keyversion TO byok_gate", "keys_keyversion.hint"),
    "a trigger dropped": ("DROP TRIGGER revision ON keys_grant", "keys_grant.state"),
    "a trigger off": ("ALTER TABLE tenants_tenant DISABLE TRIGGER revision", "tenants_tenant.state"),
    "a trigger that replication passes by": ("ALTER TABLE keys_key ENABLE TRIGGER revision", "keys_key.state"),
    "removal unwatched": (
        (
            "DROP TRIGGER revision ON keys_grant; CREATE TRIGGER revision AFTER INSERT OR UPDATE ON keys_grant "
            "FOR EACH ROW EXECUTE FUNCTION boundary_note_revision('tenant_id'); "
            "ALTER TABLE keys_grant ENABLE ALWAYS TRIGGER revision"
        ),
        "keys_grant.state",
    ),
    "emptying unwatched": ("DROP TRIGGER revision_of_all ON keys_provider", "keys_provider.digest"),
}


@pytest.fixture
def scene(world: World, admin_connection: psycopg.Connection) -> Scene:
    return Scene(world, admin_connection)


@pytest.fixture
def changers() -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
    url = f"{server}/{environment.DATABASE}"
    with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url, autocommit=True) as other:
        yield one, other


def find_unwatched(admin: psycopg.Connection) -> list[str]:
    return [name for (name,) in admin.execute(UNWATCHED, [NOT_DECIDED_ON]).fetchall()]


def test_every_column_that_the_gate_reads_is_watched(world: World, admin_connection: psycopg.Connection) -> None:
    assert find_unwatched(admin_connection) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_the_watch_is_missed_when_there_is(world: World, admin_connection: psycopg.Connection, name: str) -> None:
    statement, expected = MUTANTS[name]
    with admin_connection.transaction(force_rollback=True):
        admin_connection.execute(statement)
        assert expected in find_unwatched(admin_connection)


def revisions(connection: psycopg.Connection, tenant_id: UUID) -> frozenset[UUID]:
    found = connection.execute("SELECT id FROM boundary_revision WHERE tenant_id = %s", [tenant_id])
    return frozenset(revision for (revision,) in found)


def touch(connection: psycopg.Connection, table: str, row: UUID) -> None:
    connection.execute(f"UPDATE {table} SET state = state WHERE id = %s", [row])  # noqa: S608  # constants


def test_a_transaction_notes_itself_once_in_place_of_those_before(scene: Scene) -> None:
    admin, tenant = scene.admin, scene.cast.id
    before = revisions(admin, tenant)
    with admin.transaction():
        touch(admin, "keys_key", scene.key.id)
        touch(admin, "keys_grant", scene.grant.id)
        touch(admin, "tenants_tenant", tenant)
    after = revisions(admin, tenant)
    assert len(after) == 1
    assert not after & before


def test_a_change_after_a_savepoint_that_was_rolled_back_is_noted_again(scene: Scene) -> None:
    before = revisions(scene.admin, scene.cast.id)
    with scene.admin.transaction():
        with scene.admin.transaction(force_rollback=True):
            touch(scene.admin, "keys_key", scene.key.id)
        touch(scene.admin, "keys_grant", scene.grant.id)
    after = revisions(scene.admin, scene.cast.id)
    assert after
    assert not after & before


def test_a_note_of_another_database_is_not_taken_for_the_transactions_own(scene: Scene) -> None:
    """A dump that is restored elsewhere brings the numbers of transactions, and they come again."""
    with scene.admin.transaction():
        scene.admin.execute("DELETE FROM boundary_revision WHERE tenant_id = %s", [scene.cast.id])
        scene.admin.execute(
            "INSERT INTO boundary_revision (tenant_id, id, changed_by, changed_at) "
            "VALUES (%s, gen_random_uuid(), pg_current_xact_id()::text::bigint, now() - interval '1 day')",
            [scene.cast.id],
        )
        before = revisions(scene.admin, scene.cast.id)
        touch(scene.admin, "keys_key", scene.key.id)
    after = revisions(scene.admin, scene.cast.id)
    assert after
    assert not after & before


def test_changes_of_one_tenant_do_not_wait_and_each_is_seen(
    scene: Scene, changers: tuple[psycopg.Connection, psycopg.Connection]
) -> None:
    """Read between their ends, in both orders: the set is never one that was seen before."""
    one, other = changers
    for each in changers:
        each.execute("SET lock_timeout = '2s'")
    seen = [revisions(scene.admin, scene.cast.id)]
    for first, second in ((one, other), (other, one)):
        first.execute("BEGIN")
        second.execute("BEGIN")
        touch(first, "keys_key", scene.key.id)
        touch(second, "keys_grant", scene.grant.id)
        for each in (second, first):
            each.execute("COMMIT")
            seen.append(revisions(scene.admin, scene.cast.id))
    touch(one, "tenants_tenant", scene.cast.id)
    seen.append(revisions(scene.admin, scene.cast.id))
    assert len(set(seen)) == len(seen)
    assert len(seen[-1]) == 1


def test_what_is_taken_away_or_belongs_to_all_is_noted(scene: Scene, admin_connection: psycopg.Connection) -> None:
    before = revisions(admin_connection, scene.cast.id), revisions(admin_connection, PLATFORM)
    with admin_connection.transaction(force_rollback=True):
        admin_connection.execute("DELETE FROM keys_material WHERE tenant_id = %s", [scene.cast.id])
        admin_connection.execute("UPDATE keys_provider SET digest = digest WHERE id = %s", [scene.key.provider_id])
        after = revisions(admin_connection, scene.cast.id), revisions(admin_connection, PLATFORM)
    assert [len(each) for each in after] == [1, 1]
    assert not after[0] & before[0]
    assert not after[1] & before[1]


def until(admin: psycopg.Connection, scene: Scene) -> datetime:
    """Until when the facts of the scene's use stand, if nothing is changed."""
    token = scene.credential.headers["Authorization"].removeprefix("Bearer ")
    values: list[Any] = [[hashlib.sha256(token.encode()).digest()], [None], [scene.key.slug], ["secrets:read"]]
    statement = CONTEXTS.sql.replace("SELECT a.n, facts", "SELECT (facts).until").replace("(facts).", "facts.")
    found = psycopg.RawCursor(admin).execute(statement, [*values, [False], [False], [], [0]]).fetchone()
    assert found
    return datetime.fromtimestamp(found[0], UTC)


def test_facts_stand_until_the_token_expires_the_day_ends_or_a_policy_begins(scene: Scene) -> None:
    admin = scene.admin
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert until(admin, scene) in {midnight, midnight + timedelta(days=1)}
    soon = datetime.now(UTC) + timedelta(seconds=30)
    with admin.transaction(force_rollback=True):
        values = [new_id(), 10**6, Jsonb({}), soon, new_id(), ""]
        admin.execute(
            "INSERT INTO keys_platformpolicy (id, number, rules, starts_at, set_by_id, note, created_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, now())",
            values,
        )
        assert until(admin, scene) == soon
        sooner = soon - timedelta(seconds=10)
        admin.execute(
            "UPDATE tenants_consumertoken SET expires_at = %s WHERE id = %s", [sooner, scene.credential.token_id]
        )
        assert until(admin, scene) == sooner


def test_a_token_that_expires_between_two_uses_is_refused_though_nothing_was_changed(
    tmp_path: Path, scene: Scene
) -> None:
    with gates.running(tmp_path) as gate:
        scene.change("token", "expires_at = clock_timestamp() + interval '3 seconds'")
        answers: list[tuple[float, int]] = []
        ends = time.monotonic() + 30
        while not answers or (answers[-1][1] == 200 and time.monotonic() < ends):
            begun = time.time()
            answers.append((begun, ask(gate, scene.path, USE, scene.credential.headers)[0]))
        found = scene.admin.execute(
            "SELECT extract(epoch FROM expires_at) FROM tenants_consumertoken WHERE id = %s",
            [scene.credential.token_id],
        ).fetchone()
    assert found
    assert answers[-1][1] == 401
    assert len(answers) > 10
    assert all(begun < found[0] for begun, status in answers if status == 200)
