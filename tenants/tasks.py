"""The worker door of tenants: what django-q2 wakes by the clock."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from django.utils import timezone

from byok_portal.boundary import actors, binding, jobs
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.errors import Conflict
from tenants.services import heartbeats

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID


def beat_hearts() -> int:
    """Write every missing heartbeat of today, the platform's own too; returns how many.

    Two workers at once write each one once.
    """
    day = timezone.now().date()
    written = _beat(PLATFORM, day)
    while due := heartbeats.list_due(day):
        written += sum(_beat(tenant_id, day) for tenant_id in due)
    return written


def _beat(tenant_id: UUID, day: date) -> int:
    with suppress(Conflict), binding.bind_tenant(tenant_id):
        heartbeats.beat(actor=actors.worker(PLATFORM), day=day)
        return 1
    return 0


jobs.every_minute("tenants.tasks.beat_hearts")
