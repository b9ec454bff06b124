"""Call patterns: what is allowed, and that nothing leaves the prefix."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote, urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from byok_portal.errors import InvalidInput
from keys.calls import CallPattern, check_path, check_query, find_scopes
from keys.catalogue import load_catalogue

READ = "GET /v1/{mount}/data/{prefix}{path...}?!list"
BOUND = {"mount": "secret", "prefix": "acme/team"}
BAO = load_catalogue()["openbao"].scopes


@pytest.mark.parametrize("path", ["/v1/secret/data/acme/team/x", "/v1/secret/data/acme/team/x/y-z_1.2"])
def test_a_path_under_the_prefix_matches(path: str) -> None:
    assert CallPattern.parse(READ).matches("GET", path, BOUND)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/secret/data/acme/team",
        "/v1/secret/data/acme/team/",
        "/v1/secret/data/acme/team-evil/x",
        "/v1/secret/data/acme",
        "/v1/secret/data/other/x",
        "/v1/other/data/acme/team/x",
        "/v1/secret/metadata/acme/team/x",
        "/v1/secret/data/acme/team/../other",
        "/v1/secret/data/acme/team/./x",
        "/v1/secret/data/acme/team//x",
        "/v1/secret/data/acme/team/x/",
        "/v1/secret/data/acme/team/..;/x",
        "/v1/secret/data/acme/team/x\\..\\y",
        "/v1/secret/data/acme/team/%2e%2e/x",
        "/v1/secret/data/acme/team/%252e%252e/x",
        "/v1/secret/data/acme/team/a%2fb",
        "/v1/secret/data/acme/team/a%00",
        "/v1/secret/data/acme/team/x?list=true",
        "/v1/secret/data/acme/team/x#y",
        "/v1/secret/data/acme/team/x\r\nHost: evil",
        "/v1/secret/data/acme/team/\u2024\u2024/x",
        "/v1/secret/data/acme/team/\uff0e\uff0e/x",
        "v1/secret/data/acme/team/x",
        "//v1/secret/data/acme/team/x",
        "http://evil/v1/secret/data/acme/team/x",
        "",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    assert not CallPattern.parse(READ).matches("GET", path, BOUND)


@pytest.mark.parametrize("method", ["get", "POST", "HEAD", "LIST", "GET ", ""])
def test_methods_are_exact(method: str) -> None:
    assert not CallPattern.parse(READ).matches(method, "/v1/secret/data/acme/team/x", BOUND)


@pytest.mark.parametrize("query", ["list=true", "LIST=true", "l%69st=true", "a=1&list", "list=false"])
def test_a_forbidden_query_name_is_refused_in_every_spelling(query: str) -> None:
    assert not CallPattern.parse(READ).matches("GET", "/v1/secret/data/acme/team/x", BOUND, query)


def test_a_required_query_value_is_exact_and_given_once() -> None:
    pattern = CallPattern.parse("GET /v1/{mount}/metadata/{prefix}?list=true")
    path = "/v1/secret/metadata/acme/team"
    assert pattern.matches("GET", path, BOUND, "list=true")
    assert pattern.matches("GET", f"{path}/", BOUND, "list=true&after=x")
    for query in ("", "list=1", "list=true&list=false", "list=true;x=1"):
        assert not pattern.matches("GET", path, BOUND, query)


@pytest.mark.parametrize(
    "query", ["a=%0d%0aX: 1", "a=\r\n", "a=%00", "a=b c", "a=#", "a=%zz", "a=1;b=2", "a=\u00e9", "a" * 5000]
)
def test_an_unsafe_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_query(query)
    assert (refused.value.field, refused.value.code) == ("query", "unsafe_query")


@pytest.mark.parametrize(
    "text",
    [
        "GET",
        "get /x",
        "GET x",
        "FETCH /x",
        "GET /a/../b",
        "GET /{p...}/x",
        "GET /a{b}",
        "GET /{A}",
        "GET /x?",
        "GET /x?a",
        "GET /x?!a=b",
        "GET /%2e",
        "GET //x",
    ],
)
def test_a_bad_pattern_is_refused(text: str) -> None:
    if text == "GET /x?":
        assert CallPattern.parse(text).conditions == ()
        return
    with pytest.raises(InvalidInput) as refused:
        CallPattern.parse(text)
    assert refused.value.code == "bad_call_pattern"


def test_a_prefix_parameter_cannot_climb_out() -> None:
    for prefix in ("..", "../..", ".", "acme/../.."):
        assert not CallPattern.parse(READ).matches("GET", "/v1/secret/data/x", {"mount": "secret", "prefix": prefix})


def test_an_empty_prefix_is_the_whole_mount_and_no_more() -> None:
    pattern = CallPattern.parse(READ)
    assert pattern.matches("GET", "/v1/secret/data/x", {"mount": "secret", "prefix": ""})
    assert not pattern.matches("GET", "/v1/other/data/x", {"mount": "secret", "prefix": ""})


@pytest.mark.parametrize(
    ("method", "path", "query", "scopes"),
    [
        ("GET", "/v1/secret/data/acme/team/app", "", ["secrets:read"]),
        ("GET", "/v1/secret/data/acme/team/app", "version=2", ["secrets:read"]),
        ("GET", "/v1/secret/metadata/acme/team/app", "", ["metadata:read"]),
        ("GET", "/v1/secret/metadata/acme/team/app", "list=true", ["secrets:list"]),
        ("GET", "/v1/secret/metadata/acme/team/app", "scan=true", []),
        ("LIST", "/v1/secret/metadata/acme/team/", "", ["secrets:list"]),
        ("LIST", "/v1/secret/metadata/", "", []),
        ("DELETE", "/v1/secret/metadata/acme/team/app", "", ["metadata:delete"]),
        ("POST", "/v1/auth/token/create", "", []),
        ("POST", "/v1/sys/wrapping/wrap", "", []),
        ("GET", "/v1/sys/policies/acl", "", []),
    ],
)
def test_a_call_finds_its_scopes_and_everything_else_is_denied(
    method: str, path: str, query: str, scopes: list[str]
) -> None:
    assert find_scopes(BAO, method, path, BOUND, query) == scopes


SEGMENT = st.text(st.sampled_from("ab.%2eEfF/\\;?#&=:@~\x00\r\n\t \u2024\uff0e\u00e9"), max_size=8)


@given(st.lists(st.one_of(SEGMENT, st.sampled_from(["..", ".", "", "%2e%2e", "..;", "x", "acme", "team"])), max_size=6))
@example(["..", "..", "sys"])
@example(["%2e%2e"])
def test_an_accepted_path_never_leaves_the_prefix_however_it_is_normalised(tail: list[str]) -> None:
    prefix = "/v1/secret/data/acme/team"
    path = "/".join([prefix, *tail])
    if CallPattern.parse(READ).matches("GET", path, BOUND):
        for reading in (
            path,
            unquote(path),
            unquote(unquote(path)),
            path.split(";")[0],
            path.replace("\\", "/"),
        ):
            assert posixpath.normpath(reading).startswith(f"{prefix}/")
            assert urljoin("https://h/", reading).startswith(f"https://h{prefix}/")


@given(st.text(max_size=40))
def test_checked_paths_are_plain_ascii_without_anything_to_decode(text: str) -> None:
    path = f"/{text}"
    try:
        check_path(path)
    except InvalidInput:
        return
    assert path.isascii()
    assert unquote(path) == path
    assert posixpath.normpath(path).rstrip("/") == path.rstrip("/")
