"""Background jobs in the staff door: read-only, but for the retry of a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from byok_portal.boundary.jobs import REGISTRY
from byok_portal.boundary.models import Job
from byok_portal.boundary.staff import StaffAdmin
from byok_portal.boundary.staff_lists import NEWEST, LongList, WordFilter
from tenants.admin.filters import TenantFilter, TenantNamed
from tenants.services import jobs

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class KindFilter(WordFilter):
    """By what it does: the kinds that the code knows, not those that a look at every job would find."""

    title = "kind"
    parameter_name = "kind"
    field = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in sorted(REGISTRY)]


@admin.register(Job)
class JobAdmin(TenantNamed, LongList, StaffAdmin):
    """Newest first. A job carries ids, never content; its last error is a type or a code."""

    list_display = (
        "kind",
        "tenant_word",
        "state",
        "attempts",
        "max_attempts",
        "last_error",
        "run_after",
        "created_at",
    )
    list_filter = (TenantFilter, "state", KindFilter)
    ordering = NEWEST
    actions = ("retry",)
    fields = readonly_fields = (
        *("kind", "tenant_word", "subject_id", "state", "attempts", "max_attempts", "last_error"),
        *("done_steps", "total_steps", "run_after", "lease_until", "created_at", "finished_at"),
    )

    @admin.action(description="Retry dead letter")
    def retry(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Each chosen job gets a fresh set of attempts."""
        self.run_each(
            request, queryset, lambda row, actor: jobs.retry(actor=actor, job_id=row.id), said="Queued again."
        )
