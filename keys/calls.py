"""Call patterns: which HTTP calls a scope allows. Default deny; a path that two parsers could read
differently is refused.

Pure. Must never decode, clean up or repair a path: it is either plain or refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote_plus

from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "LIST", "SCAN"})
MAX_PATH: Final = 2048
MAX_QUERY: Final = 4096

# RFC 3986 pchar without "%" and without ";" (matrix parameters: some servers cut the segment there).
# No percent sign at all: an encoded slash, dot, NUL or a double encoding cannot then be smuggled past us.
_SEGMENT = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,=:@]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*)(\.\.\.)?\}")
_CONDITION = re.compile(r"(!)?([A-Za-z0-9_.-]+)(?:=([A-Za-z0-9_.-]+))?")
_QUERY = re.compile(r"[A-Za-z0-9\-._~!$'()*+,=:@/?&%\[\]]*")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class ScopeCalls(Protocol):
    """What `find_scopes` needs of a scope."""

    @property
    def id(self) -> str: ...  # the class says it
    @property
    def calls(self) -> tuple[str, ...]: ...  # the class says it


def check_path(path: str) -> str:
    """The path unchanged when every server reads it the same way. Raises InvalidInput `unsafe_path`
    otherwise.
    """
    if len(path) > MAX_PATH:
        raise InvalidInput("The path is too long", code="path_too_long", field="path")
    *head, last = _split(path) or [""]
    if not path.startswith("/") or not all(map(_is_plain, head)) or not (last == "" or _is_plain(last)):
        raise InvalidInput(
            "The path holds a segment that servers may read in two ways", code="unsafe_path", field="path"
        )
    return path


def check_query(query: str) -> str:
    """The query string unchanged when it is well formed. Raises InvalidInput `unsafe_query` otherwise."""
    plain = len(query) <= MAX_QUERY and _QUERY.fullmatch(query) and not _PERCENT.search(query)
    if not plain or not unquote_plus(query).isprintable():
        raise InvalidInput(
            "The query string is too long or holds unsafe characters", code="unsafe_query", field="query"
        )
    return query


@dataclass(frozen=True, slots=True)
class QueryCondition:
    """`?list=true` demands exactly that value, once; `?!list` forbids the name."""

    name: str
    value: str | None
    forbidden: bool

    def holds(self, pairs: list[tuple[str, str]]) -> bool:
        """Names compare without case: a server that folds case must not see what we did not."""
        values = [value for name, value in pairs if name.lower() == self.name.lower()]
        return not values if self.forbidden else values == [self.value]


@dataclass(frozen=True, slots=True)
class CallPattern:
    """One method and path template, such as `GET /v1/{mount}/data/{prefix}{path...}`.

    `{mount}` and `{prefix}` named in the parameters are literal (a parameter may hold several segments, or
    none);
    any other `{name}` is exactly one segment; a final `{path...}` is one segment or more.
    """

    method: str
    segments: tuple[tuple[str, ...], ...]  # each segment is a run of parts: "text" or "{name}"
    conditions: tuple[QueryCondition, ...] = ()

    @classmethod
    def parse(cls, text: str) -> CallPattern:
        """Raises InvalidInput `bad_call_pattern` for anything but `METHOD /path[?conditions]`."""
        method, space, target = text.partition(" ")
        path, _, query = target.partition("?")
        if not space or method not in METHODS or not path.startswith("/"):
            raise _bad_pattern(text)
        segments = tuple(_parse_segment(segment, text) for segment in _split(path))
        if any(part.endswith("...}") for segment in segments[:-1] for part in segment):
            raise _bad_pattern(text)
        conditions = tuple(_parse_condition(part, text) for part in query.split("&")) if query else ()
        return cls(method, segments, conditions)

    @property
    def variables(self) -> frozenset[str]:
        """The names between braces, without dots."""
        return frozenset(_variable(part)[0] for segment in self.segments for part in segment if part[0] == "{")

    def matches(self, method: str, path: str, parameters: Mapping[str, str], query: str = "") -> bool:
        """Whether this pattern allows the call. Unsafe paths and queries never match."""
        try:
            segments = _split(check_path(path))
            pairs = _pairs(check_query(query))
        except InvalidInput:
            return False
        if method != self.method or not all(condition.holds(pairs) for condition in self.conditions):
            return False
        if segments[-1:] == [""] and self._lists():
            segments = segments[:-1]
        return _match(self._bind(parameters), segments)

    def _lists(self) -> bool:
        # Only listings may end in a slash: OpenBao adds it itself, so both spellings are the same call.
        return self.method in {"LIST", "SCAN"} or any(not c.forbidden and c.name == "list" for c in self.conditions)

    def _bind(self, parameters: Mapping[str, str]) -> list[str]:
        """The template as plain segments, `{name}` for one segment and `{...}` for the tail."""
        bound: list[str] = []
        for segment in self.segments:
            for part in segment:
                name, many = _variable(part) if part[0] == "{" else ("", False)
                if not name:
                    bound.append(part)
                elif name in parameters:
                    # Whole segments only: prefix "acme" never reaches "acme-evil".
                    bound.extend(piece for piece in parameters[name].strip("/").split("/") if piece)
                else:
                    bound.append("{...}" if many else "{}")
        return bound


def find_scopes(
    scopes: Iterable[ScopeCalls], method: str, path: str, parameters: Mapping[str, str], query: str = ""
) -> list[str]:
    """Ids of the scopes that allow the call, in catalogue order. Empty means: refuse."""
    return [
        scope.id
        for scope in scopes
        if any(CallPattern.parse(call).matches(method, path, parameters, query) for call in scope.calls)
    ]


def _split(path: str) -> list[str]:
    return path.split("/")[1:]


def _is_plain(segment: str) -> bool:
    return _SEGMENT.fullmatch(segment) is not None and segment.strip(".") != ""


def _match(bound: list[str], segments: list[str]) -> bool:
    if "" in segments:
        return False
    if bound[-1:] == ["{...}"]:
        head = bound[:-1]
        return len(segments) > len(head) and _match(head, segments[: len(head)])
    return len(bound) == len(segments) and all(
        pattern in ("{}", segment) for pattern, segment in zip(bound, segments, strict=True)
    )


def _pairs(query: str) -> list[tuple[str, str]]:
    halves = [pair.partition("=") for pair in query.split("&") if pair]
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in halves]


def _parse_segment(segment: str, text: str) -> tuple[str, ...]:
    """`{a}{b...}` gives its variables, plain text gives itself; mixing the two in one segment is refused."""
    if _SEGMENT.fullmatch(segment) and segment.strip("."):
        return (segment,)
    parts = tuple(match.group(0) for match in _VARIABLE.finditer(segment))
    if not parts or "".join(parts) != segment or any(part.endswith("...}") for part in parts[:-1]):
        raise _bad_pattern(text)
    return parts


def _parse_condition(part: str, text: str) -> QueryCondition:
    match = _CONDITION.fullmatch(part)
    if match is None or bool(match[1]) == bool(match[3]):
        raise _bad_pattern(text)
    return QueryCondition(match[2], match[3], bool(match[1]))


def _variable(part: str) -> tuple[str, bool]:
    return part.strip("{}.").strip(), part.endswith("...}")


def _bad_pattern(text: str) -> InvalidInput:
    return InvalidInput(f"Not a call pattern: {text[:200]}", code="bad_call_pattern", field="calls")
