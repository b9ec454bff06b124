"""The rules of a catalogue entry beyond its types. Platform staff add entries as JSON, so nothing here is
taken on trust.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from byok_portal.errors import InvalidInput
from keys.calls import CallPattern, check_path
from keys.catalogue.documents import broken
from keys.upstream.endpoints import validate_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keys.catalogue.entries import ProbeSpec, ProviderEntry, RevokeSpec, ScopeEntry

ADAPTERS: Final = ("openbao", "declared", "none")
MODES: Final = ("", "live", "test", "admin")
CHECKSUMS: Final = ("", "github-crc32")
RISKS: Final = (1, 2, 3, 4)
MAX_PATTERN: Final = 200
# Headers that frame the message or name the caller: an entry that set one could smuggle a second request.
FORBIDDEN_HEADERS: Final = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "cookie",
        "set-cookie",
        "proxy-authorization",
        "user-agent",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "forwarded",
        "x-forwarded-for",
    ]
)
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,39}")
_SCOPE_ID = re.compile(r"[a-z][a-z0-9_-]*(:[a-z][a-z0-9_-]*)+")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_SOURCE = re.compile(r"(json|header):[A-Za-z0-9_.-]+")
# Two unbounded repeats nested in each other: the classic catastrophic regular expression.
_NESTED_REPEAT = re.compile(r"[+*}]\)?[+*{]|\([^)]*[+*][^)]*\)[+*{]")


def check_entry(entry: ProviderEntry) -> ProviderEntry:
    """The entry unchanged. Raises InvalidInput that names the first field and rule that breaks."""
    _check_words(entry)
    _check_reach(entry)
    _check_references(entry)
    for number, shape in enumerate(entry.shapes):
        _check_regex(f"shapes[{number}].pattern", shape.pattern)
        _one_of(f"shapes[{number}].mode", shape.mode, MODES)
        _one_of(f"shapes[{number}].checksum", shape.checksum, CHECKSUMS)
    for number, scope in enumerate(entry.scopes):
        _check_scope(entry, scope, f"scopes[{number}]")
    _check_adapter(entry)
    return entry


def _check_words(entry: ProviderEntry) -> None:
    _matches("slug", entry.slug, _SLUG)
    _matches("abbreviation", entry.abbreviation, re.compile(r"[A-Za-z0-9]{2}"))
    _matches("tile", entry.tile, _SLUG)
    _one_of("adapter", entry.adapter, ADAPTERS)
    _one_of("rotation_class", entry.rotation_class, tuple("ABCDE"))
    for field in ("name", "summary", "revoke_note", "account_label"):
        if not getattr(entry, field).strip():
            raise broken(field, "empty", "must not be empty")
    if not entry.rotation_steps:
        raise broken("rotation_steps", "empty", "must name at least one step")


def _check_reach(entry: ProviderEntry) -> None:
    """Where calls go and what travels in their headers."""
    _one_of("endpoint.kind", entry.endpoint.kind, ("fixed", "customer"))
    if entry.endpoint.kind == "fixed":
        try:
            validate_endpoint(entry.endpoint.url, entry.private_networks)
        except InvalidInput as error:
            raise broken("endpoint.url", error.code, error.detail) from None
    if entry.auth.template.count("{secret}") != 1:
        raise broken("auth.template", "secret_placeholder", "must hold {secret} exactly once")
    names = [
        entry.auth.header,
        *(name for name, _ in entry.headers),
        *entry.forward_headers,
        *entry.return_headers,
    ]
    for name in names:
        if not _HEADER.fullmatch(name) or name.lower() in FORBIDDEN_HEADERS:
            raise broken("headers", "forbidden_header", f"{name[:40]} may not be set or passed on")
    if entry.auth.header.lower() in {name.lower() for name in (*entry.forward_headers, *entry.return_headers)}:
        raise broken("forward_headers", "auth_header", "must not name the header that carries the credential")
    for parameter in entry.parameters:
        _check_regex(f"parameters.{parameter.name}.pattern", parameter.pattern)
        if not re.fullmatch(parameter.pattern, parameter.default):
            msg = f"parameters.{parameter.name}.default"
            raise broken(msg, "pattern", "must match its own pattern")


def _check_references(entry: ProviderEntry) -> None:
    _unique("scopes", [scope.id for scope in entry.scopes])
    _unique("groups", [group.id for group in entry.groups])
    _unique("presets", [preset.id for preset in entry.presets])
    if not any(scope.minimum for scope in entry.scopes):
        raise broken("scopes", "no_minimum", "at least one scope must be the minimum")
    groups = {group.id for group in entry.groups}
    for number, scope in enumerate(entry.scopes):
        _one_of(f"scopes[{number}].group", scope.group, groups)
    for number, preset in enumerate(entry.presets):
        for scope_id in preset.scopes:
            _one_of(f"presets[{number}].scopes", scope_id, {scope.id for scope in entry.scopes})


def _check_scope(entry: ProviderEntry, scope: ScopeEntry, field: str) -> None:
    _matches(f"{field}.id", scope.id, _SCOPE_ID)
    if scope.risk not in RISKS:
        msg = f"{field}.risk"
        raise broken(msg, "range", "must be 1 (low) to 4 (critical)")
    if not scope.calls:
        msg = f"{field}.calls"
        raise broken(msg, "empty", "must allow at least one call")
    for call in scope.calls:
        try:
            pattern = CallPattern.parse(call)
        except InvalidInput as error:
            msg = f"{field}.calls"
            raise broken(msg, error.code, error.detail) from None
        if "prefix" in pattern.variables and "prefix" not in {each.name for each in entry.parameters}:
            msg = f"{field}.calls"
            raise broken(msg, "unknown_parameter", "{prefix} is not a parameter of this provider")


def _check_adapter(entry: ProviderEntry) -> None:
    if (entry.adapter == "declared") != (entry.probe is not None):
        raise broken("probe", "adapter", "is for declared adapters, and they need it")
    if entry.revoke is not None and entry.adapter != "declared":
        raise broken("revoke", "adapter", "is for declared adapters")
    if entry.probe is not None:
        _check_probe(entry.probe, entry)
    if entry.revoke is not None:
        _check_revoke(entry.revoke)


def _check_probe(probe: ProbeSpec, entry: ProviderEntry) -> None:
    _check_call("probe", probe.method, probe.path)
    if "{secret}" in probe.body:
        raise broken("probe.body", "secret_placeholder", "must not hold the credential")
    groups = [set(probe.valid), set(probe.limited), set(probe.invalid)]
    if len(set().union(*groups)) != sum(map(len, groups)):
        raise broken("probe.invalid", "overlap", "a status can mean one thing only")
    if any(
        status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR for status in probe.invalid
    ):
        raise broken("probe.invalid", "not_a_verdict", "429 and 5xx say nothing about a credential")
    named = (probe.ok, probe.error, probe.account_label, probe.expires, probe.scopes)
    for source in (*probe.account_id, *(source for _, source in probe.evidence), *filter(None, named)):
        _matches("probe", source, _SOURCE)
    for name, ids in probe.scope_map:
        for scope_id in ids:
            _one_of(f"probe.scope_map.{name}", scope_id, {scope.id for scope in entry.scopes})


def _check_revoke(revoke: RevokeSpec) -> None:
    _check_call("revoke", revoke.method, revoke.path)
    if not revoke.authenticated and '"{secret}"' not in revoke.body:
        raise broken("revoke.body", "secret_placeholder", 'must hold "{secret}" when the call is not authenticated')


def _check_call(field: str, method: str, path: str) -> None:
    _one_of(f"{field}.method", method, ("GET", "POST", "DELETE"))
    try:
        check_path(path)
    except InvalidInput as error:
        msg = f"{field}.path"
        raise broken(msg, error.code, error.detail) from None


def _check_regex(field: str, pattern: str) -> None:
    if len(pattern) > MAX_PATTERN or _NESTED_REPEAT.search(pattern):
        raise broken(field, "regex_too_complex", "is too long or nests repeats")
    try:
        re.compile(pattern, re.ASCII)
    except re.error:
        raise broken(field, "regex", "is not a regular expression") from None


def _matches(field: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise broken(field, "format", f"must match {pattern.pattern}")


def _one_of(field: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise broken(field, "unknown_value", f"{value[:40]!r} is not one of the known values")


def _unique(field: str, ids: list[str]) -> None:
    if len(set(ids)) != len(ids):
        raise broken(field, "duplicate", "ids must be unique")
