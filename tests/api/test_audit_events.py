"""The record through the API: pages without a gap, filters that narrow, bad values named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

if TYPE_CHECKING:
    from tests.world import Cast, Credential, World


@pytest.fixture
def reader(world: World) -> tuple[Cast, Credential]:
    """A tenant with some entries and a consumer that may read them."""
    cast = world.tenant()
    for _ in range(3):
        world.consumer(cast)
    credential = world.consumer(cast, scopes=("audit:read",))
    world.sequence()
    return cast, credential


def ask(reader: tuple[Cast, Credential], query: Any = None) -> Any:
    cast, credential = reader
    return Client(headers=credential.headers).get(f"/api/v1/tenants/{cast.slug}/audit/events/", query)


def follow(reader: tuple[Cast, Credential], url: str) -> Any:
    parts = urlsplit(url)
    return Client(headers=reader[1].headers).get(f"{parts.path}?{parts.query}").json()


def numbers(page: Any) -> list[int]:
    return [row["tseq"] for row in page["results"]]


def test_pages_go_back_and_forth_without_a_gap(reader: tuple[Cast, Credential]) -> None:
    first = ask(reader, {"page_size": "4"}).json()
    assert first["previous"] is None
    second = follow(reader, first["next"])
    assert numbers(first) + numbers(second) == list(range(numbers(first)[0], numbers(first)[0] - 8, -1))
    assert numbers(follow(reader, second["previous"])) == numbers(first)
    page, seen = first, numbers(first)
    while page["next"]:
        page = follow(reader, page["next"])
        seen += numbers(page)
    assert seen == list(range(seen[0], 0, -1))


def test_each_filter_narrows(reader: tuple[Cast, Credential]) -> None:
    rows = ask(reader, {"action": "consumer.registered", "page_size": "3"}).json()
    assert {row["action"] for row in rows["results"]} == {"consumer.registered"}
    assert {row["action"] for row in follow(reader, rows["next"])["results"]} == {"consumer.registered"}
    newest = rows["results"][0]
    target, actor = newest["body"]["target"]["id"], newest["body"]["actor"]["id"]
    assert {row["body"]["target"]["id"] for row in ask(reader, {"target": target}).json()["results"]} == {target}
    assert {row["body"]["actor"]["id"] for row in ask(reader, {"actor": actor}).json()["results"]} == {actor}
    staff = ask(reader, {"actor_kind": "staff"}).json()["results"]
    assert {row["body"]["actor"]["kind"] for row in staff} == {"staff"}
    assert ask(reader, {"outcome": "failed"}).json()["results"] == []
    moment = newest["occurred_at"]
    since, until = (numbers(ask(reader, {name: moment}).json()) for name in ("since", "until"))
    assert newest["tseq"] == min(since) == max(until) + 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outcome", "maybe"),
        ("actor_kind", "god"),
        ("actor", "1"),
        ("target", "\0"),
        ("since", "yesterday"),
        ("until", "2026-99-99"),
        ("action", "nul\0"),
        ("page_size", "0"),
        ("cursor", "cD0tMQ=="),  # p=-1
    ],
)
def test_a_bad_value_is_named(reader: tuple[Cast, Credential], field: str, value: str) -> None:
    answer = ask(reader, {field: value})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
