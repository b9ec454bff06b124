"""The API door of a tenant's background work: what runs, and trying again what was given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.models import Job
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import PAGING, WRITES, describe, page_of
from tenants import selectors
from tenants.services import jobs

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


class JobBody(serializers.ModelSerializer[Job]):
    """One piece of work. `dead` was given up after `max_attempts`; `last_error` is a type or a code."""

    class Meta:
        model = Job
        fields = (
            "id",
            "kind",
            "subject_id",
            "state",
            "attempts",
            "max_attempts",
            "done_steps",
            "total_steps",
            "last_error",
            "run_after",
            "created_at",
            "finished_at",
        )


class Jobs(PortalView):
    """Background work of the tenant, newest first."""

    reads = Permission.JOB_READ

    @describe("jobs_list", answer=page_of(JobBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, selectors.list_jobs().order_by("-created_at", "-id"), JobBody)


class JobRetry(PortalView):
    """Give a dead letter a fresh set of attempts."""

    @describe("job_retry", answer=JobBody, problems=WRITES)
    def post(self, request: Request, tenant: str, job: UUID) -> Response:
        return Response(JobBody(jobs.retry(actor=self.actor, job_id=job)).data)
