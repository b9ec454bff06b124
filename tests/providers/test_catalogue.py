"""The shipped catalogue is sound, and an entry that breaks a rule is refused with the field and the rule."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest

from byok_portal.errors import InvalidInput
from keys.calls import CallPattern
from keys.catalogue import check_parameters, digest, load_catalogue, parse_entry, to_document
from keys.providers import get_adapter

if TYPE_CHECKING:
    from collections.abc import Callable

SLUGS = ["openbao", "openai", "anthropic", "aws", "github", "gitlab", "slack", "stripe"]
CATALOGUE = load_catalogue()


def test_the_eight_providers_ship_and_openbao_comes_first() -> None:
    assert sorted(CATALOGUE) == sorted(SLUGS)
    assert next(iter(CATALOGUE)) == "openbao"


@pytest.mark.parametrize("slug", SLUGS)
def test_an_entry_survives_json_and_keeps_its_digest(slug: str) -> None:
    entry = CATALOGUE[slug]
    again = parse_entry(json.loads(json.dumps(to_document(entry))))
    assert again == entry
    assert digest(again) == digest(entry)


@pytest.mark.parametrize("slug", SLUGS)
def test_scopes_are_told_in_whole_sentences_and_presets_stay_small(slug: str) -> None:
    entry = CATALOGUE[slug]
    assert 6 <= len(entry.scopes) <= 13
    assert all(scope.consequence.endswith(".") and not scope.can.endswith(".") for scope in entry.scopes)
    assert sum(preset.suggested for preset in entry.presets) == 1
    assert {scope.id for scope in entry.scopes if scope.minimum} <= set(entry.presets[0].scopes)
    # No preset hands out a critical right unasked, save where taking money is the very purpose.
    suggested = next(preset for preset in entry.presets if preset.suggested)
    assert all(scope.risk <= 3 for scope in entry.scopes if scope.id in suggested.scopes)
    assert get_adapter(entry) is not None


@pytest.mark.parametrize("slug", SLUGS)
def test_every_group_has_scopes_and_an_icon_that_lucide_draws(slug: str) -> None:
    icons = ZipFile(BytesIO((files("lucide") / "lucide.zip").read_bytes())).namelist()
    entry = CATALOGUE[slug]
    assert {scope.group for scope in entry.scopes} == {group.id for group in entry.groups}
    assert {group.icon for group in entry.groups} <= {name.rpartition("/")[2].removesuffix(".svg") for name in icons}


@pytest.mark.parametrize("slug", SLUGS)
def test_no_call_pattern_opens_a_whole_host(slug: str) -> None:
    for scope in CATALOGUE[slug].scopes:
        for call in scope.calls:
            first = CallPattern.parse(call).segments[0][0]
            assert slug == "aws" or not first.startswith("{"), call


def edit(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        target: Any = document
        for part in parents:
            target = target[part]
        if value is None:
            del target[last]
        else:
            target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        (edit("name", None), "name", "missing"),
        (edit("name", 7), "name", "wrong_type"),
        (edit("surprise", 1), "surprise", "unknown_field"),
        (edit("scopes.0.surprise", 1), "scopes[0].surprise", "unknown_field"),
        (edit("scopes.0.risk", 5), "scopes[0].risk", "range"),
        (edit("scopes.0.risk", value=True), "scopes[0].risk", "wrong_type"),
        (edit("scopes.0.group", "none"), "scopes[0].group", "unknown_value"),
        (edit("scopes.0.calls", []), "scopes[0].calls", "empty"),
        (edit("scopes.0.calls", ["GET /a/../b"]), "scopes[0].calls", "bad_call_pattern"),
        (edit("scopes.0.calls", ["GET /{prefix}{path...}"]), "scopes[0].calls", "unknown_parameter"),
        (edit("scopes.1.id", "models:read"), "scopes", "duplicate"),
        (edit("presets.0.scopes", ["nope:x"]), "presets[0].scopes", "unknown_value"),
        (edit("shapes.0.pattern", "(a+)+"), "shapes[0].pattern", "regex_too_complex"),
        (edit("shapes.0.pattern", "("), "shapes[0].pattern", "regex"),
        (edit("endpoint.url", "http://api.openai.com"), "endpoint.url", "scheme"),
        (edit("endpoint.url", "https://169.254.169.254"), "endpoint.url", "private_network"),
        (edit("auth.template", "Bearer"), "auth.template", "secret_placeholder"),
        (edit("auth.header", "Host"), "headers", "forbidden_header"),
        (edit("headers", {"Cookie": "a"}), "headers", "forbidden_header"),
        (edit("forward_headers", ["authorization"]), "forward_headers", "auth_header"),
        (edit("forward_headers", ["X-HTTP-Method-Override"]), "headers", "forbidden_header"),
        (edit("probe", None), "probe", "adapter"),
        (edit("probe.invalid", [401, 429]), "probe.invalid", "not_a_verdict"),
        (edit("probe.invalid", [200]), "probe.invalid", "overlap"),
        (edit("probe.path", "/v1/../x"), "probe.path", "unsafe_path"),
        (edit("probe.method", "PATCH"), "probe.method", "unknown_value"),
        (edit("adapter", "magic"), "adapter", "unknown_value"),
        (edit("slug", "../x"), "slug", "format"),
    ],
)
def test_a_broken_entry_is_refused_with_field_and_rule(
    change: Callable[[dict[str, Any]], None], field: str, rule: str
) -> None:
    document = copy.deepcopy(to_document(CATALOGUE["openai"]))
    change(document)
    with pytest.raises(InvalidInput) as refused:
        parse_entry(document)
    assert (refused.value.field, refused.value.code) == (field, rule)


def test_parameters_get_defaults_and_bad_ones_are_refused() -> None:
    entry = CATALOGUE["openbao"]
    assert check_parameters(entry, {}) == {"mount": "secret", "prefix": "", "namespace": ""}
    for bad in (
        {"mount": "sys"},
        {"mount": "auth/token"},
        {"prefix": "../x"},
        {"prefix": "/x"},
        {"namespace": "a\nb"},
        {"x": "y"},
    ):
        with pytest.raises(InvalidInput):
            check_parameters(entry, bad)


def test_an_empty_repository_means_any_and_a_given_one_means_that_one() -> None:
    entry = CATALOGUE["github"]
    pattern = CallPattern.parse("GET /repos/{owner}/{repository}")
    assert pattern.matches("GET", "/repos/any/thing", check_parameters(entry, {}))
    bound = check_parameters(entry, {"owner": "acme", "repository": "site"})
    assert pattern.matches("GET", "/repos/acme/site", bound)
    assert not pattern.matches("GET", "/repos/acme/other", bound)
    assert not pattern.matches("GET", "/repos/thing", check_parameters(entry, {}))
