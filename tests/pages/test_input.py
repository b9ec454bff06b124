from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keys.models import Key, Material
from tests.pages.browser import at, in_days, registration, sign_in, text_of

if TYPE_CHECKING:
    from tests.world import Cast, World

OWNER = "the owner of the tenant"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nul byte": ({"secret": "s.abc\0def"}, "control character"),
    "line break inside": ({"secret": "s.abc\ndef"}, "control character"),
    "empty secret": ({"secret": "  "}, "Paste the secret"),
    "seventeen kibibytes": ({"secret": "s" * 17_000}, "longer than 16 KiB"),
    "another provider's": (
        {"secret": "sk_" + "live_" + "a1B2c3D4e5F6g7H8i9J0k1L2"},
        "This looks like",
    ),
    "no token at all": ({"secret": "correct-horse-battery"}, "does not look like any OpenBao"),
    "a dead token": ({"secret": "s." + "a" * 24}, "OpenBao refuses this credential"),
    "unknown scope": ({"scope": ["secrets:read", "secrets:fly"]}, "has no scope"),
    "no scope": ({"scope": []}, "choose at least one"),
    "past end": ({"ends_on": str(in_days(-1))}, "must be after today"),
    "far end": ({"ends_on": str(in_days(4000))}, "at most three years"),
    "no date": ({"ends_on": "soon"}, "Enter a valid date"),
    "one owner twice": ({"backup_owner": OWNER}, "another person"),
    "a stranger as owner": (
        {"owner": "0192f3c1-77aa-7000-8000-000000000000"},
        "Select a valid choice",
    ),
    "nul in the name": ({"name": "re\0ports"}, "Null characters are not allowed"),
    "custody that is not here": ({"custody": "referenced"}, "only sealed is available"),
    "a private address": ({"endpoint": "http://169.254.169.254/"}, "Endpoint"),
    "a bad parameter": ({"param_mount": "sys"}, "Mount"),
    "critical without a reason": ({"scope": ["secrets:destroy"]}, "Justification is required"),
    "more than it can do": ({"scope": ["secrets:write"]}, "cannot do what was chosen"),
}


def count_keys(world: World, cast: Cast) -> tuple[int, int]:
    with world.inside(cast):
        return Key.objects.count(), Material.objects.count()


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_kept_and_stores_nothing(world: World, case: str) -> None:
    cast, token = world.tenant(), world.bao_token()
    change, words = BAD[case]
    data = registration(world, cast, token) | change
    data |= {name: str(cast.owner.pk) for name, value in change.items() if value == OWNER}
    answer = sign_in(cast.owner).post(at("keys:register", cast), data)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert words in text_of(answer).replace("&#x27;", "'")
    assert count_keys(world, cast) == (0, 0)
    secret = str(data["secret"]).strip()
    assert not secret or secret not in page
    assert "Nightly report" in page
    assert str(data["endpoint"]) in page
    assert 'role="alert"' in page


def test_a_repeated_secret_and_a_taken_name_are_told(world: World) -> None:
    cast, token = world.tenant(), world.bao_token()
    browser, data = sign_in(cast.owner), registration(world, cast, token)
    assert browser.post(at("keys:register", cast), data).status_code == 302
    again = browser.post(at("keys:register", cast), data)
    assert (again.status_code, "Name is taken by another key" in text_of(again)) == (422, True)
    answer = browser.post(at("keys:register", cast), data | {"name": world.name("other")})
    assert (answer.status_code, "registered already" in text_of(answer)) == (422, True)
    assert token.token not in answer.content.decode()
    assert count_keys(world, cast) == (1, 1)


def test_ten_megabytes_get_a_clear_refusal(world: World) -> None:
    cast = world.tenant()
    data = registration(world, cast, world.bao_token(), secret="s" * 10_000_000)
    answer = sign_in(cast.owner).post(at("keys:register", cast), data)
    assert answer.status_code == 413
    assert "bigger than 1 MiB" in text_of(answer)
    assert len(answer.content) < 10_000


