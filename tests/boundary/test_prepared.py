"""Prepared statements: planned once per connection, bound like any other, and never prepared at a pooler."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from django.db import DataError, OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from byok_portal.boundary import binding
from byok_portal.boundary.database.base import DatabaseWrapper
from byok_portal.boundary.database.prepared import Statement, Value
from tenants import directory, tokens
from tests.scale import pooler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from tests.world import Credential, World

OFTEN: Final = 8
"""More often than PostgreSQL makes a plan for the values at hand."""
WHO: Final = Statement("test_who", "SELECT id FROM tenants_tenant", {})
QUOTIENT: Final = Statement("test_quotient", "SELECT 12 / %(by)s", {"by": "integer"})
ECHO: Final = Statement(
    "test_echo",
    "SELECT %(text)s, %(blob)s, %(number)s, %(nothing)s",
    {"text": "text", "blob": "bytea", "number": "integer", "nothing": "uuid"},
)
VALUES: Final[dict[str, Value]] = {
    "text": "it's \\ 'quoted' ü",
    "blob": bytes(range(256)),
    "number": -7,
    "nothing": None,
}
PREPARED: Final = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
def pooled(world: World) -> Iterator[DatabaseWrapper]:
    """The web's login by way of PgBouncer."""
    place = urlsplit(os.environ["DATABASE_URL"])
    login, name = place.username or "", place.path.removeprefix("/")
    with tempfile.TemporaryDirectory(prefix="byok-pool-") as folder:
        Path(folder).chmod(0o711)
        running = pooler.running(
            Path(folder) / "pool", database=name, passwords={login: place.password or ""}, primary=place.port or 0
        )
        with running as pool:
            there = {"HOST": "127.0.0.1", "PORT": pool.port, "NAME": "byok_one"}
            wrapper = DatabaseWrapper({**connections["default"].settings_dict, **there}, alias="default")
            try:
                yield wrapper
            finally:
                wrapper.close()


@pytest.fixture
def direct(world: World) -> Iterator[Any]:
    """A fresh connection, which is closed again."""
    connections["default"].close()
    yield connections["default"]
    connections["default"].close()


def count_prepared(wrapper: Any) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute(PREPARED)
        return int(cursor.fetchone()[0])


def ask_bearer(wrapper: Any, token: str) -> list[tuple[Any, ...]]:
    digest = tokens.digest(tokens.parse(token))
    rows: list[tuple[Any, ...]] = wrapper.ask_as_found(directory.FINDER, directory.BEARER, {"digest": digest})
    return rows


def setting(wrapper: Any) -> str | None:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant_id', true)")
        found: str | None = cursor.fetchone()[0]
    return found


def a_credential(world: World) -> Credential:
    return world.consumer(world.tenant())


def test_a_statement_is_prepared_once_and_gives_back_what_it_was_given(direct: Any) -> None:
    assert [direct.ask(ECHO, VALUES) for _ in range(OFTEN)] == [[tuple(VALUES.values())]] * OFTEN
    assert count_prepared(direct) == 1


def test_behind_a_pooler_nothing_is_prepared_and_answers_are_the_same(
    pooled: DatabaseWrapper, direct: Any, world: World
) -> None:
    credential = a_credential(world)
    for _ in range(OFTEN):
        assert pooled.ask(ECHO, VALUES) == direct.ask(ECHO, VALUES)
        assert ask_bearer(pooled, credential.token) == ask_bearer(direct, credential.token) != []
    assert count_prepared(pooled) == 0
    assert count_prepared(direct) > 0
    assert setting(pooled) in ("", None)


def test_one_plan_shows_each_tenant_its_own_rows(direct: Any, world: World) -> None:
    casts = [world.tenant(), world.tenant()]
    for cast in casts * OFTEN:
        with binding.bind_tenant(cast.id), binding.reading():
            assert direct.ask(WHO, {}) == [(cast.id,)]
    assert direct.ask(WHO, {}) == []


