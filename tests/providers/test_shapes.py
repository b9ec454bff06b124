"""Recognising pasted credentials. All examples are made up here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import InvalidInput
from keys.catalogue import load_catalogue
from keys.shapes import MAX_BYTES, check_shape, hint, mode_of, recognise

CATALOGUE = load_catalogue()
A = "a" * 200
EXAMPLES = {
    "openbao": ["s." + A[:24], "b." + A[:140], "hvs." + A[:90], "s." + A[:24] + ".hqUuIy"],
    "openai": [f"sk-proj-{A[:74]}T3BlbkFJ{A[:74]}", f"sk-svcacct-{A[:74]}T3BlbkFJ{A[:74]}", "sk-" + A[:48]],
    "anthropic": [f"sk-ant-api03-{A[:93]}AA"],
    "aws": [f"AKIA{'A' * 16}:{A[:40]}"],
    "github": [f"github_pat_{A[:22]}_{A[:59]}"],
    "gitlab": ["glpat-" + A[:20], f"glpat-{A[:30]}.01.{'a' * 9}"],
    "slack": [f"xoxb-123456789012-123456789012-{A[:24]}"],
    "stripe": ["rk_live_" + A[:99], "sk_test_" + A[:24]],
}
FLAT = [(slug, text) for slug, texts in EXAMPLES.items() for text in texts]


@pytest.mark.parametrize(("slug", "text"), FLAT)
def test_a_credential_is_recognised_as_its_own_providers_and_no_others(slug: str, text: str) -> None:
    assert {match.slug for match in recognise(Secret(text), CATALOGUE)} == {slug}
    assert check_shape(Secret(text), CATALOGUE[slug], CATALOGUE) is not None


@pytest.mark.parametrize(("slug", "text"), FLAT)
def test_a_credential_of_another_provider_is_refused_by_name_without_quoting_it(slug: str, text: str) -> None:
    for other in CATALOGUE.values():
        if other.slug != slug:
            with pytest.raises(InvalidInput) as refused:
                check_shape(Secret(text), other, CATALOGUE)
            assert (refused.value.field, refused.value.code) == ("secret", "provider_mismatch")
            assert text not in str(refused.value)


def test_the_mismatch_reads_like_a_sentence() -> None:
    with pytest.raises(InvalidInput, match="This looks like a Stripe secret key, not an OpenAI key"):
        check_shape(Secret("sk_live_" + A[:24]), CATALOGUE["openai"], CATALOGUE)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "secret_empty"),
        ("x" * (MAX_BYTES + 1), "secret_too_long"),
        ("abc\ndef", "secret_has_control_characters"),
        ("abc\x00", "secret_has_control_characters"),
        ("abc\tdef", "secret_has_control_characters"),
        ("Bearer abc", "secret_has_spaces"),
        ("caf\u00e9", "secret_not_ascii"),
        ("hunter2hunter2hunter2", "unknown_shape"),
    ],
)
def test_a_malformed_secret_is_refused_with_its_rule(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_shape(Secret(text), CATALOGUE["openbao"], CATALOGUE)
    assert (refused.value.field, refused.value.code) == ("secret", code)


@pytest.mark.parametrize(
    ("text", "environment", "refused"),
    [
        ("rk_test_", "production", True),
        ("rk_live_", "staging", True),
        ("rk_live_", "production", False),
        ("rk_test_", "development", False),
        ("rk_test_", "", False),
    ],
)
def test_live_and_test_keys_stay_in_their_environments(text: str, environment: str, *, refused: bool) -> None:
    plaintext = Secret(text + A[:24])
    if not refused:
        assert check_shape(plaintext, CATALOGUE["stripe"], CATALOGUE, environment=environment) is not None
        return
    with pytest.raises(InvalidInput) as error:
        check_shape(plaintext, CATALOGUE["stripe"], CATALOGUE, environment=environment)
    assert error.value.code == "mode_mismatch"


def test_a_github_token_with_a_wrong_checksum_is_refused() -> None:
    # zlib.crc32(b"a" * 30) is 1807864769, which is 1yLcDB in base 62 (digits, capitals, small letters).
    good = f"ghp_{'a' * 30}1yLcDB"
    assert check_shape(Secret(good), CATALOGUE["github"], CATALOGUE) is not None
    with pytest.raises(InvalidInput) as refused:
        check_shape(Secret(good[:-1] + ("0" if good[-1] != "0" else "1")), CATALOGUE["github"], CATALOGUE)
    assert refused.value.code == "checksum_mismatch"


def test_a_hint_is_four_characters_of_a_long_secret_and_nothing_of_a_short_one() -> None:
    assert hint(Secret("x" * 16 + "4Q7t")) == "4Q7t"
    assert hint(Secret("x" * 15 + "4Q7t")) == ""
    assert hint(Secret(b"\xff" * 30)) == ""


@given(st.text(min_size=8, max_size=80))
def test_no_message_ever_quotes_the_secret(text: str) -> None:
    told = "This does not look like any credential that we know"
    assert all(text in told or text not in refusal(text, slug) for slug in CATALOGUE)


def refusal(text: str, slug: str) -> str:
    try:
        check_shape(Secret(text), CATALOGUE[slug], CATALOGUE, environment="production")
    except InvalidInput as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize(
    ("slug", "text", "mode"),
    [
        ("stripe", "rk_live_" + A[:99], "live"),
        ("stripe", "sk_test_" + A[:24], "test"),
        ("stripe", "something else", ""),
        ("openbao", "hvs." + A[:90], ""),
    ],
)
def test_a_proof_records_the_mode_that_the_form_tells(slug: str, text: str, mode: str) -> None:
    assert mode_of(Secret(text), CATALOGUE[slug]) == mode
