"""What declared adapters read from answers: scopes, expiry, accounts, refusals with more than one cause."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import InvalidInput, Refused
from keys.catalogue import load_catalogue
from keys.providers import get_adapter
from keys.providers.comparison import compare
from keys.providers.contract import ProbeResult, Upstream, UpstreamStatus
from tests.providers.edge import Answer, serve

if TYPE_CHECKING:
    from tests.providers.worlds import FakeWorld

CATALOGUE = load_catalogue()
KEY = Secret("fake-key-0123456789")


def probe(slug: str, answer: Answer) -> tuple[ProbeResult, UpstreamStatus]:
    """One probe and one second look at a provider that gives this answer."""
    entry = CATALOGUE[slug]
    with serve(lambda _: answer) as edge:
        upstream = Upstream(entry, edge.url, {}, allow_private=True)
        adapter = get_adapter(entry)
        return adapter.probe(upstream, KEY, "n"), adapter.confirm(upstream, KEY)


@pytest.mark.parametrize("slug", ["stripe", "openai", "anthropic", "github", "gitlab"])
def test_forbidden_means_alive_but_not_permitted(slug: str) -> None:
    result, confirmed = probe(slug, Answer(403, {"error": {"type": "permission_error"}}))
    assert (result.status, result.code, result.account) == (UpstreamStatus.VALID, "limited", None)
    assert confirmed is UpstreamStatus.VALID


@pytest.mark.parametrize(
    ("slug", "answer"),
    [
        ("slack", Answer(200, {"ok": False, "error": "invalid_auth"})),
        ("openai", Answer(401, {"error": {"code": "ip_not_authorized"}})),
        ("anthropic", Answer(401, {"error": {"type": "something_new"}})),
    ],
)
def test_a_refusal_with_several_causes_is_invalid_but_not_confirmed_as_revoked(slug: str, answer: Answer) -> None:
    result, confirmed = probe(slug, answer)
    assert result.status is UpstreamStatus.INVALID
    assert confirmed is UpstreamStatus.UNKNOWN


def test_slacks_own_troubles_are_no_verdict() -> None:
    result, _ = probe("slack", Answer(200, {"ok": False, "error": "fatal_error"}))
    assert result.status is UpstreamStatus.UNKNOWN


@pytest.mark.parametrize("fake", ["github"], indirect=True)
def test_a_classic_github_token_shows_its_scopes_and_expiry(fake: FakeWorld) -> None:
    result = get_adapter(fake.entry).probe(fake.upstream(), fake.issue(), "n")
    comparison = compare({"metadata:read", "contents:read"}, result, fake.entry)
    assert result.expires_at == datetime(2027, 2, 1, 10, tzinfo=UTC)
    assert comparison.missing == ()
    assert "contents:write" in {each.scope for each in comparison.excess}
    assert any("admin:org" in each.says for each in comparison.excess)
    assert comparison.highest_risk == 4


def test_a_fine_grained_github_token_cannot_tell_its_scopes() -> None:
    result, _ = probe("github", Answer(200, {"id": 7, "login": "acme-bot"}))
    comparison = compare({"contents:read"}, result, CATALOGUE["github"])
    assert result.effective_scopes is None
    assert (comparison.known, comparison.missing, comparison.excess) == (False, (), ())


@pytest.mark.parametrize("fake", ["gitlab"], indirect=True)
def test_a_gitlab_token_is_bound_to_its_server_and_ends_with_its_last_day(fake: FakeWorld) -> None:
    result = get_adapter(fake.entry).probe(fake.upstream(), fake.issue(), "n")
    assert fake.edge is not None
    assert result.account is not None
    assert result.account.id == f"{fake.edge.url.removeprefix('http://')}/42"
    assert result.expires_at == datetime(2027, 2, 1, tzinfo=UTC)
    missing = compare({"project:read", "repository:write"}, result, fake.entry).missing
    assert missing == ("repository:write",)


def test_half_an_account_is_no_account() -> None:
    result, _ = probe("slack", Answer(200, {"ok": True, "team_id": "T1"}))
    assert (result.status, result.account) == (UpstreamStatus.VALID, None)


def test_hostile_answers_are_cut_to_plain_short_evidence() -> None:
    hostile = {"id": 7, "login": "x" * 9999 + "\x1b[2J", "nested": {}}
    result, _ = probe("github", Answer(200, hostile, {"X-OAuth-Scopes": ",".join(["s"] * 500)}))
    assert result.account is not None
    assert len(result.account.label) == 300
    assert len(str(result.evidence["upstream_scopes"])) <= 300


@pytest.mark.parametrize("fake", ["github"], indirect=True)
def test_github_hears_the_report_without_our_authorization_and_is_not_done_at_once(fake: FakeWorld) -> None:
    plaintext = fake.issue()
    result = get_adapter(fake.entry).revoke(fake.upstream(), plaintext)
    assert (result.done, result.supported) == (False, True)
    assert fake.live == {plaintext.reveal_text(): False}


def test_a_form_body_cannot_carry_a_method_override_to_gitlab() -> None:
    upstream = Upstream(CATALOGUE["gitlab"], "https://gitlab.acme.example")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with pytest.raises(InvalidInput) as refused:
        get_adapter(upstream.entry).call(upstream, KEY, "POST", "/api/v4/x", "", headers, b"_method=DELETE")
    assert refused.value.code == "content_type_not_allowed"


def test_the_portal_claims_nothing_about_aws() -> None:
    upstream = Upstream(CATALOGUE["aws"], "https://s3.amazonaws.com")
    adapter = get_adapter(upstream.entry)
    assert adapter.probe(upstream, KEY, "n").status is UpstreamStatus.UNKNOWN
    assert adapter.confirm(upstream, KEY) is UpstreamStatus.UNKNOWN
    assert adapter.revoke(upstream, KEY).supported is False
    with pytest.raises(Refused) as refused:
        adapter.call(upstream, KEY, "GET", "/bucket/key")
    assert refused.value.code == "broker_unsupported"
