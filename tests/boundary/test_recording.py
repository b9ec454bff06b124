"""No record, no action: what happens to a change when its operation records nothing, the wrong thing, or crashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from audit.services.recording import Target, append
from byok_portal import errors
from byok_portal.boundary import binding, operations
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.operations import REGISTRY, Absent, NothingRecordedError
from byok_portal.boundary.permissions import Permission
from tenants.models import Consumer
from tests.boundary.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from byok_portal.boundary.actors import Actor
    from tests.world import Cast, World

STARTING_EVENTS = ("tenant.opened", "member.invited", "member.joined", "tenant.activated")

Act = Callable[..., None]
Declare = Callable[[str], Callable[[Act], Act]]


@pytest.fixture
def declare() -> Iterator[Declare]:
    """Declares an operation that is forgotten after the test."""
    before = dict(REGISTRY)

    def declare_for_this_test(name: str) -> Callable[[Act], Act]:
        return operations.operation(
            name,
            permission=Permission.CONSUMER_REGISTER,
            events=("consumer.registered",),
            page=Absent("only for this test"),
            api=Absent("only for this test"),
        )

    yield declare_for_this_test
    REGISTRY.clear()
    REGISTRY.update(before)


def add_consumer() -> Consumer:
    consumer = Consumer(name="Reports", slug="reports", environment="production")
    consumer.save(force_insert=True)
    return consumer


def consumers_of(cast: Cast) -> int:
    with binding.bind_tenant(cast.id), binding.reading():
        return Consumer.objects.count()


def test_an_operation_that_records_nothing_is_rolled_back(world: World, declare: Declare) -> None:
    cast = world.tenant()

    @declare("test.silent")
    def silent(*, actor: Actor) -> None:
        add_consumer()

    with binding.bind_tenant(cast.id), pytest.raises(NothingRecordedError):
        silent(actor=cast.actor)
    assert consumers_of(cast) == 0


def test_an_operation_that_records_something_undeclared_is_rolled_back(
    world: World, declare: Declare, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    before = recorded(admin_connection, cast.id)

    @declare("test.liar")
    def liar(*, actor: Actor) -> None:
        consumer = add_consumer()
        append(actor=actor, action="consumer.ended", target=Target("consumer", consumer.id))

    with binding.bind_tenant(cast.id), pytest.raises(NothingRecordedError):
        liar(actor=cast.actor)
    assert consumers_of(cast) == 0
    assert recorded(admin_connection, cast.id) == before


def test_a_refusal_rolls_the_change_back_and_is_recorded(
    world: World, declare: Declare, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    before = recorded(admin_connection, cast.id)

    @declare("test.refusing")
    def refusing(*, actor: Actor) -> None:
        consumer = add_consumer()
        append(actor=actor, action="consumer.registered", target=Target("consumer", consumer.id))
        raise errors.Refused(code="too_late")

    with binding.bind_tenant(cast.id), pytest.raises(errors.Refused):
        refusing(actor=cast.actor)
    assert consumers_of(cast) == 0
    new = recorded(admin_connection, cast.id)[len(before) :]
    assert new == [("test.refusing", "denied", str(cast.actor.id), "too_late")]


def test_a_crash_after_the_record_takes_the_record_with_it(
    world: World, declare: Declare, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    before = recorded(admin_connection, cast.id)

    @declare("test.crashing")
    def crashing(*, actor: Actor) -> None:
        append(actor=actor, action="consumer.registered", target=Target("consumer", add_consumer().id))
        raise ZeroDivisionError

    with binding.bind_tenant(cast.id), pytest.raises(ZeroDivisionError):
        crashing(actor=cast.actor)
    assert consumers_of(cast) == 0
    assert recorded(admin_connection, cast.id) == before


def test_an_operation_cannot_bind_another_tenant(world: World, declare: Declare) -> None:
    cast = world.tenant()

    @declare("test.wandering")
    def wandering(*, actor: Actor) -> None:
        with binding.bind_tenant(new_id()):
            add_consumer()

    with binding.bind_tenant(cast.id), pytest.raises(binding.NestedTenantError):
        wandering(actor=cast.actor)


def test_an_event_outside_a_transaction_is_refused(world: World) -> None:
    cast = world.tenant()
    with binding.bind_tenant(cast.id), pytest.raises(NothingRecordedError):
        append(actor=cast.actor, action="consumer.registered", target=Target("consumer", new_id()))


def test_a_name_is_declared_once(declare: Declare) -> None:
    with pytest.raises(ValueError, match="declared twice"):
        declare("key.revoke")(lambda: None)


def test_a_new_tenants_chain_begins_with_its_opening(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    assert tuple(event[0] for event in recorded(admin_connection, cast.id)[:4]) == STARTING_EVENTS
