"""Readers of the log: each entry counts once, whatever happens to the reader, and everything can be made again."""

from __future__ import annotations

import os
import signal
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from audit import usage, words
from audit.readers import cursor as cursors
from audit.readers.counting import UsageReader
from audit.readers.cursor import ALIAS, read_batch, rebuild
from audit.readers.indexing import SearchReader
from audit.readers.running import Rounds
from audit.sequencer import Sequencer
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from tests import spawning
from tests.audit import inbox
from tests.portal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    import psycopg

    from audit.models import Entry

pytestmark = pytest.mark.usefixtures("django_db_setup")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_the_end_of_the_log(django_db_setup: None) -> Iterator[None]:
    """Other tests leave entries, and events that wait; what a test counts are its own."""
    number_all()
    call_command("readers", "--once")
    yield
    connections[ALIAS].close()


def write(admin: psycopg.Connection, tenant: UUID, bodies: Sequence[dict[str, Any]]) -> None:
    """Events through the inbox into the log, in this order."""
    for body in bodies:
        event = new_id()
        admin.execute(inbox.INSERT, [event, tenant, inbox.text(inbox.document(event, **body))])
    number_all()


def number_all() -> None:
    sequencer = Sequencer()
    while sequencer.run_once():
        pass


def use(
    key: UUID, consumer: UUID, *, at: datetime = NOON, outcome: str = "allowed", scope: str = "read"
) -> dict[str, Any]:
    return {
        "actor": {"id": str(consumer), "kind": "consumer"},
        "target": {"id": str(key), "kind": "key"},
        "detail": {"scope": scope},
        "outcome": outcome,
        "time": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }


def read_all() -> None:
    call_command("readers", "--once")


def days_of(admin: psycopg.Connection, tenant: UUID) -> list[tuple[Any, ...]]:
    query = """SELECT day, key_id, consumer_id, scope, allowed, denied, failed, last_at, last_allowed_at
               FROM audit_usageday WHERE tenant_id = %s ORDER BY 1, 2, 3, 4"""
    return [
        (*row[:7], *(at and at.astimezone(UTC) for at in row[7:])) for row in admin.execute(query, [tenant]).fetchall()
    ]


def blocks_of(admin: psycopg.Connection, tenant: UUID) -> dict[int, tuple[int, list[int]]]:
    query = "SELECT number, upto, words FROM audit_searchblock WHERE tenant_id = %s"
    return {number: (upto, found) for number, upto, found in admin.execute(query, [tenant]).fetchall()}


def test_uses_are_counted_per_day_key_consumer_and_scope(admin_connection: psycopg.Connection) -> None:
    tenant, key, consumer = new_id(), new_id(), new_id()
    late = NOON + timedelta(hours=3)
    bodies = [
        use(key, consumer),
        use(key, consumer, at=late, outcome="denied"),
        use(key, consumer, at=NOON + timedelta(hours=1), outcome="failed"),
        use(key, consumer, at=NOON + timedelta(days=1)),
        use(key, consumer, scope="write", outcome="denied"),
        use(key, consumer) | {"target": {"id": str(tenant), "kind": "tenant"}},
        use(key, consumer) | {"action": "key.rotated"},
    ]
    write(admin_connection, tenant, bodies)
    read_all()
    assert days_of(admin_connection, tenant) == [
        (date(2026, 1, 2), key, consumer, "read", 1, 1, 1, late, NOON),
        (date(2026, 1, 2), key, consumer, "write", 0, 1, 0, NOON, None),
        (date(2026, 1, 3), key, consumer, "read", 1, 0, 0, NOON + timedelta(days=1), NOON + timedelta(days=1)),
    ]


def test_later_batches_add_to_the_counts(admin_connection: psycopg.Connection) -> None:
    tenant, key, consumer = new_id(), new_id(), new_id()
    write(admin_connection, tenant, [use(key, consumer) for _ in range(7)])
    write(admin_connection, tenant, [use(key, consumer, outcome="denied", at=NOON - timedelta(hours=1))])
    while read_batch(UsageReader(), limit=3):
        pass
    assert days_of(admin_connection, tenant) == [(NOON.date(), key, consumer, "read", 7, 1, 0, NOON, NOON)]


