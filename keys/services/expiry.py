"""What the clock writes when nobody has acted: suspensions and ends that every decision has honoured since their time.

Each is one operation with one entry; run twice, by two workers or after a crash, it is done once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connections
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict
from keys import rulebook, selectors
from keys.models import Key, KeyVersion
from keys.restrictions import has_come
from keys.services import lifecycle, versions
from keys.states import KeyState, VersionState

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

BATCH: Final = 500
_CLOCK: Final = Absent("the clock does it; nobody asks for it")
_NOT_DUE: Final = "not_due"


@operation("key.clock_suspend", permission=Permission.JOB_RUN, events=("key.suspended",), page=_CLOCK, api=_CLOCK)
def suspend(*, actor: Actor, key_id: UUID) -> Key:
    """Write the suspension of a key whose `suspends_at` has come. Raises Conflict when it has not, or is written."""
    key = selectors.lock_key(key_id)
    if key.state != KeyState.ACTIVE or not has_come(key.suspends_at, timezone.now()):
        raise Conflict("The clock does not suspend this key now.", code=_NOT_DUE)
    current = selectors.find_current(key.id)
    if current is not None:
        versions.move(current, VersionState.SUSPENDED)
    key.state = KeyState.SUSPENDED
    key.save(update_fields=["state"])
    detail = {"reason": key.suspends_for, "versions": [current.number] if current else []}
    append(actor=actor, action="key.suspended", target=Target("key", key.id), detail=detail)
    return key


@operation("key.clock_expire", permission=Permission.JOB_RUN, events=("key.expired",), page=_CLOCK, api=_CLOCK)
def expire(*, actor: Actor, version_id: UUID) -> KeyVersion:
    """Write the end of a current version whose time is over, or its key's; a worker then ends it at the provider.

    Raises Conflict when it has not come, or was written before.
    """
    version = KeyVersion.objects.get(id=version_id)
    key = selectors.lock_key(version.key_id)
    version.refresh_from_db()
    now = timezone.now()
    if version.state not in selectors.CURRENT or not versions.is_expired(key, version, at=now):
        raise Conflict("The version has not come to its end, or it is written.", code=_NOT_DUE)
    versions.move(version, VersionState.EXPIRED, ended_at=now)
    lifecycle.enqueue_upstream(version)
    append(actor=actor, action="key.expired", target=Target("key", key.id), detail={"version": version.number})
    return version


def list_due_suspensions(limit: int = BATCH) -> list[tuple[UUID, UUID]]:
    """(tenant, key) of active keys whose `suspends_at` has come."""
    return _list("SELECT tenant_id, id FROM directory_due_suspensions(%s)", limit)


def list_due_versions(limit: int = BATCH) -> list[tuple[UUID, UUID]]:
    """(tenant, version) of current versions whose own end, or whose key's, has come."""
    return _list("SELECT tenant_id, id FROM directory_due_versions(%s)", limit)


def list_due_grants(limit: int = BATCH) -> list[tuple[UUID, UUID]]:
    """(tenant, grant) of grants whose end has come."""
    return _list("SELECT tenant_id, id FROM directory_due_grants(%s)", limit)


def list_behind(limit: int = 10 * BATCH) -> list[UUID]:
    """Tenants whose clocks do not know the newest platform policy."""
    newest = rulebook.newest_number()
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM directory_behind_policy(%s, %s)", [newest, limit])
        return [row[0] for row in cursor.fetchall()]


def _list(statement: str, limit: int) -> list[tuple[UUID, UUID]]:
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(statement, [limit])
        return [(row[0], row[1]) for row in cursor.fetchall()]
