"""While the database is away or takes no writes, everybody is told to come back; what is our own bug stays a 500."""

from __future__ import annotations

import functools
import json
import os
import select
import tempfile
from contextlib import contextmanager, nullcontext, suppress
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.db import DatabaseError, InternalError, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import Client

from byok_portal.boundary import binding, problems
from byok_portal.boundary.identifiers import new_id
from tests import environment
from tests.gate.test_durability import USE
from tests.pages.browser import BACKEND, at
from tests.scale import pooler
from tests.world import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpResponse

    from tests.world import World

    Ask = Callable[[], Any]
    Attempt = Callable[[World], Iterator[Ask]]

AWAY: Final = (
    *("08000", "08003", "08006", "08P01"),
    *("25006", "25P03", "25P04", "53100", "53200", "53300"),
    *("55000", "57014", "57P01", "57P02", "57P03", "57P05"),
)
OURS: Final = ("22012", "23505", "25P01", "25P02", "26000", "40P01", "42501", "42P01", "55P03", "XX000", "XX001")
DONE: Final = frozenset({200, 302})
COUNTERS: Final = "byok_cache"
"""Where attempts to sign in are counted. One that cannot be counted waits for seconds, and is then one too many."""
PATIENCE: Final = 10.0


@pytest.fixture(autouse=True)
def own_connection(world: World) -> Iterator[None]:
    """What a test does to its connection stays with it."""
    yield
    connections.close_all()


def using(world: World) -> Iterator[Ask]:
    """A use at the API."""
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    client = Client(raise_request_exception=False, headers=credential.headers)
    path = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"
    yield from repeat(lambda: client.post(path, USE, content_type="application/json"))


def listing(world: World) -> Iterator[Ask]:
    """A list at the API, read in one transaction."""
    cast = world.tenant()
    client = Client(raise_request_exception=False, headers=world.consumer(cast, scopes=("key:read",)).headers)
    yield from repeat(lambda: client.get(f"/api/v1/tenants/{cast.slug}/keys/"))


def suspending(world: World) -> Iterator[Ask]:
    """A change on a page."""
    cast = world.tenant()
    client = Client(raise_request_exception=False)
    client.force_login(cast.owner, backend=BACKEND)
    while True:
        path = at("keys:suspend", cast, world.key(cast).slug)
        yield functools.partial(client.post, path, {"note": "Looking into it"})


def signing_in(world: World) -> Iterator[Ask]:
    """A sign-in, which keeps a new session."""
    cast = world.tenant()
    for number in count(1):  # from somewhere else each time: who comes too often is told so
        client = Client(raise_request_exception=False, REMOTE_ADDR=f"192.0.2.{number}")
        yield functools.partial(client.post, "/accounts/login/", {"login": cast.owner.email, "password": PASSWORD})


def assert_come_back(answer: HttpResponse) -> None:
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert "Audit-Id" not in answer
    if answer["Content-Type"] == problems.CONTENT_TYPE:
        assert json.loads(answer.content)["code"] == "database_unavailable"
    else:
        assert b"Back in a moment" in answer.content


@pytest.mark.parametrize("attempt", [using, suspending])
def test_a_database_that_takes_no_writes_says_to_come_back(world: World, attempt: Attempt) -> None:
    asks = attempt(world)
    ask = next(asks)
    refuse_writes(on=True)
    assert_come_back(ask())
    refuse_writes(on=False)
    assert next(asks)().status_code in DONE


def test_nobody_signs_in_while_attempts_cannot_be_counted(world: World) -> None:
    ask = next(signing_in(world))
    refuse_writes(on=True)
    answer = ask()
    assert answer.status_code in {429, 503}
    assert "sessionid" not in answer.cookies


