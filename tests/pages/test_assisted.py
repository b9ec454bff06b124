"""Rotating without a secret in anybody's hands, as an owner and a program ask for it; and the guide elsewhere."""

from __future__ import annotations

import json
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.keys.succeeding import Succeeding
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    import psycopg

    from tests.world import World


def page(succeeding: Succeeding, name: str) -> str:
    return at(f"keys:{name}", succeeding.cast, succeeding.key.slug)


def test_an_owner_sees_the_plan_confirms_it_and_never_sees_a_secret(world: World) -> None:
    succeeding = Succeeding(world)
    browser = sign_in(succeeding.cast.owner)
    assert "can have OpenBao make the successor" in text_of(browser.get(page(succeeding, "detail")))
    offer = browser.get(page(succeeding, "rotate"))
    assert "Let the portal create the successor" in text_of(offer)
    assert page(succeeding, "rotate-assisted") in offer.content.decode()
    plan = browser.get(page(succeeding, "rotate-assisted"))
    assert "version 1 itself" in text_of(plan)
    assert "refused as things are" not in text_of(plan)
    shown = plan.context["form"]
    data = {"drain": "24", "replaces": str(shown["replaces"].value()), "note": "Yearly"}
    done = browser.post(page(succeeding, "rotate-assisted"), data, follow=True)
    assert "has a successor that nobody has seen" in text_of(done)
    assert succeeding.secret(2).reveal() not in done.content
    assert succeeding.states() == {1: "superseded", 2: "active"}
    again = browser.post(page(succeeding, "rotate-assisted"), data)
    assert again.status_code == 409
    assert "still drains" in text_of(again)


def test_what_stands_against_it_is_told_before_it_is_tried_and_beside_the_form(world: World) -> None:
    succeeding = Succeeding(world, world.bao_robot(policies=("report-reader",)))
    browser = sign_in(succeeding.cast.owner)
    for name in ("rotate", "rotate-assisted"):
        shown = unescape(text_of(browser.get(page(succeeding, name))))
        assert "It will be refused as things are." in shown
        assert 'path "auth/token/create-orphan"' in shown
    refused = browser.post(page(succeeding, "rotate-assisted"), {"drain": "0"})
    assert refused.status_code == 422
    assert 'path "auth/token/create-orphan" { capabilities = ["update"] }' in unescape(text_of(refused))
    assert browser.post(page(succeeding, "rotate-assisted"), {"drain": "5"}).status_code == 422
    assert succeeding.states() == {1: "active"}


@pytest.fixture
def guided(world: World, admin_connection: psycopg.Connection) -> Succeeding:
    """A key of a provider that makes no successors."""
    succeeding = Succeeding(world)
    statement = (
        "UPDATE keys_key SET provider_id = (SELECT id FROM keys_provider WHERE slug = 'anthropic') WHERE id = %s"
    )
    admin_connection.execute(statement, [succeeding.key.id])
    return succeeding


def test_where_people_rotate_the_steps_come_first_and_the_secret_last(guided: Succeeding) -> None:
    browser = sign_in(guided.cast.owner)
    assert "By hand, with a guide" in text_of(browser.get(page(guided, "detail")))
    answer = browser.get(page(guided, "rotate-assisted"), follow=True)
    assert answer.redirect_chain == [(page(guided, "rotate"), 302)]
    shown, html = text_of(answer), answer.content.decode()
    assert "makes no successors" in shown
    assert "Let the portal create" not in shown
    assert 0 < html.index("Step by step") < html.index('<ol class="guide">') < html.index('name="secret"')
    assert answer.context["guide"]


def ask(world: World, succeeding: Succeeding, *scopes: str, **body: Any) -> Any:
    headers = world.consumer(succeeding.cast, scopes=scopes).headers
    address = reverse("api:key-rotate-assisted", args=[succeeding.cast.slug, succeeding.key.slug])
    return Client().post(address, json.dumps(body), content_type="application/json", headers=headers)


def test_the_api_says_why_it_does_not_rotate(world: World, guided: Succeeding) -> None:
    answer = ask(world, guided, "key:rotate", drain_hours=1)
    assert (answer.status_code, answer.json()["code"]) == (422, "guided")
    assert ask(world, guided, "key:use", drain_hours=1).json()["code"] == "permission_denied"
    for body in ({}, {"drain_hours": 721}, {"drain_hours": 1, "replaces": 0}):
        assert ask(world, guided, "key:rotate", **body).status_code == 422
    late = ask(world, guided, "key:rotate", drain_hours=1, replaces=7)
    assert (late.status_code, late.json()["code"]) == (409, "rotated_meanwhile")
    assert guided.attempts() == []
