"""One database connection driven by the event loop, statement by statement, with as little between as libpq allows.

psycopg opens the connection and loads the rows; between, this talks to its libpq binding: per statement, psycopg's own
cursor costs more than the statement. Must never run two statements at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.types.json import set_json_loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from psycopg.pq.abc import PGresult

_GOOD: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})
_BINARY: Final = 1
_POOLED: Final = 32
"""So many server connections of a pooler may not know a statement yet."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with $1 to $n; prepared once per connection, under a name of its own. Parameters are binary."""

    name: str
    sql: str
    handle: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.sql.encode()).hexdigest()[:12]
        object.__setattr__(self, "handle", f"{self.name}_{digest}".encode())


class Rows:
    """What a statement answered: as the bytes that came, and as Python values where those are needed."""

    __slots__ = ("_load", "_result", "count")

    def __init__(self, result: PGresult, load: Callable[[int], tuple[Any, ...]]) -> None:
        self._result, self._load = result, load
        self.count = result.ntuples

    def raw(self, row: int, column: int) -> bytes:
        """A value that is not null, binary as it came: equal bytes are equal values."""
        return self._result.get_value(row, column) or b""

    def load(self, row: int) -> tuple[Any, ...]:
        """The row's values. Only until the link runs its next statement."""
        return self._load(row)


class Link:
    """Opened by `open`; anything that goes wrong below SQL closes it for good."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._loader = Transformer(connection)
        self._prepared: set[bytes] = set()
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._socket = self._pgconn.socket
        self._loop.add_reader(self._socket, self._on_readable)

    @classmethod
    async def open(cls, parameters: Mapping[str, Any]) -> Link:
        """Connect; raises psycopg.OperationalError."""
        connection = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
        set_json_loads(msgspec.json.decode, connection)
        return cls(connection)

    @property
    def is_closed(self) -> bool:
        """Whether it broke; then open another."""
        return self._connection.closed

    async def close(self) -> None:
        """Leave."""
        self._forget_socket()
        await self._connection.close()

    async def run(
        self, statement: Statement, values: Sequence[bytes | None], *, meanwhile: Callable[[], None] | None = None
    ) -> Rows:
        """The rows. Raises psycopg.Error: after OperationalError the outcome is unknown and the link is closed.

        `meanwhile` is called while the database works.
        """
        if statement.handle not in self._prepared:
            await self._prepare(statement)
        for _ in range(_POOLED):
            try:
                result = await self._exchange(self._sending(statement, values), meanwhile)
            except psycopg.errors.InvalidSqlStatementName:
                # A pooler gave us another server connection than the one that prepared it.
                await self._prepare(statement)
            else:
                self._loader.set_pgresult(result)
                return Rows(result, self._load)
        raise psycopg.errors.InvalidSqlStatementName

    async def _prepare(self, statement: Statement) -> None:
        # Behind a pooler another gate may have prepared it on this connection: the same name is the same SQL.
        with suppress(psycopg.errors.DuplicatePreparedStatement):
            await self._exchange(lambda: self._pgconn.send_prepare(statement.handle, statement.sql.encode()))
        self._prepared.add(statement.handle)

    def _sending(self, statement: Statement, values: Sequence[bytes | None]) -> Callable[[], None]:
        formats = (_BINARY,) * len(values)
        return lambda: self._pgconn.send_query_prepared(statement.handle, values, formats, _BINARY)

    def _load(self, row: int) -> tuple[Any, ...]:
        found: tuple[Any, ...] | None = self._loader.load_row(row, tuple)
        if found is None:
            raise IndexError(row)
        return found

    async def _exchange(self, send: Callable[[], None], meanwhile: Callable[[], None] | None = None) -> Any:
        try:
            send()
            while self._pgconn.flush():
                await self._writable()
            if meanwhile is not None:
                meanwhile()
            result = None
            while True:
                while self._pgconn.is_busy():
                    self._waiter = self._loop.create_future()
                    await self._waiter
                    self._waiter = None
                    self._pgconn.consume_input()
                found = self._pgconn.get_result()
                if found is None:
                    break
                result = found
        except BaseException:
            # Half a conversation: whatever comes next on this connection belongs to nobody.
            self._forget_socket()
            self._pgconn.finish()
            raise
        if result is None or result.status not in _GOOD:
            raise psycopg.errors.error_from_result(result) if result else psycopg.OperationalError("no answer")
        return result

    async def _writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._socket, _finish, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._socket)
        self._pgconn.consume_input()  # a server that waits for us to read would not read either

    def _on_readable(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        elif waiter is None:
            # Nobody asked: the server says goodbye, or something is wrong. The next statement would notice too late.
            self._check_idle()

    def _check_idle(self) -> None:
        try:
            self._pgconn.consume_input()
        except psycopg.OperationalError:
            self._forget_socket()
            self._pgconn.finish()

    def _forget_socket(self) -> None:
        self._loop.remove_reader(self._socket)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
