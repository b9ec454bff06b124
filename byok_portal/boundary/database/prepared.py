"""Statements that PostgreSQL plans once per connection, not once per use. Must never hold what a statement answered.

Django's backend never prepares, and a pooler in transaction mode must not: it gives each transaction any server
connection. Behind one the same statements run unnamed.
"""

from __future__ import annotations

import hashlib
import re
import select
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg.pq.abc import PGconn, PGresult

Value = UUID | bytes | str | int | None
Row = tuple[Any, ...]

_GOOD: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})
_BINARY: Final = 1
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with `%(name)s` parameters, as Django takes it, and the PostgreSQL type of each."""

    name: str
    sql: str
    types: Mapping[str, str]
    handle: bytes = field(init=False)
    numbered: bytes = field(init=False)
    """The SQL with $1 to $n, in the order of `types`."""

    def __post_init__(self) -> None:
        places = {name: f"${n}::{kind}" for n, (name, kind) in enumerate(self.types.items(), start=1)}
        numbered = _PARAMETER.sub(lambda found: places[found[1]], self.sql)
        digest = hashlib.sha256(numbered.encode()).hexdigest()[:12]
        object.__setattr__(self, "numbered", numbered.encode())
        object.__setattr__(self, "handle", f"{self.name}_{digest}".encode())

    def values(self, values: Mapping[str, Value]) -> list[Any]:
        """Each parameter as PostgreSQL's binary format has it. Raises psycopg.DataError for what it cannot hold."""
        return [_encode(values[name]) for name in self.types]


def say(connection: psycopg.Connection[Any], message: bytes) -> PGresult:
    """Send words of our own, without parameters; other threads run meanwhile. Raises psycopg.Error."""
    _require_open(connection.pgconn)
    return _check(connection.pgconn.exec_(message))


_BEGIN: Final = Statement("begin", "BEGIN READ ONLY", {})
_COMMIT: Final = Statement("commit", "COMMIT", {})


class Shelf:
    """What one connection has prepared. Dies with the connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._pgconn: PGconn = connection.pgconn
        # Not Django's adapters: theirs read text only, and are slower.
        self._loader = Transformer(_Plain(connection))
        self._prepared: set[bytes] = set()
        self._prepares = self._reaches_its_server()

    def run(self, statement: Statement, values: Mapping[str, Value]) -> list[Row]:
        """The rows. Raises psycopg.Error."""
        _require_open(self._pgconn)
        encoded = statement.values(values)
        formats = (_BINARY,) * len(encoded)
        if not self._prepares:
            return self._load(self._pgconn.exec_params(statement.numbered, encoded, None, formats, _BINARY))
        self._prepare(statement)
        return self._load(self._pgconn.exec_prepared(statement.handle, encoded, formats, _BINARY))

    def run_bound(self, finder: Statement, statement: Statement, values: Mapping[str, Value]) -> list[Row]:
        """The rows of `statement`, after `finder` in one read transaction and one round trip. Raises psycopg.Error."""
        _require_open(self._pgconn)
        steps = [(each, each.values(values)) for each in (_BEGIN, finder, statement, _COMMIT)]
        if self._prepares:
            for each, _ in steps:
                self._prepare(each)
        results = self._exchange(steps)
        try:
            for result in results:
                _check(result)
        except psycopg.Error:
            say(self._connection, b"ROLLBACK")
            raise
        return self._load(results[-2])

    def _prepare(self, statement: Statement) -> None:
        if statement.handle not in self._prepared:
            _check(self._pgconn.prepare(statement.handle, statement.numbered))
            self._prepared.add(statement.handle)

    def _exchange(self, steps: Sequence[tuple[Statement, list[Any]]]) -> list[PGresult]:
        """What each was answered; after one that failed the others are answered as not done."""
        pgconn = self._pgconn
        try:
            pgconn.enter_pipeline_mode()
            for statement, values in steps:
                formats = (_BINARY,) * len(values)
                if self._prepares:
                    pgconn.send_query_prepared(statement.handle, values, formats, _BINARY)
                else:
                    pgconn.send_query_params(statement.numbered, values, None, formats, _BINARY)
            pgconn.pipeline_sync()
            results = self._collect()
            pgconn.exit_pipeline_mode()
        except BaseException:
            # Half a conversation: whatever comes next on this connection belongs to nobody.
            pgconn.finish()
            raise
        return results

    def _collect(self) -> list[PGresult]:
        pgconn, ready = self._pgconn, select.poll()
        ready.register(pgconn.socket, select.POLLIN | (select.POLLOUT if pgconn.flush() else 0))
        results: list[PGresult] = []
        while True:
            while pgconn.is_busy():
                ready.poll()  # lets other threads run, as libpq's own waiting here would not
                pgconn.consume_input()
                ready.modify(pgconn.socket, select.POLLIN | (select.POLLOUT if pgconn.flush() else 0))
            result = pgconn.get_result()
            if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
                return results
            if result is not None:
                results.append(result)

    def hears_its_server(self) -> bool:
        """Whether the connection goes straight to its server, and that has not said or done anything unasked."""
        if not self._prepares or self._pgconn.status != ConnStatus.OK:
            return False
        ready = select.poll()
        ready.register(self._pgconn.socket, select.POLLIN)
        return not ready.poll(0)

    def _reaches_its_server(self) -> bool:
        """A pooler tells its clients a number of its own, as cancelling must go through it (see `sessions`)."""
        result = say(self._connection, b"SELECT pg_backend_pid()")
        return result.get_value(0, 0) == str(self._pgconn.backend_pid).encode()

    def _load(self, result: PGresult) -> list[Row]:
        _check(result)
        self._loader.set_pgresult(result)
        rows: Sequence[Row] = self._loader.load_rows(0, result.ntuples, tuple)
        return list(rows)


@dataclass(frozen=True, slots=True)
class _Plain:
    """psycopg's own way of reading values, for this connection."""

    connection: psycopg.Connection[Any]

    @property
    def adapters(self) -> Any:
        return psycopg.adapters


def _require_open(pgconn: PGconn) -> None:
    if pgconn.status != ConnStatus.OK:
        message = "the connection is lost"
        raise psycopg.OperationalError(message)


def _check(result: PGresult) -> PGresult:
    if result.status in _GOOD:
        return result
    if not result.error_field(DiagnosticField.SQLSTATE):
        message = "the connection is lost"
        raise psycopg.OperationalError(message)
    raise psycopg.errors.error_from_result(result)


def _encode(value: Value) -> bytes | None:
    match value:
        case None:
            return None
        case UUID():
            return value.bytes
        case bytes():
            return value
        case int():
            return value.to_bytes(4, "big", signed=True)
        case _:
            if "\0" in value:
                message = "PostgreSQL text fields cannot contain NUL (0x00) bytes"
                raise psycopg.DataError(message)
            return value.encode()
