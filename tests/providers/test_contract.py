"""Every adapter keeps the same promises; the real OpenBao and the fakes at the internet's edge take the
same tests.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import InvalidInput, UpstreamUnavailable
from keys.providers import get_adapter
from keys.providers.contract import Adapter, UpstreamStatus
from tests.providers.edge import Answer, serve

if TYPE_CHECKING:
    from keys.catalogue.entries import Json
    from tests.providers.worlds import World

NO_VERDICT = {UpstreamStatus.UNKNOWN, UpstreamStatus.UNREACHABLE}


@pytest.fixture
def adapter(world: World) -> Adapter:
    return get_adapter(world.entry)


def test_a_live_key_is_valid_and_bound_to_one_account(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    first, second = (adapter.probe(world.upstream(), plaintext, nonce) for nonce in ("n1", "n2"))
    assert first.status is UpstreamStatus.VALID
    assert first.account is not None
    assert first.account == second.account
    assert first.account.label


def test_two_keys_of_one_account_have_equal_account_ids(world: World, adapter: Adapter) -> None:
    first, second = (adapter.probe(world.upstream(), world.issue(), "n").account for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.id == second.id


def test_an_unknown_key_is_invalid_with_a_reason(world: World, adapter: Adapter) -> None:
    result = adapter.probe(world.upstream(), world.unknown(), "n")
    assert (result.status, result.code) == (UpstreamStatus.INVALID, "rejected")
    assert result.reason
    assert result.account is None


def test_a_live_key_is_never_confirmed_as_revoked(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    evidence = adapter.probe(world.upstream(), plaintext, "n").evidence
    assert adapter.confirm(world.upstream(), plaintext, evidence=evidence) is UpstreamStatus.VALID
    assert adapter.confirm(world.upstream(), plaintext) is UpstreamStatus.VALID


def test_a_key_killed_by_its_owner_is_invalid_and_confirmed_as_revoked(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    evidence = adapter.probe(world.upstream(), plaintext, "n").evidence
    world.kill(plaintext)
    assert adapter.probe(world.upstream(), plaintext, "n").status is UpstreamStatus.INVALID
    assert adapter.confirm(world.upstream(), plaintext, evidence=evidence) is UpstreamStatus.REVOKED_CONFIRMED


def test_revoke_does_what_it_says_and_a_second_look_proves_it(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    result = adapter.revoke(world.upstream(), plaintext)
    seen = adapter.confirm(world.upstream(), plaintext, evidence=result.evidence)
    assert result.note
    # What a provider cannot do is not claimed, and the key goes on living there.
    assert result.supported == (world.entry.adapter == "openbao" or world.entry.revoke is not None)
    assert seen is (UpstreamStatus.REVOKED_CONFIRMED if result.supported else UpstreamStatus.VALID)
    assert result.done is False or result.supported


def test_revoking_twice_is_harmless(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    adapter.revoke(world.upstream(), plaintext)
    again = adapter.revoke(world.upstream(), plaintext)
    assert again.note


def test_an_unreachable_provider_is_unreachable_and_nothing_else(world: World, adapter: Adapter) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        upstream = world.upstream(f"http://127.0.0.1:{free.getsockname()[1]}")
        plaintext = world.issue()
        assert adapter.probe(upstream, plaintext, "n").status is UpstreamStatus.UNREACHABLE
        assert adapter.confirm(upstream, plaintext, evidence={"revoke_accepted": True}) is UpstreamStatus.UNREACHABLE
        assert adapter.revoke(upstream, plaintext).done is False
        with pytest.raises(UpstreamUnavailable):
            adapter.call(upstream, plaintext, "GET", "/v1/models")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, seconds=0.7),
        Answer(200, raw=b"[" * 2000, trickle=0.05),
        Answer(200, raw=b"x" * 200_000),
        Answer(200, raw=b"[" * 60_000),
        Answer(200, raw=b"<html>login</html>"),
        Answer(302, raw=b"", headers={"Location": "http://127.0.0.1:9/elsewhere"}),
        Answer(404, {}),
        Answer(429, {}),
        Answer(500, {"error": {"code": "invalid_api_key"}}),
        Answer(503, {"errors": ["sealed"]}),
    ],
    ids=["slow", "trickling", "huge", "deep", "html", "redirect", "missing", "busy", "broken", "down"],
)
def test_a_misbehaving_provider_is_never_a_verdict_on_a_key(world: World, adapter: Adapter, answer: Answer) -> None:
    with serve(lambda _: answer) as edge:
        upstream, plaintext = world.upstream(edge.url), world.issue()
        probe = adapter.probe(upstream, plaintext, "n")
        evidence: dict[str, Json] = {
            "revoke_accepted": True,
            "cluster_id": "c",
            "entity_id": "",
            "bound_cidrs": [],
        }
        confirmed = adapter.confirm(upstream, plaintext, evidence=evidence)
        assert probe.status in NO_VERDICT
        assert confirmed is not UpstreamStatus.REVOKED_CONFIRMED
        assert confirmed is not UpstreamStatus.INVALID
        assert all(plaintext.reveal_text() not in seen.path for seen in edge.seen)


def test_a_redirect_is_not_followed(world: World, adapter: Adapter) -> None:
    with serve(lambda _: Answer(200, {})) as trap:
        redirect = Answer(307, {}, {"Location": f"{trap.url}/stolen"})
        with serve(lambda _: redirect) as edge:
            plaintext = world.issue()
            adapter.probe(world.upstream(edge.url), plaintext, "n")
            adapter.revoke(world.upstream(edge.url), plaintext)
            result = adapter.call(world.upstream(edge.url), plaintext, "GET", "/v1/models")
        assert trap.seen == []
    assert result.status == 307
    assert "location" not in result.headers


def test_the_secret_appears_in_no_result(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    told = [
        adapter.probe(world.upstream(), plaintext, "n"),
        adapter.revoke(world.upstream(), plaintext),
        adapter.probe(world.upstream(), plaintext, "n"),
        world.upstream(),
    ]
    assert plaintext.reveal_text() not in repr(told)


def test_the_nonce_travels_in_a_truthful_user_agent(world: World, adapter: Adapter) -> None:
    with serve(lambda _: Answer(200, {"cluster_id": "c"})) as edge:
        adapter.probe(world.upstream(edge.url), world.issue(), "nonce-1")
    agents = [seen.headers["user-agent"] for seen in edge.seen]
    assert agents[-1].startswith("byok-portal/")
    assert agents[-1].endswith(" (proof nonce-1)")


def test_a_nonce_with_a_line_break_is_refused(world: World, adapter: Adapter) -> None:
    with pytest.raises(InvalidInput) as refused:
        adapter.probe(world.upstream(), world.issue(), "n\r\nX-Evil: 1")
    assert refused.value.code == "bad_nonce"


def test_a_secret_that_no_header_can_carry_is_refused_without_quoting_it(world: World, adapter: Adapter) -> None:
    for text in ("caf\u00e9-secret", "two\r\nlines"):
        with pytest.raises(InvalidInput) as refused:
            adapter.call(world.upstream(), Secret(text), "GET", "/v1/models")
        assert text not in str(refused.value)


def test_a_brokered_answer_never_quotes_the_secret(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    secret = plaintext.reveal_text()
    echo = Answer(200, {"you_sent": secret}, {"ETag": f'"{secret}"', "Set-Cookie": "a=b", "X-Internal": "1"})
    with serve(lambda _: echo) as edge:
        result = adapter.call(
            world.upstream(edge.url),
            plaintext,
            "GET",
            "/v1/models",
            "limit=2",
            {
                "Accept": "text/plain",
                "Cookie": "s=1",
                "X-Forwarded-For": "::1",
                world.entry.auth.header: "forged",
            },
        )
    sent = edge.seen[0]
    assert secret not in repr((result.headers, result.body))
    assert b"[redacted]" in result.body
    assert set(result.headers) == {"content-type", "etag"}
    assert sent.headers[world.entry.auth.header.lower()] == world.entry.auth.template.replace("{secret}", secret)
    assert {"cookie", "x-forwarded-for"}.isdisjoint(sent.headers)
    assert (sent.path, sent.headers["accept"]) == ("/v1/models?limit=2", "text/plain")


def test_a_brokered_call_with_an_unsafe_path_or_foreign_content_type_is_refused(world: World, adapter: Adapter) -> None:
    plaintext = world.issue()
    for path, headers, body in [
        ("/v1/../admin", {}, None),
        ("/v1//x", {}, None),
        ("/v1/%2e%2e/x", {}, None),
        ("/v1/x", {"Content-Type": "text/x-evil"}, b"{}"),
    ]:
        with pytest.raises(InvalidInput):
            adapter.call(world.upstream(), plaintext, "POST", path, "", headers, body)


def test_people_get_steps_for_rotation(world: World, adapter: Adapter) -> None:
    assert len(adapter.rotation_guide(world.upstream())) >= 3
