"""Who acts. A door builds one actor per request from what it verified; no header ever names one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from byok_portal.boundary.permissions import (
    ROLE_PERMISSIONS,
    STAFF_PERMISSIONS,
    TOKEN_PERMISSIONS,
    WORKER_PERMISSIONS,
    Permission,
    Role,
)

if TYPE_CHECKING:
    from uuid import UUID


class ActorKind(StrEnum):
    """Who can act."""

    PERSON = "person"
    CONSUMER = "consumer"
    STAFF = "staff"
    WORKER = "worker"


class Once:
    """Says yes once, to whichever thread asks first."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = [None]

    def take(self) -> bool:
        """Whether this is the first time."""
        try:
            self._left.pop()  # atomic
        except IndexError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from. Personal data: it goes to the erasable side of the audit log, never to a leaf."""

    address: str = ""
    user_agent: str = ""
    request_id: str = ""
    first_event: Once | None = field(default=None, compare=False, repr=False)
    """Shared by all origins of one request: whose event becomes known by the request's own id."""
    request_uuid: UUID | None = field(default=None, compare=False, repr=False)
    """The request id once more, for a door that has it as a number."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One acting identity with what it may do in `tenant_id` (None: any tenant, for staff and workers)."""

    kind: ActorKind
    id: UUID
    tenant_id: UUID | None
    permissions: frozenset[Permission]
    label: str = ""
    origin: Origin = field(default_factory=Origin)

    def permits(self, permission: Permission, tenant_id: UUID) -> bool:
        """Whether the actor holds `permission` in this tenant."""
        return permission in self.permissions and self.tenant_id in (None, tenant_id)


def person(user_id: UUID, *, tenant_id: UUID, role: Role, label: str, origin: Origin) -> Actor:
    """A signed-in member of one tenant."""
    return Actor(ActorKind.PERSON, user_id, tenant_id, ROLE_PERMISSIONS[role], label, origin)


def invitee(user_id: UUID, *, tenant_id: UUID, label: str, origin: Origin) -> Actor:
    """A person who holds an invitation: may accept it and nothing else."""
    return Actor(ActorKind.PERSON, user_id, tenant_id, frozenset({Permission.MEMBER_ACCEPT}), label, origin)


def consumer(consumer_id: UUID, *, tenant_id: UUID, scopes: frozenset[Permission], label: str, origin: Origin) -> Actor:
    """A workload that presented a live token with these API scopes."""
    return Actor(ActorKind.CONSUMER, consumer_id, tenant_id, scopes & TOKEN_PERMISSIONS, label, origin)


def staff(user_id: UUID, *, label: str, origin: Origin) -> Actor:
    """A platform staff member in Django admin."""
    return Actor(ActorKind.STAFF, user_id, None, STAFF_PERMISSIONS, label, origin)


def worker(job_id: UUID) -> Actor:
    """A background job, acting on the orders of whoever enqueued it."""
    return Actor(ActorKind.WORKER, job_id, None, WORKER_PERMISSIONS, "worker")
