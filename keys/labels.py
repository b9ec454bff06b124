"""The names of keys and providers, for the audit log's readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from audit import labels
from keys.models import Campaign, Drill, Incident, Key, Provider

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

MOST_CHOICES: Final = 500


def install() -> None:
    """Called once when the app is ready."""
    labels.install("key", _keys, choices=_key_choices)
    labels.install("provider", _providers)
    labels.install("campaign", _campaigns)
    labels.install("drill", _drills)
    labels.install("incident", _incidents)


def _keys(identifiers: Collection[UUID]) -> dict[UUID, str]:
    return dict(Key.objects.filter(id__in=identifiers).values_list("id", "name"))


def _providers(identifiers: Collection[UUID]) -> dict[UUID, str]:
    return dict(Provider.objects.filter(id__in=identifiers).values_list("id", "name"))


def _incidents(identifiers: Collection[UUID]) -> dict[UUID, str]:
    rows = Incident.objects.filter(id__in=identifiers).values_list("id", "key__name")
    return {identifier: f"Incident: {name}" for identifier, name in rows}


def _campaigns(identifiers: Collection[UUID]) -> dict[UUID, str]:
    return dict(Campaign.objects.filter(id__in=identifiers).values_list("id", "name"))


def _drills(identifiers: Collection[UUID]) -> dict[UUID, str]:
    rows = Drill.objects.filter(id__in=identifiers).values_list("id", "kind", "created_at")
    return {identifier: f"{kind.capitalize()} drill of {at:%Y-%m-%d}" for identifier, kind, at in rows}


def _key_choices() -> list[tuple[str, str]]:
    rows = Key.objects.order_by("name").values_list("id", "name")[:MOST_CHOICES]
    return [(str(identifier), name) for identifier, name in rows]
