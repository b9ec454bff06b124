"""What is spared for programs' calls must not be seen in any answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from hypothesis import example, given
from hypothesis import strategies as st

from keys.api.serializers import UseBody
from keys.api.uses import plain_use
from tests.gate.test_durability import USE

if TYPE_CHECKING:
    from tests.world import World

PLAIN = {"scope": "secrets:read", "purpose": "report"}
ODD = ("", " ", " a", "a ", "a\n", "ü", "a\0b", "a" * 60, "a" * 61, "a" * 200, "a" * 201, "lease", "staging", "moon")
ANY: st.SearchStrategy[Any] = (
    st.sampled_from(ODD) | st.text(max_size=5) | st.none() | st.booleans() | st.integers() | st.just([]) | st.just({})
)
GOOD = {
    "scope": st.text("ab :-", min_size=1, max_size=61),
    "purpose": st.text("ab :-", min_size=1, max_size=201),
    "delivery": st.sampled_from(["decision", "lease", "broker"]),
    "environment": st.sampled_from(["production", "staging", "moon"]),
}
BODIES = st.dictionaries(st.sampled_from([*GOOD, "version", "more"]), ANY) | st.fixed_dictionaries(
    {"scope": GOOD["scope"] | ANY, "purpose": GOOD["purpose"] | ANY},
    optional={
        "delivery": GOOD["delivery"] | ANY,
        "environment": GOOD["environment"] | ANY,
        "version": ANY,
        "more": ANY,
    },
)


@given(BODIES)
@example(PLAIN)
@example({**PLAIN, "delivery": "lease", "environment": "production"})
def test_the_short_way_reads_a_body_as_the_long_one_does(body: dict[str, Any]) -> None:
    short = plain_use(body)
    if short is not None:
        long = UseBody(data=body)
        assert long.is_valid()
        assert short == dict(long.validated_data)


@pytest.mark.parametrize("body", [PLAIN, {**PLAIN, "delivery": "lease"}, {**PLAIN, "environment": "staging"}])
def test_a_common_body_goes_the_short_way(body: dict[str, Any]) -> None:
    assert plain_use(body) == {"delivery": "decision", **body}


@pytest.mark.parametrize("body", [[], None, "text", 1, {}, {"scope": "a"}])
def test_what_is_no_use_goes_the_long_way(body: Any) -> None:
    assert plain_use(body) is None


def test_programs_get_the_policy_that_pages_get_and_no_cookie(world: World) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    client = Client(headers=credential.headers)
    client.cookies.load({"sessionid": "unknown", "messages": "nonsense"})
    address = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"
    program = client.post(address, USE, content_type="application/json")
    page = client.get("/api/v1/docs/")
    assert (program.status_code, page.status_code) == (200, 200)
    name = "Content-Security-Policy"
    assert sorted(program[name].split("; ")) == sorted(page[name].split("; "))
    assert not program.cookies
    assert "Vary" not in program


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("application/json; q=0.5, text/html", 200),
        ("", 406),
        ("text/html", 406),
    ],
)
def test_an_answer_that_cannot_be_written_as_asked_is_refused(world: World, accept: str, status: int) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    address = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"
    client = Client(headers={**credential.headers, "accept": accept})
    answer = client.post(address, USE, content_type="application/json")
    assert answer.status_code == status
    assert answer["Content-Type"] == ("application/json" if status == 200 else "application/problem+json")
    assert client.post(f"{address}?format=xml", USE, content_type="application/json").status_code == 404
