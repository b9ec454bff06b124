"""The names of people, consumers and the tenant itself, for the audit log's readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from audit import labels
from tenants.models import Consumer, Membership, Project, Tenant, User

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

MOST_CHOICES: Final = 500


def install() -> None:
    """Called once when the app is ready."""
    labels.install("person", _people, choices=_person_choices)
    labels.install("staff", labels.always("Platform staff"))
    labels.install("worker", labels.always("Background worker"))
    labels.install("consumer", _consumers, choices=_consumer_choices)
    labels.install("tenant", _tenants)
    labels.install("project", _projects)


def _people(identifiers: Collection[UUID]) -> dict[UUID, str]:
    return {user.id: str(user) for user in User.objects.filter(id__in=identifiers).only("name", "email")}


def _consumers(identifiers: Collection[UUID]) -> dict[UUID, str]:
    return dict(Consumer.objects.filter(id__in=identifiers).values_list("id", "name"))


def _tenants(identifiers: Collection[UUID]) -> dict[UUID, str]:
    return dict(Tenant.objects.filter(id__in=identifiers).values_list("id", "name"))


def _projects(identifiers: Collection[UUID]) -> dict[UUID, str]:
    return dict(Project.objects.filter(id__in=identifiers).values_list("id", "name"))


def _consumer_choices() -> list[tuple[str, str]]:
    rows = Consumer.objects.order_by("name").values_list("id", "name")[:MOST_CHOICES]
    return [(str(identifier), name) for identifier, name in rows]


def _person_choices() -> list[tuple[str, str]]:
    members = Membership.objects.select_related("user").order_by("user__name", "user__email")[:MOST_CHOICES]
    return [(str(each.user_id), _word_person(each.user)) for each in members]


def _word_person(user: User) -> str:
    return f"{user.name} ({user.email})" if user.name else user.email
