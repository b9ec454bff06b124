"""One entry per chain and day, also when nothing happened: a trail whose tail was withheld then shows its age."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final

from django.db import connections

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.models import Pulse
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
_PULSE: Final = "audit.heartbeat"


@operation(
    "audit.beat",
    permission=Permission.JOB_RUN,
    events=("audit.heartbeat",),
    page=Absent("the clock writes it"),
    api=Absent("the clock writes it"),
)
def beat(*, actor: Actor, day: date) -> None:
    """Write the heartbeat of a day into the bound chain, a tenant's or the platform's own.

    Raises Conflict when it is written, or the tenant is gone.
    """
    tenant_id = binding.get_tenant()
    if not (_claim_platform(day) if tenant_id == PLATFORM else _claim(tenant_id, day)):
        message = "the heartbeat of this day is written"
        raise Conflict(message)
    append(actor=actor, action="audit.heartbeat", target=Target("tenant", tenant_id), detail={})


def list_due(day: date, limit: int = BATCH) -> list[UUID]:
    """Tenants whose heartbeat of this day is missing."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM directory_due_heartbeats(%s, %s)", [day, limit])
        return [row[0] for row in cursor.fetchall()]


def _claim(tenant_id: UUID, day: date) -> bool:
    due = Tenant.objects.filter(id=tenant_id).exclude(state=TenantState.OFFBOARDED)
    return bool(due.exclude(heartbeat_on__gte=day).update(heartbeat_on=day))


def _claim_platform(day: date) -> bool:
    start = datetime.combine(day, time.min, tzinfo=UTC)
    _, created = Pulse.objects.get_or_create(name=_PULSE, defaults={"beat_at": start})
    return created or bool(Pulse.objects.filter(name=_PULSE, beat_at__lt=start).update(beat_at=start))