def test_a_preset_counts_when_no_scope_is_ticked(world: World) -> None:
    cast, token = world.tenant(), world.bao_token()
    data = registration(world, cast, token, scope=[], preset="reader")
    assert sign_in(cast.owner).post(at("keys:register", cast), data).status_code == 302
    with world.inside(cast):
        assert Key.objects.get().scopes == ["secrets:read", "token:self"]


def test_the_form_starts_with_the_smallest_preset_and_sealed_custody(world: World) -> None:
    cast = world.tenant()
    page = sign_in(cast.owner).get(at("keys:register", cast), {"provider": "openbao"})
    assert [preset["id"] for preset in page.context["presets"] if preset["checked"]] == ["reader"]
    ticked = [scope["id"] for group in page.context["groups"] for scope in group["scopes"] if scope["checked"]]
    assert sorted(ticked) == ["secrets:read", "token:self"]
    custodies = page.context["custodies"]
    assert [each["value"] for each in custodies if not each["disabled_reason"]] == ["sealed"]
    missing = sign_in(cast.owner).get(at("keys:register", cast), {"provider": "nothing"})
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drain": "-1"}, "whole number"),
        ({"drain": "721"}, "whole number"),
        ({"drain": "x"}, "whole number"),
        ({"secret": ""}, "Paste the secret"),
        ({"secret": "s.\0"}, "control character"),
        ({}, "registered already"),
    ],
)
def test_a_bad_rotation_changes_nothing_and_never_shows_the_secret(
    world: World, change: dict[str, str], words: str
) -> None:
    cast, token = world.tenant(), world.bao_token()
    key = world.key(cast, token=token)
    data = {"secret": token.token, "drain": "24", "note": ""} | change
    answer = sign_in(cast.owner).post(at("keys:rotate", cast, key.slug), data)
    assert (answer.status_code, words in text_of(answer)) == (422, True)
    assert token.token not in answer.content.decode()
    assert count_keys(world, cast) == (1, 1)


def test_excess_must_be_ticked_and_explained_before_activation(world: World) -> None:
    cast = world.tenant()
    token = world.bao_token(policies=("report-reader",))
    key = world.key(cast, token=token, activate=False, parameters={"mount": "secret", "prefix": "reports/q3"})
    browser, address = sign_in(cast.owner), at("keys:activate", cast, key.slug)
    page = browser.get(address)
    assert "A thief could use it directly" in text_of(page).replace("a thief", "A thief")
    for data in ({"note": ""}, {"note": "Because"}, {"accept_excess": "on", "note": " "}):
        assert browser.post(address, data).status_code == 422
    assert browser.post(address, {"accept_excess": "on", "note": "The policy is shared"}).status_code == 302
    assert browser.post(address, {"accept_excess": "on", "note": "Again"}).status_code == 409


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"consumer": "x"}, "Select a valid choice"),
        ({"scope": ["secrets:write"]}, "was not registered for"),
        ({"scope": []}, "choose at least one"),
        ({"delivery": []}, "choose at least one"),
        ({"delivery": ["pigeon"]}, "must be one of"),
        ({"days": "0"}, "greater than or equal to 1"),
        ({"days": "9" * 400}, ""),
        ({"networks": "not-a-network"}, "is not a network"),
        ({"rate_per_minute": "-5"}, "greater than or equal to 1"),
        ({"reason": ""}, "This field is required"),
        ({"reason": "a\0b"}, "Null characters are not allowed"),
    ],
)
def test_a_bad_grant_is_named_and_its_values_are_kept(world: World, change: dict[str, Any], words: str) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    data = {
        "consumer": str(credential.consumer.id),
        "scope": ["secrets:read"],
        "delivery": ["broker"],
        "days": "30",
        "networks": "10.0.0.0/8",
        "reason": "Because",
    }
    answer = sign_in(cast.owner).post(at("keys:grant", cast, key.slug), data | change)
    assert (answer.status_code, words in text_of(answer)) == (422, True)
    assert str((data | change)["networks"]) in answer.content.decode()
