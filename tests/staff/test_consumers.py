"""Staff register platform-operated systems and hand over their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages

from byok_portal.boundary import directory
from byok_portal.boundary.actors import Origin
from keys.models import Grant
from tenants.models import Consumer, ConsumerToken
from tests.staff.door import address, enter, errors_of, once
from tests.staff.traces import find_in_database

if TYPE_CHECKING:
    import psycopg
    from django.test import Client

    from tests.world import Cast, World


def register(client: Client, cast: Cast, **changes: Any) -> Any:
    values = {
        "tenant": str(cast.id),
        "name": "Billing gateway",
        "kind": "service",
        "environment": "production",
        "operated_by": "platform",
        "contact": "",
        "scopes": ["key:use"],
        "days": "30",
    }
    return client.post(address("tenants_consumer_add"), {**values, **changes})


def test_registering_shows_the_token_once_with_a_call_and_stores_neither(
    world: World, admin_connection: psycopg.Connection
) -> None:
    client, cast = enter(world), world.tenant()
    key = world.key(cast)
    response = register(client, cast)
    html = response.content.decode()
    token = once(html)
    bearer = directory.get().get_bearer(f"Bearer {token}", Origin())
    assert bearer.tenant_id == cast.id
    assert f"curl -sS -X POST http://localhost:8000/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/" in html
    with world.inside(cast):
        consumer = Consumer.objects.get(slug="billing-gateway")
        (stored,) = ConsumerToken.objects.filter(consumer_id=consumer.id)
    assert (consumer.operated_by, stored.scopes, stored.last_four) == ("platform", ["key:use"], token[-4:])
    assert list(get_messages(response.wsgi_request)) == []
    assert find_in_database(admin_connection, token) == []
    assert token not in client.get(address("tenants_consumer_change", consumer.id)).content.decode()
    assert str(LogEntry.objects.get(object_id=str(consumer.id)).content_type) == "Tenants | consumer"


def test_a_refused_token_leaves_no_consumer_behind_and_names_its_field(world: World) -> None:
    client, cast = enter(world), world.tenant()
    for changes, field in (
        ({"days": "5000"}, "days"),
        ({"scopes": []}, "scopes"),
        ({"contact": "nobody"}, "contact"),
    ):
        assert list(errors_of(register(client, cast, **changes))) == [field]
    with world.inside(cast):
        assert Consumer.objects.count() == 0
    assert register(client, cast).status_code == 200
    assert errors_of(register(client, cast)) == {"name": ["Name is taken by another consumer."]}


def test_a_suspended_tenants_systems_get_no_token(world: World) -> None:
    client, cast = enter(world), world.tenant()
    credential = world.consumer(cast)
    chosen = {"action": "suspend", "_selected_action": str(cast.id), "confirmed": "yes"}
    client.post(address("tenants_tenant_changelist"), chosen)
    assert list(errors_of(register(client, cast))) == ["tenant"]
    response = client.post(
        address("tenants_consumer_token", credential.consumer.id), {"scopes": ["key:use"], "days": "30"}
    )
    assert errors_of(response) == {"__all__": ["The tenant is suspended; nothing can be added or changed."]}


def test_a_second_token_is_issued_and_a_third_refused_until_one_is_revoked(
    world: World, admin_connection: psycopg.Connection
) -> None:
    client, cast = enter(world), world.tenant()
    credential = world.consumer(cast)
    url, values = (
        address("tenants_consumer_token", credential.consumer.id),
        {"scopes": ["key:use", "audit:read"], "days": "7"},
    )
    token = once(client.post(url, values).content.decode())
    assert find_in_database(admin_connection, token) == []
    assert "2 live tokens" in errors_of(client.post(url, values))["__all__"][0]
    revoke = address("tenants_consumer_revoke_token", credential.consumer.id, credential.token_id)
    assert client.get(revoke).status_code == 200
    with world.inside(cast):
        assert ConsumerToken.objects.get(id=credential.token_id).revoked_at is None
    assert client.post(revoke, {"confirmed": "yes"}).status_code == 302
    with world.inside(cast):
        assert ConsumerToken.objects.get(id=credential.token_id).revoked_at is not None
    assert "revoked already" in client.post(revoke, {"confirmed": "yes"}, follow=True).content.decode()
    assert once(client.post(url, values).content.decode()) != token


def test_ending_a_consumer_ends_its_tokens_and_grants(world: World) -> None:
    client, cast = enter(world), world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    grant = world.grant(cast, key, credential)
    url = address("tenants_consumer_end", credential.consumer.id)
    assert "1 live grants" in client.get(url).content.decode()
    assert client.post(url, {"reason": "contract_ended"}).status_code == 302
    with world.inside(cast):
        assert Consumer.objects.get(id=credential.consumer.id).state == "ended"
        assert Grant.objects.get(id=grant.id).end_reason == "contract_ended"
        assert ConsumerToken.objects.get(id=credential.token_id).revoked_at is not None
    again = client.post(url, {"reason": "contract_ended"})
    assert errors_of(again) == {"__all__": ["The consumer has ended already."]}


def test_a_token_of_another_consumer_is_not_found(world: World) -> None:
    client, cast, other = enter(world), world.tenant(), world.tenant("globex")
    mine, theirs = world.consumer(cast), world.consumer(other)
    url = address("tenants_consumer_revoke_token", mine.consumer.id, theirs.token_id)
    assert client.post(url, {"confirmed": "yes"}).status_code == 404
    with world.inside(other):
        assert ConsumerToken.objects.get(id=theirs.token_id).revoked_at is None
