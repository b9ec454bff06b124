"""Django's PostgreSQL backend plus one thing: BEGIN carries the bound tenant. It never binds for a session."""

from __future__ import annotations

import functools
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.db import Error
from django.db.backends.postgresql import base
from django.db.backends.utils import debug_transaction
from psycopg.pq import TransactionStatus

from byok_portal.boundary import binding
from byok_portal.boundary.database.prepared import Shelf, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    from byok_portal.boundary.database.prepared import Row, Statement, Value


_ONE: Final = False
"""What wrappers of statements are told in place of `many`."""


def begin_statement(tenant_id: UUID | None) -> str:
    """`SET LOCAL` rather than `set_config()`: the form that poolers and sharding proxies forward (measured.md 2.3)."""
    return f"BEGIN; SET LOCAL app.tenant_id = '{tenant_id}'" if tenant_id else "BEGIN"


class DatabaseWrapper(base.DatabaseWrapper):
    """psycopg stays in autocommit; transactions start with one explicit message, which saves a round trip."""

    bound_tenant: UUID | None = None
    health_check_done: bool
    _shelf: Shelf | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        connection.autocommit = True
        self._shelf = None
        if self.refuse_unbound not in self.execute_wrappers:
            self.execute_wrappers.append(self.refuse_unbound)
        return connection

    def _set_autocommit(self, autocommit: bool) -> None:  # noqa: FBT001  # Django's signature
        if autocommit:
            self.bound_tenant = None
            return
        tenant_id = binding.find_tenant()
        try:
            with self.wrap_database_errors:
                say(self.connection, begin_statement(tenant_id).encode())
        except Error:
            # Whether a transaction is open there, nobody knows: what comes next must not run in half of one.
            self.close()
            raise
        self.bound_tenant = tenant_id

    def _commit(self) -> None:
        # psycopg's own way of saying BEGIN and COMMIT costs more than the server's part of them.
        if self.connection is not None:
            with debug_transaction(self, "COMMIT"), self.wrap_database_errors:
                if self.connection.info.transaction_status != TransactionStatus.IDLE:
                    say(self.connection, b"COMMIT")

    def close_if_health_check_failed(self) -> None:
        """Mostly without a question: a server that ends a connection says so or hangs up, which can be heard.

        A pooler keeps quiet about a server that it lost, so through one the question is asked.
        """
        if self.connection is not None and self._shelf is not None and not self.health_check_done:
            self.health_check_done = self._shelf.hears_its_server()
        super().close_if_health_check_failed()

    def ask(self, statement: Statement, values: Mapping[str, Value]) -> list[Row]:
        """The rows of a prepared statement. To wrappers, guards and callers it is like any other."""
        return self._ask(statement, values, Shelf.run)

    def ask_as_found(self, finder: Statement, statement: Statement, values: Mapping[str, Value]) -> list[Row]:
        """The rows of `statement` in a transaction of its own, as the tenant that `finder` binds; none is bound yet.

        One round trip. Raises NestedTenantError inside a transaction or where a tenant is bound.
        """
        if self.in_atomic_block or binding.find_tenant() is not None:
            message = "a tenant is bound or a transaction is open: nobody's tenant can be looked up here"
            raise binding.NestedTenantError(message)
        return self._ask(statement, values, lambda shelf, *asked: shelf.run_bound(finder, *asked))

    def _ask(self, statement: Statement, values: Mapping[str, Value], run: Callable[..., list[Row]]) -> list[Row]:
        self.close_if_health_check_failed()
        self.ensure_connection()
        self.validate_thread_sharing()

        def execute(_sql: str, values: Mapping[str, Value], *_: Any) -> list[Row]:
            self.validate_no_broken_transaction()
            with self.wrap_database_errors:
                if self._shelf is None:
                    self._shelf = Shelf(self.connection)
                return run(self._shelf, statement, values)

        wrapped: Callable[..., list[Row]] = execute
        for wrapper in reversed(self.execute_wrappers):
            wrapped = functools.partial(wrapper, wrapped)
        with self._logged(statement):
            return wrapped(statement.sql, values, _ONE, {"connection": self, "cursor": None})

    @contextmanager
    def _logged(self, statement: Statement) -> Iterator[None]:
        """In the list of those who count statements, such as tests."""
        started = time.monotonic()
        try:
            yield
        finally:
            if self.queries_logged:
                self.queries_log.append({"sql": statement.sql, "time": f"{time.monotonic() - started:.3f}"})

    def refuse_unbound(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,  # noqa: FBT001  # Django's signature
        context: dict[str, Any],
    ) -> Any:
        """Raise where row-level security would answer with silence: a query outside the tenant's transaction."""
        tenant_id = binding.find_tenant()
        if tenant_id is not None and self.alias in binding.TENANTS and self.bound_tenant != tenant_id:
            message = "a tenant is bound, but this query runs outside its transaction"
            raise binding.UnboundTenantError(message)
        return execute(sql, params, many, context)
