"""Lists and exports are read from the replica when it knows everything, and from the primary when it does not."""

from __future__ import annotations

import importlib
import io
import threading
import zipfile
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from django.db import Error, connections, transaction
from django.test import Client
from psycopg import sql

from byok_portal.boundary import binding, replica
from byok_portal.boundary.api import PortalView
from byok_portal.boundary.pages import TenantPage
from byok_portal.errors import Unavailable
from tests import environment, spawning
from tests.scale import cell as cells
from tests.scale.cell import wait_until
from tests.scale.inside import POOLED, Watched, count_scans, return_to_replica, standing_in, standing_still
from tests.scale.stories import Story
from tests.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import Cast

ROUNDS: Final = 60
PATIENCE: Final = 3.0
TABLES: Final = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'tenant_id' AND has_table_privilege(table_name::text, 'SELECT')
"""


@pytest.fixture(scope="module")
def told(django_db_setup: None) -> Iterator[Story]:
    with cells.running(seeds=False) as cell, standing_in(cell):
        world = World()
        cast, other = world.tenant("acme"), world.tenant("globex")
        key, credential = world.key(cast), world.consumer(cast, scopes=("key:read", "audit:read"))
        world.key(other)
        world.sequence()
        yield Story(cell, world, cast, other, key, credential)


@pytest.fixture
def story(told: Story, monkeypatch: pytest.MonkeyPatch) -> Story:
    """With a replica that is there and knows everything. A busy machine is given time for what takes milliseconds."""
    monkeypatch.setattr(replica, "WAIT", PATIENCE)
    wait_until(lambda: replica.find_state() == "ok", told.cell.standby.log_end)
    return_to_replica()
    wait_until(lambda: replica.choose() == binding.REPLICA, told.cell.standby.log_end)
    return told


@pytest.mark.parametrize("number", range(4))
def test_lists_are_read_from_the_replica_alone(story: Story, number: int) -> None:
    address, table = list(story.pages.items())[number]
    with Watched().watching() as watched:
        answer = story.get(address)
    assert answer.status_code == 200
    assert watched.touches("replica", table)
    assert not any(watched.touches("default", each) for each in story.pages.values())


def test_no_other_door_reads_from_the_replica() -> None:
    """Each one more is a decision: it must only read, and nothing may be decided by what it shows."""
    importlib.import_module("byok_portal.urls")
    lagging = {f"{each.__module__}.{each.__name__}" for each in doors(PortalView) | doors(TenantPage) if each.may_lag}
    assert lagging == {
        "audit.api.views.Events",
        "audit.pages.entries.ListPage",
        "keys.api.views.Keys",
        "keys.pages.listing.ListPage",
    }


def doors(base: Any) -> set[Any]:
    """All classes below it."""
    below = set(base.__subclasses__())
    return below.union(*map(doors, below))


def test_a_page_that_decides_is_read_from_the_primary(story: Story) -> None:
    with Watched().watching() as watched:
        answer = story.get(f"/t/{story.cast.slug}/keys/{story.key.slug}/")
    assert answer.status_code == 200
    assert watched.touches("default", "keys_key")
    assert watched.seen["replica"] == []


def test_what_was_acknowledged_is_never_missing_from_a_list_while_the_replica_stands_still(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "WAIT", 0.01)
    with standing_still(story.cell):
        made = story.world.key(story.cast)
        for address, table in story.pages.items():
            with Watched().watching() as watched:
                answer = story.get(address)
            assert answer.status_code == 200
            assert watched.touches("default", table)
            assert not watched.touches("replica", table)
            if table == "keys_key":
                assert made.name in answer.content.decode()
            return_to_replica()
    return_to_replica()
    wait_until(lambda: replica.choose() == binding.REPLICA, story.cell.standby.log_end)
    answer = story.get(f"/t/{story.cast.slug}/keys/")
    assert made.name in answer.content.decode()


def test_a_replica_that_is_far_behind_is_a_warning_and_left_alone(story: Story, settings: Any) -> None:
    settings.REPLICA_LAG_MAX = 0.0
    with standing_still(story.cell):
        story.world.consumer(story.cast)
        assert story.cell.standby.measure_lag() > 0
        assert Client().get("/readyz").json()["checks"]["replica"] == "behind"
        assert replica.choose() == binding.DEFAULT
        with Watched().watching() as watched:
            assert replica.choose() == binding.DEFAULT
        assert watched.seen == {"default": [], "replica": []}


@pytest.mark.parametrize("number", range(4))
def test_a_read_that_the_replica_breaks_off_is_answered_by_the_primary(story: Story, number: int) -> None:
    address, table = list(story.pages.items())[number]
    cut: list[int] = []

    def cut_off(execute: Any, sql: Any, params: Any, many: Any, context: dict[str, Any]) -> Any:
        if not cut and table in str(sql):
            pid = context["connection"].connection.info.backend_pid
            with story.cell.admin(story.cell.standby) as admin:
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            cut.append(pid)
        return execute(sql, params, many, context)

    with Watched().watching() as watched, connections["replica"].execute_wrapper(cut_off):
        answer = story.get(address)
    assert cut
    assert answer.status_code == 200
    assert watched.touches("default", table)


def test_the_export_streams_from_the_replica_and_is_whole(story: Story) -> None:
    address = f"/api/v1/tenants/{story.cast.slug}/audit/export/"
    with story.cell.admin(story.cell.standby) as admin:
        before = count_scans(admin)
        answer: Any = Client(headers=story.credential.headers).get(address)
        data = b"".join(answer.streaming_content)
        # A session tells what it did when it ends; the export's has its own.
        wait_until(lambda: count_scans(admin) > before, story.cell.logs)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        lines = archive.read("entries.jsonl").splitlines()
    assert len(lines) == int(answer["X-Export-Entries"]) > 5


def test_without_the_replica_everything_is_answered_and_readyz_warns(story: Story) -> None:
    story.cell.standby.stop()
    try:
        with pytest.raises(Unavailable):
            story.cell.standby.measure_lag()
        body = Client().get("/readyz").json()
        assert body["checks"]["replica"] == "down"
        assert body["checks"]["database"] == "ok"
        for address in story.pages:
            return_to_replica()
            assert story.get(address).status_code == 200
    finally:
        story.cell.standby.start()
        story.cell.standby.wait_until_streaming()
    wait_until(lambda: replica.find_state() == "ok", story.cell.standby.log_end)
    assert Client().get("/readyz").json()["checks"]["replica"] == "ok"


@pytest.mark.parametrize("bound", ["nobody", "a stranger", "the other", "the tenant"])
def test_the_replica_shows_each_tenant_its_own_rows_and_nothing_else(story: Story, bound: str) -> None:
    tenant_id = {
        "nobody": None,
        "a stranger": "00000000-0000-7000-8000-000000000001",
        "the other": story.other.id,
        "the tenant": story.cast.id,
    }[bound]
    with psycopg.connect(story.cell.replica_url.replace("postgres:", "postgresql:")) as connection:
        if tenant_id is not None:
            connection.execute(f"SET LOCAL app.tenant_id = '{tenant_id}'")
        found: set[Any] = set()
        tables = [row[0] for row in connection.execute(TABLES)]
        for table in tables:
            query = sql.SQL("SELECT DISTINCT tenant_id FROM {}").format(sql.Identifier(table))
            found |= {row[0] for row in connection.execute(query)}
    assert len(tables) > 20
    expected = {"the other": {story.other.id}, "the tenant": {story.cast.id}}.get(bound, set())
    assert found == expected


def test_a_query_outside_its_transaction_raises_on_the_replica_too(story: Story) -> None:
    with (
        binding.bind_tenant(story.cast.id),
        pytest.raises(binding.UnboundTenantError),
        connections["replica"].cursor() as cursor,
    ):
        cursor.execute("SELECT 1")


def test_two_tenants_on_one_pooled_session_never_mix(story: Story) -> None:
    """Transactions that commit, that roll back, that break a rule, and connections that go away in the middle."""
    seen: dict[str, set[Any]] = {"acme": set(), "globex": set(), "nobody": set()}
    sessions: set[int] = set()
    failed: list[Exception] = []

    def look(name: str) -> None:
        with connections[POOLED].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            sessions.add(cursor.fetchone()[0])
            cursor.execute("SELECT DISTINCT tenant_id FROM keys_key")
            seen[name] |= {row[0] for row in cursor.fetchall()}

    def work(name: str, cast: Cast) -> None:
        try:
            for turn in range(ROUNDS):
                with binding.bind_tenant(cast.id):
                    try:
                        with transaction.atomic(using=POOLED):
                            look(name)
                            _disturb(turn)
                    except (ZeroDivisionError, Error, LostError):
                        pass
                with transaction.atomic(using=POOLED):
                    look("nobody")
        except Exception as error:  # noqa: BLE001  # it is told below, in the thread that asks
            failed.append(error)
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=work, args=(name, cast))
        for name, cast in (("acme", story.cast), ("globex", story.other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    # PgBouncer shares one session, and makes it anew when a client went away in the middle.
    assert len(sessions) <= 1 + 2 * ROUNDS // 4
    assert seen == {"acme": {story.cast.id}, "globex": {story.other.id}, "nobody": set()}


class LostError(Exception):
    """The client went away."""


def _disturb(turn: int) -> None:
    """How this transaction ends."""
    if turn % 4 == 1:
        raise ZeroDivisionError
    if turn % 4 == 2:
        with connections[POOLED].cursor() as cursor:
            cursor.execute("SELECT 1/0")
    if turn % 4 == 3:
        connections[POOLED].close()
        raise LostError


def test_a_sequencer_behind_a_pooler_says_so_and_ends(story: Story) -> None:
    url = story.cell.pool.url("byok_sequencer")
    env = {**story.cell.settings, "DATABASE_URL": url, "DATABASE_URL_SEQUENCER": url}
    done = spawning.run("sequencer", env=env)
    assert done.returncode == 1
    assert "goes through a pooler" in done.stderr
    assert environment.PASSWORDS["sequencer"] not in done.stderr
    with story.cell.admin(story.cell.primary) as admin:
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = 0"
        assert admin.execute(locks).fetchone() == (0,)
