"""Delivery to a security system: nothing is left out, whatever crashes, and numbers have no gaps."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from audit.readers.cursor import ALIAS
from audit.readers.delivery import open_delivery
from audit.readers.destinations import Collector, FileDestination, parse_destination
from audit.sequencer import Sequencer
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, InvalidInput
from tests.audit import inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from uuid import UUID

    import psycopg

pytestmark = pytest.mark.usefixtures("django_db_setup")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    connections[ALIAS].close()


@pytest.fixture
def tenant(admin_connection: psycopg.Connection) -> UUID:
    """A tenant with seven entries."""
    identifier = new_id()
    write(admin_connection, identifier, 7)
    return identifier


def write(admin: psycopg.Connection, tenant: UUID, count: int) -> None:
    inbox.fill(admin, [tenant], each=count)
    while Sequencer().run_once():
        pass


def deliver(to: Path | str, tenant: UUID) -> None:
    call_command("siem", "--to", str(to), "--tenant", str(tenant), "--once")


def events_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_whole(admin: psycopg.Connection, tenant: UUID, events: Sequence[dict[str, Any]]) -> None:
    """Every entry of the tenant once, in order, numbered from 1."""
    rows = admin.execute("SELECT event_id FROM audit_entry WHERE tenant_id = %s ORDER BY idx", [tenant]).fetchall()
    assert [event["metadata"]["uid"] for event in events] == [str(row[0]) for row in rows]
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(rows) + 1))


class Crashing(FileDestination):
    """Writes the lines, then dies before anybody notes it."""

    def deliver(self, lines: Sequence[bytes], *, delivered: int, stream: str) -> None:
        super().deliver(lines, delivered=delivered, stream=stream)
        raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class Interrupted(FileDestination):
    """Lets something else happen while it takes the lines."""

    happen: Callable[[], object] = lambda: None

    def deliver(self, lines: Sequence[bytes], *, delivered: int, stream: str) -> None:
        self.happen()
        FileDestination(self.path).deliver(lines, delivered=delivered, stream=stream)


IDLE: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = 'byok_reader' AND state LIKE 'idle in transaction%'
"""


def test_no_transaction_is_open_while_the_destination_takes_its_time(
    admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path
) -> None:
    seen: list[Any] = []
    destination = Interrupted(tmp_path / "e.jsonl", lambda: seen.append(admin_connection.execute(IDLE).fetchone()))
    assert open_delivery("slow", destination, tenant_id=tenant).run_once() == 7
    assert seen == [(0,)]


def test_a_stream_has_one_sender_at_a_time(admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path) -> None:
    path, sent = tmp_path / "events.jsonl", []

    def send() -> None:
        try:
            sent.append(open_delivery("shared", FileDestination(path), tenant_id=tenant).run_once())
        finally:
            connections[ALIAS].close()

    def meanwhile() -> None:
        thread = threading.Thread(target=send)  # a thread has a session of its own
        thread.start()
        thread.join()

    first = open_delivery("shared", Interrupted(path, meanwhile), tenant_id=tenant)
    assert (first.run_once(limit=4), sent) == (4, [0])
    meanwhile()
    assert sent == [0, 3]
    assert_whole(admin_connection, tenant, events_of(path))


def test_numbers_that_another_sender_moved_are_not_moved_back(
    admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path
) -> None:
    """Through a pooler the lock may be somebody else's: the position is compared again before it is noted."""
    statement = "UPDATE audit_reader SET position = position + 1, delivered = delivered + 1 WHERE name = %s"
    destination = Interrupted(tmp_path / "e.jsonl", lambda: admin_connection.execute(statement, [delivery.name]))
    delivery = open_delivery("pooled", destination, tenant_id=tenant)
    with pytest.raises(Conflict, match="one process per destination"):
        delivery.run_once()
    query = "SELECT delivered FROM audit_reader WHERE name = %s"
    assert admin_connection.execute(query, [delivery.name]).fetchone() == (1,)


def test_a_file_gets_every_event_once_and_goes_on_later(
    admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    deliver(path, tenant)
    write(admin_connection, new_id(), 2)
    write(admin_connection, tenant, 3)
    deliver(path, tenant)
    deliver(path, tenant)
    assert_whole(admin_connection, tenant, events_of(path))
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [0, 1, 15, 40])
def test_a_crash_after_writing_leaves_neither_gap_nor_double(
    admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path, torn: int
) -> None:
    path = tmp_path / "events.jsonl"
    open_delivery(str(path), FileDestination(path), tenant_id=tenant).run_once(limit=2)
    with pytest.raises(KeyboardInterrupt):
        open_delivery(str(path), Crashing(path), tenant_id=tenant).run_once(limit=3)
    assert len(events_of(path)) == 5
    if torn:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:4]) + lines[4][:torn])
    deliver(path, tenant)
    assert_whole(admin_connection, tenant, events_of(path))