def test_a_prepared_statement_outside_its_tenants_transaction_raises(direct: Any, world: World) -> None:
    with binding.bind_tenant(world.tenant().id), pytest.raises(binding.UnboundTenantError):
        direct.ask(WHO, {})


def test_a_token_is_looked_up_only_where_nobody_is_bound(direct: Any, world: World) -> None:
    cast = world.tenant()
    credential = world.consumer(cast)
    with binding.bind_tenant(cast.id), pytest.raises(binding.NestedTenantError):
        ask_bearer(direct, credential.token)
    with transaction.atomic(), pytest.raises(binding.NestedTenantError):
        ask_bearer(direct, credential.token)


def test_looking_a_token_up_binds_its_tenant_for_no_longer(direct: Any, world: World) -> None:
    credential = a_credential(world)
    assert [row[2] for row in ask_bearer(direct, credential.token)] == [credential.token_id]
    assert setting(direct) in ("", None)
    assert ask_bearer(direct, tokens.issue().plaintext.reveal_text()) == []
    assert direct.ask(WHO, {}) == []


def test_a_look_up_that_fails_leaves_no_transaction_and_no_tenant_behind(direct: Any, world: World) -> None:
    credential = a_credential(world)
    values = {"digest": tokens.digest(tokens.parse(credential.token))}
    wrong = Statement("test_wrong", "SELECT 1 / length(%(digest)s) - 1 / (length(%(digest)s) - 32)", directory.DIGEST)
    for _ in range(2):
        with pytest.raises(DataError):
            direct.ask_as_found(directory.FINDER, wrong, values)
        assert setting(direct) in ("", None)
        assert ask_bearer(direct, credential.token)


def test_an_error_is_djangos_and_breaks_its_transaction(direct: Any) -> None:
    with pytest.raises(DataError):
        direct.ask(ECHO, {**VALUES, "text": "a\0b"})
    assert direct.ask(QUOTIENT, {"by": 4}) == [(3,)]
    with pytest.raises(DataError), transaction.atomic():
        direct.ask(QUOTIENT, {"by": 0})
    with transaction.atomic():
        with pytest.raises(DataError), transaction.atomic():
            direct.ask(QUOTIENT, {"by": 0})
        assert direct.ask(QUOTIENT, {"by": 3}) == [(4,)]


def test_whoever_counts_statements_sees_it(direct: Any) -> None:
    with CaptureQueriesContext(direct) as queries:
        direct.ask(QUOTIENT, {"by": 4})
    assert [query["sql"] for query in queries] == [QUOTIENT.sql]


def test_a_connection_that_the_server_ended_is_noticed_before_it_is_used(
    direct: Any, admin_connection: psycopg.Connection
) -> None:
    for _ in range(2):
        assert direct.ask(QUOTIENT, {"by": 4}) == [(3,)]
        end(direct, admin_connection)
        direct.health_check_done = False  # as when a request begins
    assert direct.ask(QUOTIENT, {"by": 4}) == [(3,)]


@pytest.mark.parametrize("how", ["ask", "look up", "begin", "commit"])
def test_a_connection_that_ends_in_use_is_an_operational_error_and_the_next_one_works(
    direct: Any, admin_connection: psycopg.Connection, how: str
) -> None:
    def change() -> None:
        with transaction.atomic():
            direct.ask(QUOTIENT, {"by": 4})
            if how == "commit":
                end(direct, admin_connection)

    direct.ask(QUOTIENT, {"by": 4})
    if how != "commit":
        end(direct, admin_connection)
    calls: dict[str, Callable[[], Any]] = {
        "ask": lambda: direct.ask(QUOTIENT, {"by": 4}),
        "look up": lambda: ask_bearer(direct, tokens.issue().plaintext.reveal_text()),
    }
    with pytest.raises(OperationalError):
        calls.get(how, change)()
    direct.close_if_unusable_or_obsolete()
    assert direct.ask(QUOTIENT, {"by": 4}) == [(3,)]


def end(wrapper: Any, admin: psycopg.Connection) -> None:
    admin.execute("SELECT pg_terminate_backend(%s, 5000)", [wrapper.connection.info.backend_pid])
