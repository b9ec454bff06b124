"""Staff open, edit, suspend and resume tenants, and invite people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.messages import get_messages
from django.utils import timezone

from audit.models import Entry
from byok_portal.boundary import binding
from tenants.models import Invitation, Membership, Tenant
from tests.staff.door import address, enter, errors_of, once
from tests.staff.traces import find_in_database

if TYPE_CHECKING:
    import psycopg
    from django.test import Client

    from tests.world import Cast, World


def open_tenant(client: Client, world: World, **changes: str) -> tuple[str, Any]:
    slug = world.name("initech")
    values = {"name": "Initech", "slug": slug, "contract_ends_on": "", "owner_email": f"owner@{slug}.example"}
    return slug, client.post(address("tenants_tenant_add"), {**values, **changes})


def state_of(world: World, cast: Cast) -> str:
    with world.inside(cast):
        return Tenant.objects.get(id=cast.id).state


def actions_of(world: World, tenant_id: Any) -> list[str]:
    world.sequence()
    return [entry.action for entry in Entry.objects.using("staff").filter(tenant_id=tenant_id).order_by("tseq")]


def test_opening_a_tenant_shows_its_owners_link_once_and_stores_it_nowhere(
    world: World, admin_connection: psycopg.Connection
) -> None:
    client = enter(world)
    slug, response = open_tenant(client, world, contract_ends_on=str(timezone.now().date() + timedelta(days=200)))
    assert response.status_code == 200
    link = once(response.content.decode())
    assert link.startswith("http://localhost:8000/invitations/")
    token = link.rstrip("/").rsplit("/", 1)[1]
    assert response.content.decode().count(token) == 1
    assert list(get_messages(response.wsgi_request)) == []
    tenant = Tenant.objects.using("staff").get(slug=slug)
    assert tenant.state == "onboarding"
    assert tenant.contract_ends_on is not None
    with binding.use_alias(binding.STAFF):
        member = Membership.objects.get(tenant_id=tenant.id)
        assert Invitation.objects.filter(tenant_id=tenant.id).count() == 1
    assert (member.role, member.is_active) == ("owner", False)
    assert actions_of(world, tenant.id) == ["tenant.opened", "member.invited"]
    assert response["Audit-Id"]
    assert "no-store" in response["Cache-Control"]
    logged = LogEntry.objects.get(object_id=str(tenant.id))
    assert (logged.action_flag, str(logged.content_type)) == (ADDITION, "Tenants | tenant")
    assert find_in_database(admin_connection, token) == []
    assert token not in client.get(address("tenants_tenant_change", tenant.id)).content.decode()
    assert client.get(link).status_code == 200


def test_a_taken_slug_and_a_bad_address_are_errors_of_their_fields(world: World) -> None:
    client, cast = enter(world), world.tenant()
    _slug, response = open_tenant(client, world, slug=cast.slug)
    assert errors_of(response) == {"slug": ["Slug is taken by another tenant."]}
    slug, response = open_tenant(client, world, owner_email="nobody")
    assert errors_of(response) == {"owner_email": ["Owner email must be an e-mail address."]}
    assert not Tenant.objects.using("staff").filter(slug=slug).exists()
    _slug, response = open_tenant(client, world, contract_ends_on="2020-01-01")
    assert list(errors_of(response)) == ["contract_ends_on"]
    _slug, response = open_tenant(client, world, slug="Not A Slug", name="")
    assert list(errors_of(response)) == ["name"]


def test_editing_changes_name_and_contract_end_and_nothing_else(world: World) -> None:
    client, cast = enter(world), world.tenant()
    url, end = address("tenants_tenant_change", cast.id), timezone.now().date() + timedelta(days=30)
    values = {"name": "Renamed", "contract_ends_on": str(end), "slug": "other", "state": "offboarded"}
    assert client.post(url, values).status_code == 302
    with world.inside(cast):
        tenant = Tenant.objects.get(id=cast.id)
    assert (tenant.name, tenant.contract_ends_on, tenant.slug, tenant.state) == (
        "Renamed",
        end,
        cast.slug,
        "active",
    )
    assert actions_of(world, cast.id)[-1] == "tenant.edited"
    assert LogEntry.objects.get(object_id=str(cast.id)).action_flag == CHANGE
    response = client.post(url, {"name": "Renamed", "contract_ends_on": "2020-01-01"})
    assert list(errors_of(response)) == ["contract_ends_on"]


@pytest.mark.parametrize(("action", "state", "event"), [("suspend", "suspended", "tenant.suspended")])
def test_suspending_asks_first_and_resuming_takes_it_back(world: World, action: str, state: str, event: str) -> None:
    client, cast = enter(world), world.tenant()
    url, chosen = address("tenants_tenant_changelist"), {"action": action, "_selected_action": str(cast.id)}
    asked = client.post(url, {**chosen, "index": "0"})
    assert asked.status_code == 200
    assert cast.tenant.name in asked.content.decode()
    assert state_of(world, cast) == "active"
    assert client.post(url, {**chosen, "confirmed": "yes"}).status_code == 302
    assert state_of(world, cast) == state
    assert actions_of(world, cast.id)[-1] == event
    again = client.post(url, {**chosen, "confirmed": "yes"}, follow=True)
    assert "it cannot become suspended" in again.content.decode()
    client.post(url, {**chosen, "action": "resume", "confirmed": "yes"})
    assert state_of(world, cast) == "active"


def test_staff_invite_while_a_tenant_has_no_owner_and_never_after(
    world: World, admin_connection: psycopg.Connection
) -> None:
    client = enter(world)
    slug, _opened = open_tenant(client, world)
    tenant = Tenant.objects.using("staff").get(slug=slug)
    url = address("tenants_tenant_invite", tenant.id)
    response = client.post(url, {"email": f"owner@{slug}.example", "role": "owner"})
    token = once(response.content.decode()).rstrip("/").rsplit("/", 1)[1]
    assert find_in_database(admin_connection, token) == []
    with binding.use_alias(binding.STAFF):
        assert Membership.objects.get(tenant_id=tenant.id).role == "owner"
    cast = world.tenant()
    refused = client.post(
        address("tenants_tenant_invite", cast.id), {"email": "staff@platform.example", "role": "owner"}
    )
    assert errors_of(refused) == {"__all__": ["The tenant has an owner, and owners invite its members."]}
    with world.inside(cast):
        assert Membership.objects.count() == 3


def test_the_list_counts_owners_and_live_keys_and_is_found_by_name(world: World) -> None:
    client, cast = enter(world), world.tenant()
    world.key(cast)
    response = client.get(address("tenants_tenant_changelist"), {"q": cast.slug, "state": "active"})
    (row,) = response.context["cl"].result_list
    assert (row.id, row.owners, row.live_keys) == (cast.id, 2, 1)
    assert (
        client.get(address("tenants_tenant_changelist"), {"q": cast.slug, "state": "suspended"})
        .context["cl"]
        .result_count
        == 0
    )
