"""Django's PostgreSQL backend plus one thing: BEGIN carries the bound tenant. It never binds for a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.backends.postgresql import base

from byok_portal.boundary import binding

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID


def begin_statement(tenant_id: UUID | None) -> str:
    """`SET LOCAL` rather than `set_config()`: the form that poolers and sharding proxies forward (measured.md 2.3)."""
    return f"BEGIN; SET LOCAL app.tenant_id = '{tenant_id}'" if tenant_id else "BEGIN"


class DatabaseWrapper(base.DatabaseWrapper):
    """psycopg stays in autocommit; transactions start with one explicit message, which saves a round trip."""

    bound_tenant: UUID | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        connection.autocommit = True
        if self.refuse_unbound not in self.execute_wrappers:
            self.execute_wrappers.append(self.refuse_unbound)
        return connection

    def _set_autocommit(self, autocommit: bool) -> None:  # noqa: FBT001  # Django's signature
        if autocommit:
            self.bound_tenant = None
            return
        self.bound_tenant = binding.find_tenant()
        with self.wrap_database_errors:
            self.connection.execute(begin_statement(self.bound_tenant))

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
