"""Giving a dead letter a fresh set of attempts. The only change of a job that a person can make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from audit.services.recording import Target, append
from byok_portal.boundary import jobs
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.models import Job


@operation(
    "job.retry",
    permission=Permission.JOB_RETRY,
    events=("job.retried",),
    page="tenants:job-retry",
    api="api:job-retry",
)
def retry(*, actor: Actor, job_id: UUID) -> Job:
    """Queue a dead letter again. Raises NotFound; Conflict unless it is one and its work is not queued."""
    try:
        with transaction.atomic():
            job = jobs.requeue(job_id)
    except IntegrityError:
        raise Conflict("A newer job does this work already.", code="job_exists") from None
    detail = {"kind": job.kind, "attempts": job.attempts}
    append(actor=actor, action="job.retried", target=Target("job", job.id), detail=detail)
    return job
