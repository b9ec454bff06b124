"""One entry per tenant and day, also when nothing happened: a trail whose tail was withheld then shows its age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connections
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import actors, binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict
from tenants.models import Tenant
from tenants.states import TenantState

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

BATCH: Final = 500


@operation(
    "audit.beat",
    permission=Permission.JOB_RUN,
    events=("audit.heartbeat",),
    page=Absent("the clock writes it"),
    api=Absent("the clock writes it"),
)
def beat(*, actor: Actor, day: date) -> None:
    """Write the bound tenant's heartbeat of a day. Raises Conflict when it is written, or the tenant is gone."""
    due = Tenant.objects.filter(id=binding.get_tenant()).exclude(state=TenantState.OFFBOARDED)
    if not due.exclude(heartbeat_on__gte=day).update(heartbeat_on=day):
        message = "the heartbeat of this day is written"
        raise Conflict(message)
    append(actor=actor, action="audit.heartbeat", target=Target("tenant", binding.get_tenant()), detail={})


def list_due(day: date, limit: int = BATCH) -> list[UUID]:
    """Tenants whose heartbeat of this day is missing."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM directory_due_heartbeats(%s, %s)", [day, limit])
        return [row[0] for row in cursor.fetchall()]


def beat_all() -> int:
    """Write every missing heartbeat of today; returns how many. Two workers at once write each one once."""
    day, written = timezone.now().date(), 0
    while due := list_due(day):
        for tenant_id in due:
            try:
                with binding.bind_tenant(tenant_id):
                    beat(actor=actors.worker(PLATFORM), day=day)
                written += 1
            except Conflict:
                continue
    return written