def test_a_reader_that_dies_in_a_batch_counts_nothing_twice(admin_connection: psycopg.Connection) -> None:
    tenant, key, consumer = new_id(), new_id(), new_id()
    write(admin_connection, tenant, [use(key, consumer) for _ in range(4)])

    class Dying(UsageReader):
        def fold(self, cursor: Any, entries: Sequence[Entry]) -> None:
            super().fold(cursor, entries)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_batch(Dying())
    assert days_of(admin_connection, tenant) == []
    read_all()
    assert days_of(admin_connection, tenant)[0][4] == 4


def test_another_process_has_the_reader(admin_connection: psycopg.Connection) -> None:
    write(admin_connection, new_id(), [use(new_id(), new_id())])
    with admin_connection.transaction():
        admin_connection.execute("SELECT 1 FROM audit_reader WHERE name = 'usage' FOR UPDATE")
        assert read_batch(UsageReader()) == 0
        assert read_batch(SearchReader()) == 1
    assert read_batch(UsageReader()) == 1


def test_a_rebuild_makes_the_same_again(admin_connection: psycopg.Connection) -> None:
    tenant, key, consumer = new_id(), new_id(), new_id()
    write(admin_connection, tenant, [use(key, consumer, scope=scope) for scope in ("read", "write", "read")])
    read_all()
    counted, indexed = days_of(admin_connection, tenant), blocks_of(admin_connection, tenant)
    admin_connection.execute("UPDATE audit_usageday SET allowed = 99 WHERE tenant_id = %s", [tenant])
    admin_connection.execute("UPDATE audit_searchblock SET words = '{}' WHERE tenant_id = %s", [tenant])
    for name in ("usage", "search"):
        call_command("readers", "--once", "--rebuild", name)
    assert days_of(admin_connection, tenant) == counted
    assert blocks_of(admin_connection, tenant) == indexed


def test_a_rebuild_that_fails_keeps_what_was_there(admin_connection: psycopg.Connection) -> None:
    tenant = new_id()
    write(admin_connection, tenant, [use(new_id(), new_id())])
    read_all()
    before = days_of(admin_connection, tenant)

    class Failing(UsageReader):
        def clear(self, cursor: Any) -> None:
            super().clear(cursor)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        rebuild(Failing())
    assert days_of(admin_connection, tenant) == before
    assert read_batch(UsageReader()) == 0


