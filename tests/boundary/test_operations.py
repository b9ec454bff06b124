"""Every declared operation: who may call it, where its doors are, what it must record, what a denial leaves behind."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver

from byok_portal import errors
from byok_portal.boundary import actors, binding, operations
from byok_portal.boundary.actors import Actor, ActorKind, Origin
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.operations import REGISTRY, Absent, Operation
from byok_portal.boundary.permissions import (
    ROLE_PERMISSIONS,
    STAFF_PERMISSIONS,
    TOKEN_PERMISSIONS,
    WORKER_PERMISSIONS,
    Permission,
    Role,
)
from tests.boundary.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import psycopg

    from tests.world import Cast, World


def load_services() -> None:
    """Import every module of services, so that no operation hides until its door is opened."""
    for app in ("audit", "tenants", "keys"):
        package = importlib.import_module(f"{app}.services")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


load_services()
DECLARED = dict(REGISTRY)
each_operation = pytest.mark.parametrize("name", sorted(DECLARED))
HOLDERS = {
    **{f"role {role.value}": permissions for role, permissions in ROLE_PERMISSIONS.items()},
    "staff": STAFF_PERMISSIONS,
    "token": TOKEN_PERMISSIONS,
    "worker": WORKER_PERMISSIONS,
    "invitee": frozenset({Permission.MEMBER_ACCEPT}),
}


def route_names() -> set[str]:
    def walk(patterns: list[Any], prefix: str) -> Iterator[str]:
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, f"{prefix}{pattern.namespace}:" if pattern.namespace else prefix)
            elif isinstance(pattern, URLPattern) and pattern.name:
                yield prefix + pattern.name

    return set(walk(get_resolver().url_patterns, ""))


def everything_else(admin: psycopg.Connection, tenant_id: UUID) -> list[Any]:
    from tests.isolation.populated import rows_of, tenant_models  # noqa: PLC0415  # the app registry must be ready

    models = [model for model in tenant_models() if model._meta.app_label != "audit"]
    return [rows_of(admin, model, tenant_id) for model in models]


def test_the_operations_of_all_apps_are_declared() -> None:
    assert {
        "tenant.open",
        "consumer.register",
        "key.register",
        "key.use",
        "key.revoke",
        "grant.create",
    } <= DECLARED.keys()


@each_operation
def test_an_operation_has_a_permission_that_somebody_holds(name: str) -> None:
    assert isinstance(DECLARED[name].permission, Permission)
    assert [holder for holder, permissions in HOLDERS.items() if DECLARED[name].permission in permissions]


@each_operation
@pytest.mark.parametrize("door", ["page", "api"])
def test_an_operation_has_a_door_or_says_why_not(name: str, door: str) -> None:
    place = getattr(DECLARED[name], door)
    if isinstance(place, Absent):
        assert len(place.reason) > 10
    elif place not in route_names():
        raise NoReverseMatch(place)


@each_operation
def test_an_operation_declares_what_it_records(name: str) -> None:
    events = DECLARED[name].events
    assert events
    for event in events:
        resource, _, fact = event.partition(".")
        assert resource.isidentifier()
        assert fact.replace("_", "").isalpha()


@each_operation
def test_an_operation_takes_an_actor_and_keywords_only(name: str) -> None:
    parameters = list(inspect.signature(DECLARED[name].call).parameters.values())
    assert parameters[0].name == "actor"
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    assert "request" not in {parameter.name for parameter in parameters}


@each_operation
@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_call_what_its_permissions_say_and_nothing_else(name: str, role: Role) -> None:
    tenant = new_id()
    actor = actors.person(new_id(), tenant_id=tenant, role=role, label="", origin=Origin())
    permission = DECLARED[name].permission
    assert actor.permits(permission, tenant) == (permission in ROLE_PERMISSIONS[role])
    assert not actor.permits(permission, new_id())


def test_no_role_writes_what_only_staff_may() -> None:
    only_staff = {
        Permission.TENANT_OPEN,
        Permission.TENANT_SUSPEND,
        Permission.TENANT_OFFBOARD,
        Permission.PROVIDER_EDIT,
        Permission.PLATFORM_POLICY,
    }
    for holder, permissions in HOLDERS.items():
        assert holder == "staff" or not permissions & only_staff
    secrets = {Permission.KEY_REGISTER, Permission.KEY_USE, Permission.KEY_ROTATE, Permission.KEY_ACTIVATE}
    assert not STAFF_PERMISSIONS & secrets


def nobody(tenant_id: UUID) -> Actor:
    """A member without a single permission."""
    return Actor(ActorKind.PERSON, new_id(), tenant_id, frozenset())


def arguments_of(row: Operation) -> dict[str, Any]:
    """Something for every parameter: a denial must come before any of it is looked at."""
    parameters = inspect.signature(row.call).parameters.values()
    return {each.name: new_id() for each in parameters if each.default is each.empty and each.name != "actor"}


@each_operation
def test_a_caller_without_permission_changes_nothing_and_leaves_one_denial(
    shared: Cast, admin_connection: psycopg.Connection, name: str
) -> None:
    row, actor = DECLARED[name], nobody(shared.id)
    before, events = everything_else(admin_connection, shared.id), recorded(admin_connection, shared.id)
    with binding.bind_tenant(shared.id), operations.receipts() as receipts, pytest.raises(errors.Forbidden):
        row.call(actor=actor, **arguments_of(row))
    new = recorded(admin_connection, shared.id)[len(events) :]
    assert new == [(name, "denied", str(actor.id), "permission_denied")]
    assert len(receipts) == 1
    assert everything_else(admin_connection, shared.id) == before


@each_operation
def test_an_actor_of_another_tenant_writes_nothing_into_this_chain(
    shared: Cast, admin_connection: psycopg.Connection, name: str
) -> None:
    row, stranger = DECLARED[name], Actor(ActorKind.PERSON, new_id(), new_id(), frozenset(Permission))
    events = recorded(admin_connection, shared.id)
    with binding.bind_tenant(shared.id), pytest.raises(errors.Forbidden):
        row.call(actor=stranger, **arguments_of(row))
    assert recorded(admin_connection, shared.id) == events
    assert stranger.tenant_id is not None
    assert recorded(admin_connection, stranger.tenant_id) == []


@each_operation
def test_an_operation_without_a_bound_tenant_raises(shared: Cast, name: str) -> None:
    row = DECLARED[name]
    with pytest.raises(binding.UnboundTenantError):
        row.call(actor=shared.actor, **arguments_of(row))


@pytest.fixture(scope="module")
def shared(world_setup: World) -> Cast:
    """One tenant for all denials."""
    return world_setup.tenant()


def test_positional_arguments_are_refused(shared: Cast) -> None:
    with pytest.raises(TypeError):
        DECLARED["key.revoke"].call(shared.actor)
