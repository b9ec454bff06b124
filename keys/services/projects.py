"""Which project a key belongs to: it ends with that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.services.recording import Target, append
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict
from keys import selectors
from keys.models import Key
from tenants.services import projects
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor


@operation(
    "key.assign_project",
    permission=Permission.PROJECT_EDIT,
    events=("key.project_set",),
    page="keys:key-project",
    api="api:key-project",
)
def assign_key(*, actor: Actor, key_id: UUID, project: str) -> Key:
    """Put a key into a project, or into none. Raises InvalidInput, NotFound, Conflict when nothing changes."""
    require_active()
    held = Key.objects.filter(id=key_id).values_list("project_id", flat=True).first()
    chosen = projects.find_project(project, beside=held)
    key = selectors.lock_key(key_id)
    if key.state in selectors.ENDED_KEYS:
        raise Conflict(f"The key is {key.state}.", code="key_state")
    projects.refuse_same(key.project_id, chosen)
    projects.leave_running(key.project_id)
    key.project = chosen
    key.save(update_fields=["project"])
    detail = {"project": str(chosen.id) if chosen else ""}
    append(actor=actor, action="key.project_set", target=Target("key", key.id), detail=detail)
    return key