def test_every_word_of_every_entry_is_in_its_block(admin_connection: psycopg.Connection) -> None:
    tenant, keys = new_id(), [new_id() for _ in range(3)]
    bodies = [use(keys[n // 150], new_id()) for n in range(300)]
    write(admin_connection, tenant, bodies)
    while read_batch(SearchReader(), limit=70):
        pass
    blocks = blocks_of(admin_connection, tenant)
    assert {number: upto for number, (upto, _) in blocks.items()} == {0: 256, 1: 300}
    for number, body in enumerate(bodies):
        expected = words.words_of(inbox.document(new_id(), **body))
        assert expected <= set(blocks[number // 256][1])
    assert words.word("target", keys[0]) not in blocks[1][1]
    for _, found in blocks.values():
        assert found == sorted(set(found))


def test_a_strange_entry_holds_up_nobody(admin_connection: psycopg.Connection) -> None:
    tenant, key, consumer = new_id(), new_id(), new_id()
    strange = [
        use(key, consumer) | {"detail": {"scope": ["a"]}},
        use(key, consumer) | {"time": "0001-01-01T00:00:00+12:00"},
        use(key, consumer) | {"detail": {"scope": "s" * 900}},
    ]
    write(admin_connection, tenant, [*strange, use(key, consumer)])
    read_all()
    rows = days_of(admin_connection, tenant)
    assert [(row[3], row[4]) for row in rows] == [("", 1), ("read", 1), ("s" * 200, 1)]


def test_a_reader_that_fails_notes_its_fault_and_the_other_goes_on(admin_connection: psycopg.Connection) -> None:
    tenant = new_id()
    write(admin_connection, tenant, [use(new_id(), new_id())])

    class Broken(UsageReader):
        def fold(self, cursor: Any, entries: Sequence[Entry]) -> None:
            cursor.execute("SELECT 1 / 0")

    rounds = Rounds([Broken(), SearchReader()])
    assert rounds.run_once() == 1
    assert rounds.run_once() == 0
    fault = "SELECT fault FROM audit_reader WHERE name = 'usage'"
    assert admin_connection.execute(fault).fetchone() == ("DataError 22012",)
    assert blocks_of(admin_connection, tenant)[0][0] == 1
    read_all()
    assert admin_connection.execute(fault).fetchone() == ("",)
    assert len(days_of(admin_connection, tenant)) == 1


def test_reading_once_says_so_when_a_reader_fails(
    admin_connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(admin_connection, new_id(), [use(new_id(), new_id())])
    monkeypatch.setattr("audit.readers.counting._ADD", "SELECT 1 / 0, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b")
    with pytest.raises(CommandError, match="usage"):
        call_command("readers", "--once")


def test_a_process_without_the_login_says_which_variable_it_needs(admin_connection: psycopg.Connection) -> None:
    bare = {name: value for name, value in os.environ.items() if name != "DATABASE_URL_READER"}
    for arguments in (["readers", "--once"], ["siem", "--once", "--to", "/dev/null"]):
        done = spawning.run(*arguments, env=bare)
        assert done.returncode == 1
        assert "DATABASE_URL_READER is not set" in done.stderr


def test_a_fault_quotes_nothing_of_what_was_read(admin_connection: psycopg.Connection) -> None:
    cursors.note_fault("usage", ValueError("secret words of an entry"))
    row = admin_connection.execute("SELECT fault FROM audit_reader WHERE name = 'usage'").fetchone()
    cursors.ensure("usage")
    assert row == ("ValueError",)


def test_the_process_survives_the_loss_of_its_connection_and_stops_when_told(
    admin_connection: psycopg.Connection,
) -> None:
    tenant = new_id()
    kill = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
              WHERE usename = 'byok_reader' AND datname = current_database()"""
    with spawning.start("readers", "--poll", "0.05") as process:
        try:
            write(admin_connection, tenant, [use(new_id(), new_id())])
            wait_until(lambda: len(days_of(admin_connection, tenant)) == 1)
            assert admin_connection.execute(kill).fetchone() != (0,)
            write(admin_connection, tenant, [use(new_id(), new_id())])
            wait_until(lambda: len(days_of(admin_connection, tenant)) == 2)
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_tenant_sees_the_usage_of_its_own_keys(admin_connection: psycopg.Connection) -> None:
    tenant, other, key, consumer = new_id(), new_id(), new_id(), new_id()
    now = datetime.now(UTC).replace(hour=0, minute=0, second=1, microsecond=0)
    old = now - timedelta(days=40)
    bodies = [
        use(key, consumer, at=old, scope="write"),
        use(key, consumer, at=now),
        use(key, consumer, at=now, outcome="denied"),
        use(key, consumer, at=now - timedelta(days=29), outcome="failed"),
    ]
    write(admin_connection, tenant, bodies)
    write(admin_connection, other, [use(key, consumer, at=now + timedelta(seconds=1))])
    read_all()
    with binding.bind_tenant(tenant), transaction.atomic():
        counted, last, rows = usage.count_uses(), usage.find_last_uses([consumer, new_id()]), usage.usage_of(key)
    assert (counted.whole.total, counted.whole.denied) == (3, 1)
    assert (counted.of(key).points[0], counted.of(key).points[-1]) == (1, 2)
    assert last == {consumer: now}
    assert rows == [
        usage.ScopeUsage("read", consumer, now, now, 1, 1),
        usage.ScopeUsage("write", consumer, old, old, 0, 0),
    ]
