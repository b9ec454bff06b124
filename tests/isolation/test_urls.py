"""Every address of a tenant and the wrong tenant: answered exactly as if the thing did not exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from byok_portal.boundary.permissions import TOKEN_PERMISSIONS
from tests.isolation.populated import rows_of, tenant_models
from tests.isolation.routes import (
    API,
    NO_IDENTIFIER,
    WEB,
    Route,
    list_all_texts,
    list_routes,
    random_arguments,
    real_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from django.http import HttpResponse

    from tests.isolation.populated import Populated
    from tests.world import World

    Pair = tuple[Populated, Populated]
    Asker = Callable[[str, str], HttpResponse]

ROUTES = list_routes()
each_route = pytest.mark.parametrize(
    "route", [pytest.param(route, id=f"{route.name} {route.text}") for route in ROUTES]
)
WEB_METHODS = ("GET", "POST")
API_METHODS = ("GET", "POST", "PUT", "DELETE")

# What an answer may hold that differs from one request to the next, whatever was asked for.
_CHANGING = re.compile(
    rb'"(?:instance|audit_id)":\s*"[^"]*"|name="csrfmiddlewaretoken" value="[^"]*"|csrfToken": "[^"]*"'
    rb"|X-CSRFToken&quot;: &quot;[^&]*"
)
_CHANGING_HEADERS = frozenset({"X-Request-Id", "Date", "Audit-Id"})
BODY: dict[str, Any] = {
    "scope": "secrets:read",
    "purpose": "report",
    "reason": "superseded",
    "note": "why",
    "minutes": 5,
    "days": 1,
    "plaintext": "s." + "a" * 24,
    "secret": "s." + "a" * 24,
    "drain_hours": 1,
    "rules": {"rotation_days": 90},
    "scopes": ["key:use"],
    "deliveries": ["decision"],
    "consumer": "nobody",
    "notices": ["0198a5c0-0000-7000-8000-000000000000"],
    "name": "Review",
    "due_on": "2031-01-01",
    "kind": "revocation",
    "key": "nobody",
    "is_canary": True,
    "owner": "nobody",
    "backup_owner": "nobody",
    "confirmation": "nobody",
    "digest": "0",
    "agreed": True,
    "project": "",
}


def signed_in(populated: Populated) -> Client:
    """The tenant's owner at the web door."""
    browser = Client()
    browser.force_login(populated.cast.owner, backend="allauth.account.auth_backends.AuthenticationBackend")
    return browser


@pytest.fixture(scope="session")
def owner(pair: Pair, world_setup: World) -> Callable[[Route, str], int]:
    """Asks as the first tenant itself, at either door; says the status."""
    browser, caller = signed_in(pair[0]), Client()
    scopes = tuple(sorted(scope.value for scope in TOKEN_PERMISSIONS))
    headers = world_setup.consumer(pair[0].cast, scopes=scopes).headers

    def ask(route: Route, address: str) -> int:
        return (caller.get(address, headers=headers) if route.is_api else browser.get(address)).status_code

    return ask


@pytest.fixture(scope="session")
def askers(pair: Pair, world_setup: World) -> tuple[Asker, Asker]:
    """The stranger at both doors: a signed-in owner of the second tenant, and its token with every scope."""
    stranger = pair[1]
    browser, caller = signed_in(stranger), Client()
    credential = world_setup.consumer(stranger.cast, scopes=tuple(sorted(scope.value for scope in TOKEN_PERMISSIONS)))

    headers = credential.headers | {"Byok-Purpose": "report"}

    def ask_page(method: str, address: str) -> HttpResponse:
        return browser.generic(method, address)  # type: ignore[return-value]

    def ask_api(method: str, address: str) -> HttpResponse:
        body = "" if method in {"GET", "HEAD"} else json.dumps(BODY)
        return caller.generic(method, address, body, content_type="application/json", headers=headers)  # type: ignore[return-value]

    return ask_page, ask_api


@pytest.fixture(scope="session")
def anybody() -> Client:
    """Not signed in, without a token."""
    return Client()


@pytest.fixture(scope="session")
def events(pair: Pair, world_setup: World) -> tuple[Any, Any]:
    """One numbered event of each tenant."""
    from audit.models import Entry  # noqa: PLC0415  # the app registry must be ready

    world_setup.sequence()
    rows = Entry.objects.using("auditor")
    first, second = (rows.filter(tenant_id=populated.id).values_list("event_id", flat=True)[0] for populated in pair)
    return first, second


def seen(response: HttpResponse) -> tuple[int, bytes, dict[str, str]]:
    """All that a stranger can tell two answers apart by."""
    headers = {name: "" if name in _CHANGING_HEADERS else value for name, value in response.headers.items()}
    cookies = {f"cookie {name}": "" for name in response.cookies}
    content = b"".join(response) if response.streaming else response.content
    return response.status_code, _CHANGING.sub(b"", content), headers | cookies


