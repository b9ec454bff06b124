"""A statement as people read it: sections with facts and tables, in their order. Never asks the database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.utils.html import format_html

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NONE: Final = "-"
STYLE: Final = (Path(__file__).parent / "paper.css").read_text()
"""Part of the page, which is saved and printed; it has no character that HTML escapes."""
_TIME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?(?:Z|\+00:00)")


@dataclass(slots=True)
class Table:
    """Rows of text under the columns that any of them has."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(slots=True)
class Section:
    """One part of a document: its facts, then its list or table."""

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    table: Table | None = None


def lay_out(statement: Mapping[str, Any]) -> list[Section]:
    """Plain values first, under no title; then a section for each object and list. Empty ones say so by `NONE`."""
    first = Section("")
    sections = [first]
    for name, value in statement.items():
        if isinstance(value, dict):
            sections.append(Section(label_of(name), facts=list(_facts(value))))
            sections += [_listed(f"{name}_{key}", part) for key, part in value.items() if _is_long(part)]
        elif isinstance(value, list):
            sections.append(_listed(name, value))
        else:
            first.facts.append((label_of(name), text_of(value)))
    return sections


def dress(document: Mapping[str, Any], *, digest: str, title: str) -> dict[str, Any]:
    """The context of the page for people, which stands alone."""
    return {
        "document": document,
        "digest": digest,
        "title": title,
        "sections": lay_out(document["statement"]),
        "command": f"byok-verify {document['kind'].replace('_', '-')}.zip --log-key log.vkey",
        "style": format_html("<{0}>{1}</{0}>", "style", STYLE),
    }


def label_of(name: str) -> str:
    """`refused_from` is "Refused from"."""
    return name.replace("_", " ").strip().capitalize()


def text_of(value: object) -> str:
    """One value in a cell."""
    if value is None or value in ("", [], {}):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{label_of(name).lower()}: {text_of(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(text_of(part) for part in value)
    return _TIME.sub(r"\1 \2 UTC", str(value))


def _is_long(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(part, dict) for part in value)


def _facts(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, part in value.items():
        if not _is_long(part):
            yield label_of(name), text_of(part)


def _listed(name: str, values: list[Any]) -> Section:
    section = Section(label_of(name))
    if values and all(isinstance(value, dict) for value in values):
        columns = list(dict.fromkeys(key for value in values for key in value))
        rows = [[text_of(value.get(column)) for column in columns] for value in values]
        section.table = Table([label_of(column) for column in columns], rows)
    else:
        section.items = [text_of(value) for value in values] or [NONE]
    return section