def refuse_writes(*, on: bool) -> None:
    """As a standby does, or a primary that is about to become one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('default_transaction_read_only', %s, false)", ["on" if on else "off"])


@pytest.mark.parametrize(
    ("place", "attempt"),
    [
        *(("PostgreSQL", attempt) for attempt in (using, signing_in)),
        *(("PgBouncer", attempt) for attempt in (using, listing, suspending)),
    ],
)
def test_wherever_a_connection_is_ended_the_answer_says_to_come_back(
    world: World, admin_connection: psycopg.Connection, place: str, attempt: Attempt
) -> None:
    """After each statement in turn, so before each COMMIT too.

    A pooler passes on the server's last words and adds its own: two answers to one COMMIT.
    """
    answers: list[HttpResponse] = []
    with pooled() if place == "PgBouncer" else nullcontext():
        for ask in attempt(world):
            with cutting(admin_connection, len(answers)) as cut:
                answers.append(ask())
            connection.close()  # the next request looks after it, but not in tests
            if not cut:
                break
    assert answers[-1].status_code in DONE
    lost = [answer for answer in answers if answer.status_code not in DONE]
    assert lost
    for each in lost:
        assert_come_back(each)


@contextmanager
def cutting(admin: psycopg.Connection, turn: int) -> Iterator[list[int]]:
    """End the server's side after the statement of that number, and go on when that has arrived here.

    What was ended is in the list.
    """
    cut: list[int] = []
    seen = 0

    def cut_off(execute: Any, sql: Any, params: Any, many: Any, context: dict[str, Any]) -> Any:
        nonlocal seen
        result = execute(sql, params, many, context)
        if COUNTERS not in str(sql):
            if seen == turn:
                end(admin, context["connection"], cut)
            seen += 1
        return result

    with connection.execute_wrapper(cut_off):
        yield cut


def end(admin: psycopg.Connection, wrapper: Any, cut: list[int]) -> None:
    link = wrapper.connection
    found = link.execute("SELECT pg_backend_pid()").fetchone()
    cut.append(found[0])
    admin.execute("SELECT pg_terminate_backend(%s, 5000)", cut)
    # A pooler, which tells a number of its own, says nothing to who is in no transaction.
    if wrapper.in_atomic_block or link.info.backend_pid == cut[0]:
        wait_for_end(link.fileno())


def wait_for_end(descriptor: int) -> None:
    watch = select.poll()
    watch.register(descriptor, select.POLLRDHUP)
    assert watch.poll(PATIENCE * 1000), "the connection is still there"


@contextmanager
def pooled() -> Iterator[None]:
    """The tests' own Django goes to its database by way of PgBouncer."""
    place = urlsplit(os.environ["DATABASE_URL"])
    login, password = place.username or "", place.password or ""
    known = connections.settings["default"]
    with tempfile.TemporaryDirectory(prefix="byok-pool-") as folder:
        Path(folder).chmod(0o711)
        running = pooler.running(
            Path(folder) / "pool", database=environment.DATABASE, passwords={login: password}, primary=place.port or 0
        )
        with running as pool:
            lead({**known, "HOST": "127.0.0.1", "PORT": pool.port, "NAME": "byok"})
            try:
                yield
            finally:
                lead(known)


def lead(place: dict[str, Any]) -> None:
    connections.close_all()
    connections.settings["default"] = place
    with suppress(AttributeError):  # nobody asked for it yet
        del connections["default"]


@pytest.mark.parametrize("state", AWAY)
def test_what_says_that_the_database_is_away_or_read_only_is_told_from_bugs(world: World, state: str) -> None:
    assert problems.is_database_away(raised(state))


@pytest.mark.parametrize("state", OURS)
def test_what_says_anything_else_stays_a_bug(world: World, state: str) -> None:
    assert not problems.is_database_away(raised(state))


def raised(state: str) -> Exception:
    """What Django raises when PostgreSQL fails with this SQLSTATE."""
    with pytest.raises(DatabaseError) as caught, connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'for this test' USING ERRCODE = '{state}'; END $$")
    cause = caught.value.__cause__
    assert isinstance(cause, psycopg.Error)
    assert cause.sqlstate == state
    return caught.value


def test_a_transaction_that_cannot_go_on_is_judged_by_what_broke_it(world: World) -> None:
    assert problems.is_database_away(broken_by("25006"))
    assert not problems.is_database_away(broken_by("23505"))
    assert not problems.is_database_away(TransactionManagementError())


def broken_by(state: str) -> Exception:
    def go_on() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            with pytest.raises(DatabaseError), transaction.mark_for_rollback_on_error():
                cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'for this test' USING ERRCODE = '{state}'; END $$")
            cursor.execute("SELECT 1")

    with pytest.raises(TransactionManagementError) as caught:
        go_on()
    return caught.value


def test_errors_that_psycopg_finds_by_itself_are_told_apart() -> None:
    """PostgreSQL always names a state: without one the conversation broke off, or our code used psycopg wrongly."""
    for away in (psycopg.InternalError, psycopg.DatabaseError, psycopg.OperationalError, psycopg.InterfaceError):
        assert problems.is_database_away(away("received 2 results from command 'COMMIT'"))
    assert not problems.is_database_away(psycopg.ProgrammingError("the query has 2 placeholders but 1 was passed"))
    assert not problems.is_database_away(DatabaseError("Save with update_fields did not affect any rows."))
    assert not problems.is_database_away(ZeroDivisionError())


def test_a_session_that_cannot_be_written_is_not_one_that_was_ended_meanwhile(world: World) -> None:
    """Django tells both with one exception."""
    kept, ended = SessionStore(), SessionStore()
    for session in (kept, ended):
        session.create()
        session["seen"] = True
    SessionStore(ended.session_key).delete()
    with pytest.raises(UpdateError) as deleted:
        ended.save()
    assert not problems.is_database_away(deleted.value)
    refuse_writes(on=True)
    with pytest.raises(UpdateError) as unwritten:
        kept.save()
    assert problems.is_database_away(unwritten.value)


def test_a_transaction_that_could_not_begin_leaves_neither_half_of_it_nor_a_tenant(world: World) -> None:
    tenant = new_id()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    link: Any = connection.connection
    link.execute("BEGIN")
    with pytest.raises(psycopg.DataError):
        link.execute("SELECT 1/0")
    with binding.bind_tenant(tenant), pytest.raises(InternalError), transaction.atomic():
        pass
    assert connection.connection is None
    assert connections["default"].bound_tenant is None  # type: ignore[attr-defined]  # our backend's
    with binding.bind_tenant(tenant), binding.reading(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant_id')")
        assert cursor.fetchone() == (str(tenant),)
