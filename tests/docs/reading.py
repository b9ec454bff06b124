"""Reads README.md and docs/ for the tests: code spans, fenced blocks, links, headings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def text_of(document: Path) -> str:
    """The whole document."""
    return document.read_text(encoding="utf-8")


def blocks_of(document: Path) -> list[tuple[str, str]]:
    """(language, content) of every fenced block."""
    return [(match[1], match[2]) for match in _FENCE.finditer(text_of(document))]


def spans_of(document: Path) -> list[str]:
    """Every inline code span, without the fenced blocks."""
    return _SPAN.findall(_FENCE.sub("", text_of(document)))


def links_of(document: Path) -> list[str]:
    """The target of every link and picture, without the fenced blocks."""
    return _LINK.findall(_FENCE.sub("", text_of(document)))


def anchors_of(document: Path) -> set[str]:
    """What a link may name after `#`, as GitHub spells it."""
    headings = _HEADING.findall(_FENCE.sub("", text_of(document)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def configuration_rows() -> set[str]:
    """The variables of README's configuration table."""
    section = text_of(ROOT / "README.md").partition("## Configuration")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in _SPAN.findall(row)}
