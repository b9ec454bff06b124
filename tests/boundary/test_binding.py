"""Binding a tenant: only once, before BEGIN, for one transaction; forgetting it raises instead of answering nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections, transaction

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id

if TYPE_CHECKING:
    from tests.world import World


def setting() -> str | None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant_id', true)")
        row = cursor.fetchone()
    assert row is not None
    value: str | None = row[0]
    return value


def test_the_tenant_is_set_for_the_transaction_and_gone_after_it(world: World) -> None:
    tenant = new_id()
    with binding.bind_tenant(tenant), binding.reading():
        assert setting() == str(tenant)
        with transaction.atomic():
            assert setting() == str(tenant)
    assert setting() in ("", None)


def test_a_rolled_back_transaction_leaves_no_tenant_behind(world: World) -> None:
    def fail() -> None:
        with binding.bind_tenant(new_id()), binding.reading():
            setting()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert setting() in ("", None)
    assert binding.find_tenant() is None


def test_another_tenant_inside_is_refused_and_the_same_is_not(world: World) -> None:
    tenant = new_id()
    with binding.bind_tenant(tenant):
        with binding.bind_tenant(tenant):
            assert binding.get_tenant() == tenant
        with pytest.raises(binding.NestedTenantError), binding.bind_tenant(new_id()):
            pass
        assert binding.get_tenant() == tenant


def test_a_tenant_is_not_bound_inside_an_open_transaction(world: World) -> None:
    with transaction.atomic(), pytest.raises(binding.NestedTenantError), binding.bind_tenant(new_id()):
        pass


def test_a_query_outside_the_transaction_raises(world: World) -> None:
    with binding.bind_tenant(new_id()), pytest.raises(binding.UnboundTenantError):
        setting()


def test_a_query_after_the_connection_was_lost_raises(world: World) -> None:
    """A new connection has no tenant; silence from row-level security would look like an empty tenant."""
    with binding.bind_tenant(new_id()):
        with binding.reading():
            setting()
            connections["default"].close()
        with pytest.raises(binding.UnboundTenantError):
            setting()


def test_without_a_tenant_asking_for_it_raises(world: World) -> None:
    assert binding.find_tenant() is None
    with pytest.raises(binding.UnboundTenantError):
        binding.get_tenant()
