"""The sequencer under load, killed, doubled and fed with junk: no gap, no duplicate, nothing lost."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connections

from audit.sequencer import ALIAS, Sequencer
from audit.verification import verify_log
from byok_portal.boundary.identifiers import new_id
from tests import spawning
from tests.audit import inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from tests.world import World

pytestmark = pytest.mark.usefixtures("django_db_setup")
PATIENCE = 20


@pytest.fixture(autouse=True)
def no_lock_left_behind() -> Iterator[None]:
    """The lock is the session's: `sequencer --once` in this process keeps it until its connection closes."""
    connections[ALIAS].close()
    yield
    connections[ALIAS].close()


@contextmanager
def running_sequencer(admin: psycopg.Connection) -> Iterator[spawning.Spawned]:
    """`manage.py sequencer` as a process of its own, once it has the lock."""
    with spawning.start("sequencer", "--poll", "0.02") as process:
        try:
            wait_until(lambda: lock_is_taken(admin) or process.poll() is not None)
            assert process.poll() is None, "the sequencer did not start"
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    """Raises when it does not come true in time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def events_of(admin: psycopg.Connection, tenant: UUID) -> list[UUID]:
    query = "SELECT event_id FROM audit_entry WHERE tenant_id = %s ORDER BY tseq"
    return [row[0] for row in admin.execute(query, [tenant]).fetchall()]


def waiting_of(admin: psycopg.Connection, tenant: UUID) -> set[UUID]:
    query = "SELECT event_id FROM audit_inbox WHERE tenant_id = %s"
    return {row[0] for row in admin.execute(query, [tenant]).fetchall()}


def number_everything(admin: psycopg.Connection, *tenants: UUID) -> None:
    """As a sequencer that waits for the lock; a killed one holds it until the server notices."""
    sequencer = Sequencer()
    wait_until(sequencer.acquire)
    while sequencer.run_once():
        pass
    for tenant in tenants:
        assert waiting_of(admin, tenant) == set()


def lock_is_taken(admin: psycopg.Connection) -> bool:
    row = admin.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    return bool(row[0])


def someone_waits_for(admin: psycopg.Connection, table: str) -> bool:
    row = admin.execute(
        "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted", [table]
    ).fetchone()
    assert row is not None
    return bool(row[0])


@contextmanager
def stopped_in_the_middle(admin: psycopg.Connection) -> Iterator[None]:
    """Holds the table of heads, which the sequencer writes after the entries and before it empties the inbox."""
    url = os.environ["DATABASE_URL_OWNER"]
    with psycopg.connect(url) as blocker:
        blocker.execute("LOCK TABLE audit_tenanthead IN EXCLUSIVE MODE")
        yield
        blocker.rollback()


def test_a_second_sequencer_waits_and_takes_over(admin_connection: psycopg.Connection) -> None:
    tenant = new_id()
    with running_sequencer(admin_connection) as first:
        second = Sequencer()
        assert not second.acquire()
        ids = [event for _, event in inbox.fill(admin_connection, [tenant], each=5)]
        wait_until(lambda: events_of(admin_connection, tenant) == ids)
        first.send_signal(signal.SIGTERM)
        first.wait(timeout=PATIENCE)
    wait_until(second.acquire)
    more = [event for _, event in inbox.fill(admin_connection, [tenant], each=5, start=6)]
    second.run_once()
    assert events_of(admin_connection, tenant) == ids + more


def test_a_sequencer_killed_between_entries_and_heads_leaves_no_trace(admin_connection: psycopg.Connection) -> None:
    first, second = new_id(), new_id()
    with running_sequencer(admin_connection) as process, stopped_in_the_middle(admin_connection):
        inserted = inbox.fill(admin_connection, [first, second], each=50)
        wait_until(lambda: someone_waits_for(admin_connection, "audit_tenanthead"))
        process.kill()
        process.wait()
        assert events_of(admin_connection, first) == []
    number_everything(admin_connection, first, second)
    for tenant in (first, second):
        assert events_of(admin_connection, tenant) == [event for owner, event in inserted if owner == tenant]
    assert verify_log("auditor").intact


def test_a_sequencer_killed_again_and_again_under_load_loses_and_repeats_nothing(
    admin_connection: psycopg.Connection,
) -> None:
    tenants = [new_id() for _ in range(3)]
    inserted: list[tuple[UUID, UUID]] = []
    for seconds in (0.05, 0.15):
        with running_sequencer(admin_connection) as process:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                inserted += inbox.fill(admin_connection, tenants, each=20)
            process.kill()
            process.wait()
    number_everything(admin_connection, *tenants)
    for tenant in tenants:
        expected = [event for owner, event in inserted if owner == tenant]
        found = events_of(admin_connection, tenant)
        assert len(found) == len(expected) > 0
        assert set(found) == set(expected)
    assert verify_log("auditor").intact


JUNK: dict[str, Callable[[UUID], str]] = {
    "not JSON": lambda _: "junk",
    "not an object": lambda _: "[]",
    "with spaces": lambda event: inbox.text(inbox.document(event)).replace(",", ", "),
    "a key twice": lambda event: inbox.text(inbox.document(event)).replace('"detail":{}', '"detail":{},"detail":{}'),
    "another event's id": lambda _: inbox.text(inbox.document(new_id())),
    "only an id": lambda event: inbox.text({"id": str(event)}),
    "an actor without kind": lambda event: inbox.text(inbox.document(event, actor={"id": str(event)})),
    "an actor that is text": lambda event: inbox.text(inbox.document(event, actor="me")),
    "an id that is a number": lambda event: inbox.text(inbox.document(event, target={"id": 7, "kind": "key"})),
    "a long action": lambda event: inbox.text(inbox.document(event, action="a" * 61)),
    "an action that is a number": lambda event: inbox.text(inbox.document(event, action=7)),
    "an unknown outcome": lambda event: inbox.text(inbox.document(event, outcome="maybe")),
    "a time without a zone": lambda event: inbox.text(inbox.document(event, time="2026-01-02T03:04:05")),
    "a time that is none": lambda event: inbox.text(inbox.document(event, time="yesterday")),
    "a fraction": lambda event: inbox.text(inbox.document(event)).replace('"detail":{}', '"detail":{"n":1.5}'),
}


def test_junk_in_the_inbox_stays_and_holds_nobody_up(admin_connection: psycopg.Connection) -> None:
    tenant = new_id()
    junk = {new_id(): make for make in JUNK.values()}
    rows: list[tuple[UUID, str]] = [(event, make(event)) for event, make in junk.items()]
    good = [new_id() for _ in range(5)]
    rows += [(event, inbox.text(inbox.document(event))) for event in good]
    random.shuffle(rows)
    insert_as_app(tenant, rows)
    sequencer = Sequencer()
    wait_until(sequencer.acquire)
    while sequencer.run_once():
        pass
    try:
        assert set(events_of(admin_connection, tenant)) == set(good)
        assert waiting_of(admin_connection, tenant) == set(junk)
        assert sequencer.run_once() == 0
        assert {event for owner, event in sequencer.refused if owner == str(tenant)} == set(map(str, junk))
        state = admin_connection.execute("SELECT waiting FROM audit_logstate").fetchone()
        assert state is not None
        assert state[0] >= len(junk)
    finally:
        take_out(tenant)


def test_an_event_that_is_in_the_log_already_is_not_numbered_again(admin_connection: psycopg.Connection) -> None:
    tenant = new_id()
    ((_, event),) = inbox.fill(admin_connection, [tenant], each=1)
    number_everything(admin_connection, tenant)
    ((_, later),) = inbox.fill(admin_connection, [tenant], each=1)
    insert_as_app(tenant, [(event, inbox.text(inbox.document(event)))])
    sequencer = Sequencer()
    while sequencer.run_once():
        pass
    try:
        assert events_of(admin_connection, tenant) == [event, later]
        assert waiting_of(admin_connection, tenant) == {event}
    finally:
        take_out(tenant)


def test_a_body_over_16_kib_is_refused_by_the_database() -> None:
    event = new_id()
    body = inbox.text(inbox.document(event, detail={"text": "é" * 8192}))
    with pytest.raises(psycopg.errors.CheckViolation):
        insert_as_app(new_id(), [(event, body)])


def test_an_event_id_that_two_tenants_have_in_common_is_numbered_for_both(
    admin_connection: psycopg.Connection,
) -> None:
    first, second, event = new_id(), new_id(), new_id()
    rows = [(event, inbox.text(inbox.document(event)))]
    with running_sequencer(admin_connection):
        with stopped_in_the_middle(admin_connection):
            insert_as_app(first, rows)
            wait_until(lambda: someone_waits_for(admin_connection, "audit_tenanthead"))
            # Committed after the sequencer took its batch and before it empties the inbox.
            insert_as_app(second, rows)
        wait_until(lambda: events_of(admin_connection, second) == [event])
    assert events_of(admin_connection, first) == [event]


def test_an_event_that_commits_late_is_numbered_later_and_not_lost(
    world: World, admin_connection: psycopg.Connection
) -> None:
    tenant, early, late = new_id(), new_id(), new_id()
    assert early < late
    with psycopg.connect(os.environ["DATABASE_URL"]) as slow:
        slow.execute(f"SET LOCAL app.tenant_id = '{tenant}'")
        slow.execute(inbox.INSERT, [early, tenant, inbox.text(inbox.document(early))])
        insert_as_app(tenant, [(late, inbox.text(inbox.document(late)))])
        world.sequence()
        assert events_of(admin_connection, tenant) == [late]
        slow.commit()
    world.sequence()
    assert events_of(admin_connection, tenant) == [late, early]


def test_a_rolled_back_event_takes_no_number(world: World, admin_connection: psycopg.Connection) -> None:
    tenant, kept = new_id(), new_id()
    with psycopg.connect(os.environ["DATABASE_URL"]) as undecided:
        undecided.execute(f"SET LOCAL app.tenant_id = '{tenant}'")
        gone = new_id()
        undecided.execute(inbox.INSERT, [gone, tenant, inbox.text(inbox.document(gone))])
        undecided.rollback()
    insert_as_app(tenant, [(kept, inbox.text(inbox.document(kept)))])
    world.sequence()
    assert events_of(admin_connection, tenant) == [kept]


def test_the_heads_are_right_with_tenants_in_between(world: World, admin_connection: psycopg.Connection) -> None:
    tenants = [new_id() for _ in range(4)]
    for turn in range(3):
        for tenant in random.sample(tenants, 3):
            inbox.fill(admin_connection, [tenant], each=turn + 2, start=turn)  # a mix, not a secret
        world.sequence()
    heads = admin_connection.execute(
        "SELECT h.tseq = e.tseq AND h.idx = e.idx AND "
        "h.leaf_hash = sha256('\\x00'::bytea || convert_to(e.leaf, 'UTF8')) "
        "FROM audit_tenanthead h JOIN LATERAL (SELECT * FROM audit_entry WHERE tenant_id = h.tenant_id "
        "ORDER BY tseq DESC LIMIT 1) e ON true WHERE h.tenant_id = ANY(%s)",
        [tenants],
    ).fetchall()
    assert heads == [(True,)] * len(heads)
    assert len(heads) >= 3
    for tenant in tenants:
        assert verify_log("auditor", tenant_id=tenant).intact


def insert_as_app(tenant: UUID, rows: list[tuple[UUID, Any]]) -> None:
    """As the web server's login, bound to the tenant."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(f"SET LOCAL app.tenant_id = '{tenant}'")
        for event, body in rows:
            connection.execute(inbox.INSERT, [event, tenant, body])


def take_out(tenant: UUID) -> None:
    """What the sequencer refused stays for ever; other tests share this inbox."""
    with psycopg.connect(os.environ["DATABASE_URL_SEQUENCER"]) as connection:
        connection.execute("DELETE FROM audit_inbox WHERE tenant_id = %s", [tenant])


def test_numbering_once_leaves_the_lock_to_the_next_sequencer(
    world: World, admin_connection: psycopg.Connection
) -> None:
    before = lock_holders(admin_connection)
    world.sequence()
    assert lock_holders(admin_connection) <= before


def lock_holders(admin: psycopg.Connection) -> set[int]:
    rows = admin.execute(
        "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
        "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    ).fetchall()
    return {row[0] for row in rows}
