"""The background work of a tenant: what waits, runs, was tried again or was given up, and trying that again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.db.models import Count
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.keyset import take_page
from byok_portal.boundary.models import Job, JobState
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from tenants import selectors
from tenants.pages.forms import EmptyForm
from tenants.services import jobs

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse

PAGE: Final = 50
_STATES: Final = {
    "": gettext_lazy("All"),
    JobState.QUEUED: gettext_lazy("Waiting"),
    JobState.RUNNING: gettext_lazy("Running"),
    JobState.DEAD: gettext_lazy("Given up"),
    JobState.DONE: gettext_lazy("Done"),
}
_KINDS: Final = {
    "drill.run": gettext_lazy("Run a drill"),
    "key.finish_drain": gettext_lazy("End an old version when its drain is over"),
    "key.give_up_succession": gettext_lazy("End what a broken-off rotation left at the provider"),
    "key.revoke_upstream": gettext_lazy("Revoke a credential at its provider, and look again"),
    "mail.gather": gettext_lazy("Gather notices into a mail"),
    "mail.send": gettext_lazy("Send a mail"),
    "policy.apply": gettext_lazy("Apply a changed policy to the keys"),
    "tenant.offboard": gettext_lazy("Offboard, step by step"),
}
_CSS: Final = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.DEAD: "attention",
    JobState.DONE: "done",
}


class ListPage(TenantPage):
    """Jobs, newest first."""

    permission: ClassVar[Permission] = Permission.JOB_READ
    section: ClassVar[str] = "jobs"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Those in one state, or all. An unknown state shows all."""
        slug, state = self.place.slug, request.GET.get("state", "")
        chosen = state if state in JobState.values else ""
        found = selectors.list_jobs()
        counts = dict(found.values_list("state").annotate(n=Count("id")))
        page = take_page(found.filter(state=chosen) if chosen else found, request.GET, size=PAGE)
        url = reverse("tenants:jobs", args=[slug])
        context = {
            "crumbs": [(_("Jobs"), "")],
            "tabs": [
                (
                    label,
                    f"{url}?state={name}" if name else url,
                    counts.get(str(name), 0) if name else sum(counts.values()),
                    name == chosen,
                )
                for name, label in _STATES.items()
            ],
            "rows": [self._row(job) for job in page.rows],
            "pager": {"label": _("Newest first"), **page.urls},
        }
        return self.render("tenants/jobs.html", context)

    def _row(self, job: Job) -> dict[str, Any]:
        again = job.state == JobState.QUEUED and job.attempts > 0
        may_retry = job.state == JobState.DEAD and self.permits(Permission.JOB_RETRY)
        return {
            "label": word_kind(job.kind),
            "status": _CSS[JobState(job.state)],
            "status_label": _("Trying again") if again else _STATES[JobState(job.state)],
            "attempts": job.attempts,
            "max_attempts": job.max_attempts,
            "done_steps": job.done_steps,
            "total_steps": job.total_steps,
            "error": job.last_error if job.state != JobState.DONE else "",
            "created_at": job.created_at,
            "next_at": job.run_after if job.state == JobState.QUEUED and job.run_after > timezone.now() else None,
            "finished_at": job.finished_at,
            "retry_url": reverse("tenants:job-retry", args=[self.place.slug, job.id]) if may_retry else "",
        }


class RetryPage(OperationPage):
    """Gives a dead letter a fresh set of attempts."""

    operation: ClassVar[str] = "job.retry"
    section: ClassVar[str] = "jobs"

    def get(self, request: HttpRequest, job: UUID) -> HttpResponse:  # Django's signature
        """What failed, and what trying again means."""
        return self._answer(_get_job(job), EmptyForm())

    def post(self, request: HttpRequest, job: UUID) -> HttpResponse:
        """Queue it again."""
        found, form = _get_job(job), EmptyForm(request.POST)
        if self.attempt(form, lambda: jobs.retry(actor=self.actor, job_id=found.id)) is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("Queued again. A worker takes it in a moment."))
        return redirect("tenants:jobs", self.place.slug)

    def _answer(self, job: Job, form: Form, *, status: int = 200) -> HttpResponse:
        back = reverse("tenants:jobs", args=[self.place.slug])
        reason = {"attempts": job.attempts, "error": job.last_error or "-"}
        context = {
            "crumbs": [(_("Jobs"), back), (_("Try again"), "")],
            "title": _("Try again: %(job)s") % {"job": word_kind(job.kind)},
            "lede": _("Given up after %(attempts)s attempts, the last time with %(error)s.") % reason,
            "effects": [
                {"level": "", "text": _("It gets a fresh set of attempts, with growing pauses between them.")},
                {"level": "ok", "text": _("Every step may run twice without harm; what was done is not done again.")},
            ],
            "form": form,
            "submit_label": _("Try again"),
            "cancel_url": back,
        }
        return self.render("keys/confirm.html", context, status=status)


def word_kind(kind: str) -> str:
    """`key.revoke_upstream` as people read it; one without words goes by its name."""
    if kind in _KINDS:
        return str(_KINDS[kind])
    subject, _dot, verb = kind.partition(".")
    return f"{verb or subject} ({subject})".replace("_", " ").capitalize() if verb else subject.capitalize()


def _get_job(job_id: UUID) -> Job:
    with binding.reading():
        found = selectors.list_jobs().filter(id=job_id).first()
    if found is None:
        raise errors.NotFound
    return found
