"""Reads a provider's answer as its catalogue entry says: `json:a.b` and `header:name`. Pure; answers are
not trusted.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keys.catalogue.entries import Json
    from keys.upstream.http import Response

MAX_TEXT: Final = 300
MAX_NAMES: Final = 100


def read_json(answer: Response) -> Json:
    """The body as JSON, None when it is none."""
    try:
        document: Json = json.loads(answer.body)
    # RecursionError: a body of a million brackets.
    except (ValueError, RecursionError):
        return None
    return document


def find_value(source: str, answer: Response, document: Json) -> Json:
    """The value at a source, None when it is missing."""
    kind, _, name = source.partition(":")
    if kind == "header":
        return answer.headers.get(name.lower())
    value = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def find_text(source: str, answer: Response, document: Json) -> str:
    """The value as short, printable text; empty when missing or not a plain value."""
    value = find_value(source, answer, document) if source else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return "".join(c for c in str(value) if c.isprintable())[:MAX_TEXT]


def find_names(source: str, answer: Response, document: Json) -> list[str] | None:
    """A list of names, from a JSON list or a comma-separated text; None when missing: the provider cannot
    tell.
    """
    value = find_value(source, answer, document) if source else None
    if isinstance(value, str):
        return [name.strip()[:MAX_TEXT] for name in value.split(",") if name.strip()]
    if isinstance(value, list):
        return [name[:MAX_TEXT] for name in value if isinstance(name, str)]
    return None


def find_plain(source: str, answer: Response, document: Json) -> Json:
    """A value fit to keep as evidence: short text or a list of names; anything else would be the provider's
    to abuse.
    """
    if isinstance(find_value(source, answer, document), list):
        names = find_names(source, answer, document) or []
        return [*names[:MAX_NAMES]]
    return find_text(source, answer, document)


def find_time(source: str, answer: Response, document: Json) -> datetime | None:
    """RFC 3339, GitHub's `2026-12-01 10:00:00 UTC`, a bare date (its end, in UTC), or Unix seconds."""
    value = find_value(source, answer, document) if source else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 37:
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
        if len(value.strip()) == len("2026-12-01"):
            moment += timedelta(days=1)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
