"""Which tenant the current work belongs to. Only the doors bind one; the database enforces it (forced RLS).

Binding sets a context variable; the database backend turns it into `SET LOCAL app.tenant_id` in the same message as
BEGIN, so it survives a transaction-mode pooler and ends with the transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

DEFAULT = "default"
STAFF = "staff"
REPLICA = "replica"
TENANTS = frozenset({DEFAULT, REPLICA})
"""Aliases whose login sees the bound tenant and nothing else."""

_tenant: ContextVar[UUID | None] = ContextVar("byok_tenant", default=None)
_alias: ContextVar[str] = ContextVar("byok_database", default=DEFAULT)


class UnboundTenantError(RuntimeError):
    """Code reached a tenant's data without a door having bound the tenant. Always a bug."""


class NestedTenantError(RuntimeError):
    """A second tenant was bound inside the first. Always a bug."""


def find_tenant() -> UUID | None:
    """The bound tenant, or None."""
    return _tenant.get()


def get_tenant() -> UUID:
    """The bound tenant. Raises UnboundTenantError."""
    tenant_id = _tenant.get()
    if tenant_id is None:
        message = "no tenant is bound: only a door may bind one"
        raise UnboundTenantError(message)
    return tenant_id


@contextmanager
def bind_tenant(tenant_id: UUID) -> Iterator[None]:
    """Bind the tenant for the block. Raises NestedTenantError for another tenant or inside an open transaction."""
    current = _tenant.get()
    if current == tenant_id:
        yield
        return
    if current is not None:
        message = "another tenant is bound already"
        raise NestedTenantError(message)
    if connections[DEFAULT].in_atomic_block:
        message = "a transaction is open: the tenant must be bound before BEGIN"
        raise NestedTenantError(message)
    token = _tenant.set(tenant_id)
    try:
        yield
    finally:
        _tenant.reset(token)


@contextmanager
def reading() -> Iterator[None]:
    """A transaction for reads under the bound tenant. Pages render inside it."""
    with transaction.atomic(using=_alias.get()):
        yield


def get_alias() -> str:
    """The database alias that models of the portal use now."""
    return _alias.get()


@contextmanager
def use_alias(alias: str) -> Iterator[None]:
    """Send the portal's models to `alias`: the staff door reads as `byok_staff`, operations write as `byok_app`."""
    token = _alias.set(alias)
    try:
        yield
    finally:
        _alias.reset(token)
