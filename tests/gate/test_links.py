"""A link to the real database: what is large, what breaks, and what is given up half-way."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from keys.gate import arrays
from keys.gate.links import Database, Link, Statement
from tests import environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COUNT = Statement("test_count", "SELECT count(*), sum(length(a)) FROM unnest($1::text[]) a")
SLEEP = Statement("test_sleep", "SELECT pg_sleep(30)")
DIVIDE = Statement("test_divide", "SELECT 1 / ($1::int4[])[1]")
LARGE = 20_000_000
"""More than any socket takes at once."""


def with_link(work: Callable[[Link], Awaitable[Any]]) -> Any:
    """What `work` gives on a link of its own to the test database."""

    async def run() -> Any:
        link = await Link.open({"conninfo": url()})
        try:
            return await asyncio.wait_for(work(link), 30)
        finally:
            if not link.is_closed:
                await link.close()

    return asyncio.run(run())


def url() -> str:
    return f"{os.environ['BYOK_TEST_ADMIN_URL'].rsplit('/', 1)[0]}/{environment.DATABASE}"


def end_sessions(admin: psycopg.Connection, query: str) -> int:
    """Ends the sessions that ran the query last; how many there were."""
    found = admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query = %s AND pid <> pg_backend_pid()",
        [query],
    )
    return found.rowcount


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(holds)


def test_what_a_socket_does_not_take_at_once_is_sent_whole(world: object) -> None:
    async def work(link: Link) -> Any:
        return [(await link.run(COUNT, (arrays.texts(["a" * LARGE, "b"]),))).load(0) for _ in range(2)]

    assert with_link(work) == [(2, LARGE + 1)] * 2


def test_a_statement_that_is_refused_leaves_the_link_as_it_was(world: object) -> None:
    async def work(link: Link) -> Any:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await link.run(DIVIDE, (arrays.integers((0,)),))
        return (await link.run(DIVIDE, (arrays.integers((1,)),))).load(0)

    assert with_link(work) == (1,)


def test_a_statement_that_is_given_up_closes_the_link(world: object) -> None:
    """What comes then on this connection would be taken for the answer to another statement."""

    async def work(link: Link) -> bool:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(link.run(SLEEP, ()), 0.2)
        return link.is_closed

    assert with_link(work)


def test_a_session_that_is_ended_while_it_works_says_so_once(
    world: object, admin_connection: psycopg.Connection
) -> None:
    async def work(link: Link) -> list[Any]:
        await link.prepare(SLEEP)
        told: list[Any] = []
        link.send(SLEEP, (), told.append)
        await until(lambda: end_sessions(admin_connection, SLEEP.sql) > 0)
        await until(lambda: bool(told) and link.is_closed)
        return told

    (error,) = with_link(work)
    assert isinstance(error, psycopg.OperationalError)


def test_a_session_that_is_ended_while_it_is_idle_is_replaced(
    world: object, admin_connection: psycopg.Connection
) -> None:
    async def work() -> Any:
        database = Database({"conninfo": url()})
        link = await database.get()
        await link.run(COUNT, (arrays.texts([]),))
        await until(lambda: end_sessions(admin_connection, COUNT.sql) > 0)
        await until(lambda: database.find() is None)
        again = await database.get()
        assert again is not link
        found = (await again.run(COUNT, (arrays.texts(["a"]),))).load(0)
        await database.close()
        return found

    assert asyncio.run(asyncio.wait_for(work(), 30)) == (1, 1)


def test_two_statements_at_once_are_refused(world: object) -> None:
    async def work(link: Link) -> None:
        await link.prepare(COUNT)
        done = asyncio.get_running_loop().create_future()
        link.send(COUNT, (arrays.texts(["a"]),), done.set_result)
        with pytest.raises(RuntimeError, match="one statement"):
            link.send(COUNT, (arrays.texts(["a"]),), print)
        assert (await done).load(0) == (1, 1)

    with_link(work)
