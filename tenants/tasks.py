"""The worker door of tenants: what django-q2 wakes by the clock."""

from __future__ import annotations

from byok_portal.boundary import jobs
from tenants.services import heartbeats


def beat_hearts() -> None:
    """Write every tenant's heartbeat of today that is missing."""
    heartbeats.beat_all()


jobs.every_minute("tenants.tasks.beat_hearts")
