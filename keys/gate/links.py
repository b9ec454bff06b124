"""One database connection driven by the event loop, statement by statement, with as little between as libpq allows.

psycopg opens the connection and loads the rows; between, this talks to its libpq binding: per statement, psycopg's own
cursor costs more than the statement. Must never run two statements at once.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import select
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.types.json import set_json_loads

from byok_portal.errors import Unavailable

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
        self._then: Callable[[Rows | psycopg.Error], None] | None = None
        self._result: PGresult | None = None
        self._statement: Statement | None = None
        self._socket = self._pgconn.socket
        self._more = select.poll()
        self._more.register(self._socket, select.POLLIN)
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

    async def run(self, statement: Statement, values: Sequence[bytes | None]) -> Rows:
        """The rows. Raises psycopg.Error: after OperationalError the outcome is unknown and the link is closed."""
        await self.prepare(statement)
        for _ in range(_POOLED):
            try:
                return await self._wait(functools.partial(self.send, statement, values))
            except psycopg.errors.InvalidSqlStatementName:
                # A pooler gave us another server connection than the one that prepared it.
                await self.prepare(statement)
        raise psycopg.errors.InvalidSqlStatementName

    async def prepare(self, statement: Statement) -> None:
        """Make the statement known, so that it can be sent."""
        if statement.handle in self._prepared:
            return
        # Behind a pooler another gate may have prepared it on this connection: the same name is the same SQL.
        with suppress(psycopg.errors.DuplicatePreparedStatement):
            await self._wait(functools.partial(self._send_prepare, statement))
        self._prepared.add(statement.handle)

    def knows(self, statement: Statement) -> bool:
        """Whether it can be sent at once."""
        return statement.handle in self._prepared

    def send(
        self, statement: Statement, values: Sequence[bytes | None], then: Callable[[Rows | psycopg.Error], None]
    ) -> None:
        """Send a prepared statement; `then` is told what `run` would return or raise, once and never before this ends.

        Raises psycopg.OperationalError when it cannot be sent at all.
        """
        self._begin(then, statement)
        formats = (_BINARY,) * len(values)
        self._send(lambda: self._pgconn.send_query_prepared(statement.handle, values, formats, _BINARY))

    def _send_prepare(self, statement: Statement, then: Callable[[Rows | psycopg.Error], None]) -> None:
        self._begin(then)
        self._send(lambda: self._pgconn.send_prepare(statement.handle, statement.sql.encode()))

    async def _wait(self, send: Callable[[Callable[[Rows | psycopg.Error], None]], None]) -> Rows:
        found: asyncio.Future[Rows] = self._loop.create_future()
        send(functools.partial(_settle, found))
        try:
            return await found
        except asyncio.CancelledError:
            # Half a conversation: whatever comes next on this connection belongs to nobody.
            self._break()
            raise

    def _begin(self, then: Callable[[Rows | psycopg.Error], None], statement: Statement | None = None) -> None:
        if self._then is not None:
            message = "one statement at a time"
            raise RuntimeError(message)
        self._then, self._result, self._statement = then, None, statement

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
            if self._pgconn.flush():
                self._loop.add_writer(self._socket, self._on_writable)
        except BaseException:
            self._break()
            raise

    def _load(self, row: int) -> tuple[Any, ...]:
        found: tuple[Any, ...] | None = self._loader.load_row(row, tuple)
        if found is None:
            raise IndexError(row)
        return found

    def _on_writable(self) -> None:
        try:
            self._pgconn.consume_input()  # a server that waits for us to read would not read either
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as error:
            self._fail(error)

    def _on_readable(self) -> None:
        try:
            while not self._take():
                # uvloop tells of a socket in error once: what the server said last is read, and the end behind it too.
                if not self._more.poll(0):
                    return
        except psycopg.OperationalError as error:
            self._fail(error)
            return
        self._tell(self._result)

    def _take(self) -> bool:
        """Whether what has come so far is the whole answer. Nobody may have asked: then the server says goodbye."""
        self._pgconn.consume_input()
        while self._then is not None and not self._pgconn.is_busy():
            found = self._pgconn.get_result()
            if found is None:
                return True
            self._result = found
        return False

    def _tell(self, result: PGresult | None) -> None:
        then, statement = self._then, self._statement
        self._then = self._result = self._statement = None
        if then is None:
            return
        if result is not None and result.status in _GOOD:
            self._loader.set_pgresult(result)
            then(Rows(result, self._load))
            return
        error = psycopg.errors.error_from_result(result) if result else psycopg.OperationalError("no answer")
        if statement is not None and isinstance(error, psycopg.errors.InvalidSqlStatementName):
            self._prepared.discard(statement.handle)
        then(error)

    def _fail(self, error: psycopg.Error) -> None:
        then = self._then
        self._break()
        if then is not None:
            then(error)

    def _break(self) -> None:
        self._then = self._result = self._statement = None
        self._forget_socket()
        self._pgconn.finish()

    def _forget_socket(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)


class Database:
    """A link that is opened when it is needed, and again when it broke."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._link: Link | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a link."""
        return self._link is not None and not self._link.is_closed

    async def get(self) -> Link:
        """Raises Unavailable without a database."""
        if self._link is None or self._link.is_closed:
            try:
                self._link = await Link.open(self._parameters)
            except psycopg.Error:
                raise unreachable() from None
        return self._link

    def find(self) -> Link | None:
        """The link if it is open."""
        return self._link if self.is_open else None

    async def close(self) -> None:
        """Leave."""
        if self._link is not None and not self._link.is_closed:
            await self._link.close()


def _settle(future: asyncio.Future[Rows], found: Rows | psycopg.Error) -> None:
    if future.done():
        return
    if isinstance(found, psycopg.Error):
        future.set_exception(found)
    else:
        future.set_result(found)


def unreachable() -> Unavailable:
    """What everybody is told while there is no database."""
    return Unavailable("The database does not answer.", code="database_unavailable")
