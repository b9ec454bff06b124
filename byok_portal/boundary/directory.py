"""What the doors must know before a tenant is bound: where a person belongs, whose a token is.

The tenants app installs the answers; the boundary, below it, only asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor, Origin
    from byok_portal.boundary.permissions import Role


@dataclass(frozen=True, slots=True)
class Place:
    """One tenant that a person belongs to, as the directory knows it before any tenant is bound."""

    tenant_id: UUID
    slug: str
    name: str
    role: Role
    state: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """A live token: its consumer as actor, and the tenant that it opens."""

    actor: Actor
    tenant_id: UUID
    tenant_slug: str
    token_id: UUID


class Directory(Protocol):
    """The look-ups across tenants that a door needs. Each answers with as little as the door can do with."""

    def list_places(self, user_id: UUID) -> list[Place]:
        """The tenants where this person is an active member."""

    def get_bearer(self, authorization: str | None, origin: Origin) -> Bearer:
        """The live token in an `Authorization` header. Raises Unauthenticated."""


_installed: list[Directory] = []


def install(directory: Directory) -> None:
    """Called once by the tenants app."""
    _installed[:] = [directory]


def get() -> Directory:
    """The installed directory."""
    return _installed[0]


def find_place(user_id: UUID, slug: str) -> Place | None:
    """The person's place in the tenant with this slug, or None: a missing tenant and a foreign one look alike."""
    return next((place for place in get().list_places(user_id) if place.slug == slug), None)
