"""The first event of a request goes by the request's own id; no id ever names two events."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from django.db import transaction
from django.test import RequestFactory

from audit.services.recording import Target, append
from byok_portal.boundary import actors, binding
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.requests import origin_of
from tests.audit.recordings import act, body_of

if TYPE_CHECKING:
    import psycopg
    from django.http import HttpRequest

    from byok_portal.boundary.actors import Actor
    from tests.world import Cast, World


def request_to(address: str = "203.0.113.7") -> HttpRequest:
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    request.META["byok.request_id"] = str(new_id())
    return request


def member(cast: Cast, request: HttpRequest) -> Actor:
    actor = cast.actor
    return actors.Actor(actor.kind, actor.id, actor.tenant_id, actor.permissions, actor.label, origin_of(request))


def test_the_first_event_of_a_request_goes_by_its_id(world: World, admin_connection: psycopg.Connection) -> None:
    cast, request = world.tenant(), request_to()
    request_id = request.META["byok.request_id"]
    events = [act(cast, member(cast, request)) for _ in range(3)]
    assert str(events[0]) == request_id
    assert len(set(events)) == 3
    assert [body_of(admin_connection, event)["req"] for event in events] == ["", request_id, request_id]


def test_an_id_that_was_rolled_back_is_not_used_again(world: World) -> None:
    cast, request = world.tenant(), request_to()
    actor = member(cast, request)
    with binding.bind_tenant(cast.id), binding.reading():
        append(actor=actor, action="consumer.registered", target=Target("consumer", new_id()))
        transaction.set_rollback(True, using=binding.DEFAULT)
    assert str(act(cast, actor)) != request.META["byok.request_id"]


def test_an_id_nobody_vouches_for_is_no_event_id(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    for claimed in (str(new_id()), "not an id"):
        plain = cast.actor
        origin = actors.Origin(request_id=claimed)
        event = act(cast, actors.Actor(plain.kind, plain.id, plain.tenant_id, plain.permissions, "", origin))
        assert str(event) != claimed
        assert body_of(admin_connection, event)["req"] == claimed


def test_threads_of_one_request_never_share_an_event_id() -> None:
    request, taken = request_to(), []
    barrier = threading.Barrier(8, timeout=10)

    def ask() -> None:
        barrier.wait()
        once = origin_of(request).first_event
        taken.append(once is not None and once.take())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]
