"""Staff add providers of their own and switch shipped ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry

from audit import words
from audit.models import Entry
from byok_portal.boundary.identifiers import PLATFORM
from keys.models import Provider
from tests.staff.door import address, enter, errors_of

if TYPE_CHECKING:
    from tests.world import World


def document(world: World, **changes: Any) -> dict[str, Any]:
    shipped = Provider.objects.using("staff").get(slug="stripe").document
    return {**shipped, "slug": world.name("own"), "name": "Own provider", **changes}


def test_an_added_provider_is_stored_and_recorded_in_the_platforms_chain(world: World) -> None:
    client, entry = enter(world), document(world)
    response = client.post(
        address("keys_provider_add"), {"document": json.dumps(entry), "allow_private_networks": "on"}
    )
    assert response.status_code == 302
    provider = Provider.objects.using("staff").get(slug=entry["slug"])
    assert (provider.source, provider.name, provider.allow_private_networks) == (
        "staff",
        "Own provider",
        True,
    )
    world.sequence()
    recorded = Entry.objects.using("staff").get(tenant_id=PLATFORM, leaf__contains=words.target_is(provider.id))
    assert (recorded.action, str(recorded.event_id)) == ("provider.added", response["Audit-Id"])
    assert str(LogEntry.objects.get(object_id=str(provider.id)).content_type) == "Keys | provider"
    taken = client.post(address("keys_provider_add"), {"document": json.dumps(entry)})
    assert errors_of(taken) == {"document": ["Slug is taken by another provider. (rule: slug_taken)"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "This is not JSON"),
        ("[]", "JSON object"),
        ('{"name": NaN}', "cannot be stored|can be stored"),
        ("[" * 100_000, "can be stored"),
        ('{"name": "\\u0000"}', "NUL"),
        ('{"name": "\\ud800"}', "can be stored"),
        ('{"slug": "own"}', "name: is required (rule: missing)"),
    ],
)
def test_a_broken_document_is_an_error_that_names_field_and_rule(world: World, text: str, says: str) -> None:
    response = enter(world).post(address("keys_provider_add"), {"document": text})
    (problem,) = errors_of(response)["document"]
    assert any(each in problem for each in says.split("|"))


def test_a_wrong_field_is_named_with_its_path(world: World) -> None:
    entry = document(world)
    entry["scopes"] = [{**entry["scopes"][0], "risk": "high"}, *entry["scopes"][1:]]
    response = enter(world).post(address("keys_provider_add"), {"document": json.dumps(entry)})
    (problem,) = errors_of(response)["document"]
    assert problem.startswith("scopes[0].risk:")
    assert "(rule: wrong_type)" in problem


def test_a_shipped_entry_is_switched_and_its_document_stays(world: World) -> None:
    client, provider = enter(world), Provider.objects.using("staff").get(slug="slack")
    url = address("keys_provider_change", provider.id)
    assert client.post(url, {"allow_private_networks": "on", "document": "{}"}).status_code == 302
    changed = Provider.objects.using("staff").get(id=provider.id)
    assert (changed.is_enabled, changed.allow_private_networks) == (False, True)
    assert changed.document == provider.document
    client.post(url, {"is_enabled": "on"})
    assert Provider.objects.using("staff").get(id=provider.id).is_enabled


def test_an_entry_of_staffs_own_is_edited_but_keeps_its_slug(world: World) -> None:
    client, entry = enter(world), document(world)
    client.post(address("keys_provider_add"), {"document": json.dumps(entry)})
    provider = Provider.objects.using("staff").get(slug=entry["slug"])
    url = address("keys_provider_change", provider.id)
    client.post(url, {"is_enabled": "on", "document": json.dumps({**entry, "name": "Better name"})})
    assert Provider.objects.using("staff").get(id=provider.id).name == "Better name"
    response = client.post(url, {"is_enabled": "on", "document": json.dumps({**entry, "slug": "another"})})
    assert errors_of(response) == {"document": ["Slug cannot change: keys refer to it. (rule: slug_fixed)"]}