def test_a_file_longer_than_one_look_is_read_from_its_end(admin_connection: psycopg.Connection, tmp_path: Path) -> None:
    tenant, path = new_id(), tmp_path / "events.jsonl"
    write(admin_connection, tenant, 600)
    with pytest.raises(KeyboardInterrupt):
        open_delivery(str(path), Crashing(path), tenant_id=tenant).run_once()
    deliver(path, tenant)
    assert_whole(admin_connection, tenant, events_of(path))


def test_numbers_go_on_in_a_new_file(admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path) -> None:
    path, old = tmp_path / "events.jsonl", tmp_path / "events.1.jsonl"
    deliver(path, tenant)
    path.rename(old)
    write(admin_connection, tenant, 2)
    deliver(path, tenant)
    assert_whole(admin_connection, tenant, events_of(old) + events_of(path))


@pytest.mark.parametrize("content", [b"root:x:0:0\n", b"no end of line", b'{"metadata": {"sequence": 1}}\n', b"\n"])
def test_a_file_of_somebody_else_is_left_alone(tenant: UUID, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(CommandError, match="something else"):
        deliver(path, tenant)
    assert path.read_bytes() == content


def test_the_file_of_another_stream_is_left_alone(
    admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path
) -> None:
    path, other = tmp_path / "events.jsonl", new_id()
    deliver(path, tenant)
    write(admin_connection, other, 1)
    before = path.read_bytes()
    with pytest.raises(CommandError):
        deliver(path, other)
    assert path.read_bytes() == before


def test_lost_lines_are_said_and_noted(admin_connection: psycopg.Connection, tenant: UUID, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    deliver(path, tenant)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    write(admin_connection, tenant, 1)
    with pytest.raises(CommandError, match="ends at 3, but 7 were delivered"):
        deliver(path, tenant)
    name = open_delivery(str(path), FileDestination(path), tenant_id=tenant).name
    row = admin_connection.execute("SELECT fault, delivered FROM audit_reader WHERE name = %s", [name]).fetchone()
    assert row == (Conflict.__name__, 7)


@contextmanager
def collecting(statuses: list[int]) -> Iterator[tuple[str, list[tuple[str, list[dict[str, Any]]]]]]:
    """A collector that answers with these statuses, then 200. Gives its address and what it was sent."""
    got: list[tuple[str, list[dict[str, Any]]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers.get("Authorization", ""), [json.loads(line) for line in data.splitlines()]))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/in", got
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [500, 302, 403])
def test_a_collector_gets_the_same_events_again_until_it_takes_them(
    admin_connection: psycopg.Connection, tenant: UUID, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("BYOK_SIEM_TOKEN", "token-of-the-collector")
    with collecting([status]) as (url, got):
        with pytest.raises(CommandError, match=str(status)):
            deliver(url, tenant)
        deliver(url, tenant)
        write(admin_connection, tenant, 2)
        deliver(url, tenant)
    assert [len(events) for _, events in got] == [7, 7, 2]
    assert got[0] == got[1]
    assert {token for token, _ in got} == {"Bearer token-of-the-collector"}
    assert_whole(admin_connection, tenant, got[1][1] + got[2][1])


def test_a_collector_that_is_away_is_tried_again(tenant: UUID) -> None:
    with collecting([]) as (url, _):
        pass
    with pytest.raises(CommandError, match="did not answer"):
        deliver(url, tenant)


@pytest.mark.parametrize(
    "text",
    [
        "http://collector.example/in",
        "http://127.0.0.1.example/in",
        "https://user:password@collector.example/in",
        "https:///in",
        "ftp://127.0.0.1/in",
        "events.jsonl",
        "",
    ],
)
def test_destinations_in_clear_or_unclear_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_destination(text)


def test_good_destinations_are_known() -> None:
    token = Secret("token")
    for url in ("https://collector.example/in", "http://[::1]:80/in", "http://localhost/in"):
        assert parse_destination(url, plaintext=token) == Collector(url, token)
