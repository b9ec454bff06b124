"""How people read the ids in the record: each app installs labels of its kinds. Never stored in an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

Find: TypeAlias = "Callable[[Collection[UUID]], dict[UUID, str]]"
Choices: TypeAlias = "Callable[[], list[tuple[str, str]]]"
Subject: TypeAlias = tuple[str, UUID]

_finders: Final[dict[str, Find]] = {}
_choices: Final[dict[str, Choices]] = {}


def install(kind: str, find: Find, *, choices: Choices | None = None) -> None:
    """Called once per kind by the app that owns it. `choices` fill the kind's filter: (id, label)."""
    _finders[kind] = find
    if choices is not None:
        _choices[kind] = choices


def find_labels(subjects: Iterable[Subject]) -> dict[Subject, str]:
    """The labels of the bound tenant's subjects, one query per kind; what is unknown or gone is left out."""
    wanted: dict[str, set[UUID]] = {}
    for kind, identifier in subjects:
        wanted.setdefault(kind, set()).add(identifier)
    return {
        (kind, identifier): label
        for kind, identifiers in wanted.items()
        if kind in _finders
        for identifier, label in _finders[kind](identifiers).items()
    }


def list_choices(kind: str) -> list[tuple[str, str]]:
    """(id, label) of everything of this kind that a filter may offer."""
    return _choices[kind]() if kind in _choices else []


def always(label: str) -> Find:
    """The finder of a kind whose members are all called the same."""
    return lambda identifiers: dict.fromkeys(identifiers, label)
