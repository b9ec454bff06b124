"""The worker door of tenants: what django-q2 wakes by the clock, and the jobs that send mail."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from django.utils import timezone

from byok_portal.boundary import actors, binding, jobs
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.jobs import Running, job
from byok_portal.errors import Conflict
from tenants.services import heartbeats, mails, notices

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

log = structlog.get_logger("byok.clock")


def beat_hearts() -> int:
    """Write every missing heartbeat of today, the platform's own too; returns how many.

    Two workers at once write each one once.
    """
    day = timezone.now().date()
    written = _beat(PLATFORM, day)
    while due := heartbeats.list_due(day):
        written += sum(_beat(tenant_id, day) for tenant_id in due)
    return written


def gather_mails() -> int:
    """Queue a mail for everybody to whom one is due; returns how many. Twice at once queues each one once."""
    queued = 0
    for tenant_id, recipient_id in mails.list_due():
        try:
            with binding.bind_tenant(tenant_id):
                queued += mails.gather(recipient_id) is not None
        except Exception as error:  # one recipient must not silence all others
            log.exception("mail_failed", tenant_id=str(tenant_id), error=type(error).__name__)
    return queued


@job(mails.GATHER)
def gather_mail(running: Running) -> None:
    """Queue the mail of one recipient whose turn has come."""
    mails.gather(running.subject_id)


@job(mails.SEND)
def send_mail(running: Running) -> None:
    """Send one mail, at most once unless a person retries it."""
    mails.send(running.subject_id, attempts_allowed=running.job.max_attempts)


def _beat(tenant_id: UUID, day: date) -> int:
    with suppress(Conflict), binding.bind_tenant(tenant_id):
        heartbeats.beat(actor=actors.worker(PLATFORM), day=day)
        return 1
    return 0


jobs.every_minute("tenants.tasks.beat_hearts")
jobs.every_minute(notices.GATHER)