def compare(route: Route, askers: tuple[Asker, Asker], asked: dict[str, Any], nothing: dict[str, Any]) -> set[int]:
    """Ask for both with every method; they must look the same. Returns the statuses."""
    ask, methods = (askers[1], API_METHODS) if route.is_api else (askers[0], WEB_METHODS)
    statuses = set()
    for method in methods:
        real, missing = seen(ask(method, route.address(asked))), seen(ask(method, route.address(nothing)))
        assert real == missing, f"{method} {route.text}"
        statuses.add(real[0])
    return statuses


def forms(route: Route) -> tuple[bool, ...]:
    """The API takes ids and slugs; pages take slugs."""
    return (False, True) if route.is_api else (False,)


def test_the_walker_finds_the_routes_that_the_design_names() -> None:
    texts = {route.text for route in ROUTES}
    for tail in ("keys/<slug:key>/", "consumers/", "members/", "audit/"):
        assert WEB + tail in texts
    for tail in ("keys/", "keys/<str:key>/use/", "keys/<str:key>/proxy/<path:path>", "audit/events/", "offboarding/"):
        assert API + tail in texts


def test_no_address_names_a_tenant_outside_the_two_trees() -> None:
    assert [text for text in list_all_texts() if not text.startswith((WEB, API))] == []


def test_every_parameter_of_every_route_is_known() -> None:
    known = random_arguments(by_id=True).keys()
    unknown = {(route.text, name) for route in ROUTES for name, _ in route.parameters if name not in known}
    assert unknown == set(), "tell tests/isolation/routes.py what these parameters name"


@each_route
def test_another_tenants_address_is_no_address(
    pair: Pair, events: tuple[Any, Any], askers: tuple[Asker, Asker], route: Route
) -> None:
    for by_id in forms(route):
        real = real_arguments(pair[0], event=events[0], by_id=by_id)
        assert compare(route, askers, real, random_arguments(by_id=by_id)) == {404}


@each_route
def test_another_tenants_things_are_not_in_the_own_tenant(
    pair: Pair, events: tuple[Any, Any], askers: tuple[Asker, Asker], route: Route
) -> None:
    for by_id in forms(route) if route.identifiers else ():
        own = {"tenant": pair[1].cast.slug}
        real = real_arguments(pair[0], event=events[0], by_id=by_id) | own
        statuses = compare(route, askers, real, random_arguments(by_id=by_id) | own)
        assert 404 in statuses
        assert statuses <= {404, 405}


@each_route
def test_another_tenants_thing_is_not_below_an_own_thing(
    pair: Pair, events: tuple[Any, Any], askers: tuple[Asker, Asker], route: Route
) -> None:
    """The own key with the other's grant, the own consumer with the other's token."""
    if len(route.identifiers) < 2 or route.parameters[-1][0] in NO_IDENTIFIER:
        return
    last = route.parameters[-1][0]
    for by_id in forms(route):
        own = real_arguments(pair[1], event=events[1], by_id=by_id)
        foreign = {last: real_arguments(pair[0], event=events[0], by_id=by_id)[last]}
        nothing = {last: random_arguments(by_id=by_id)[last]}
        statuses = compare(route, askers, own | foreign, own | nothing)
        assert 404 in statuses
        assert statuses <= {404, 405}


@each_route
def test_a_caller_that_is_not_known_learns_nothing(
    pair: Pair, events: tuple[Any, Any], anybody: Client, route: Route
) -> None:
    address = route.address(real_arguments(pair[0], event=events[0], by_id=False))
    other = route.address(random_arguments(by_id=False))
    real, missing = (anybody.get(each) for each in (address, other))
    assert real.status_code == missing.status_code == (401 if route.is_api else 302)
    if route.is_api:
        assert seen(real) == seen(missing)  # type: ignore[arg-type]


def test_the_sweep_has_changed_nothing_of_the_victim(
    pair: Pair, events: tuple[Any, Any], askers: tuple[Asker, Asker], admin_connection: psycopg.Connection
) -> None:
    def everything() -> list[Any]:
        return [rows_of(admin_connection, model, pair[0].id) for model in tenant_models()]

    before = everything()
    for route in ROUTES:
        ask = askers[1 if route.is_api else 0]
        real = real_arguments(pair[0], event=events[0], by_id=False)
        ask("POST", route.address(real))
        if route.identifiers:
            ask("POST", route.address(real | {"tenant": pair[1].cast.slug}))
    assert everything() == before


@each_route
def test_the_owner_does_reach_the_address(
    pair: Pair, events: tuple[Any, Any], owner: Callable[[Route, str], int], route: Route
) -> None:
    """Without this the sweep would pass on a portal where nothing works."""
    status = owner(route, route.address(real_arguments(pair[0], event=events[0], by_id=False)))
    # No offboarding has been started; a brokered call needs more than an address.
    assert status in {200, 302, 403, 405, 409, 422} or (
        status == 404 and route.name.endswith(("offboarding", "certificate"))
    ), status
