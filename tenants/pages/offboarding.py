"""The end of a tenant, a project, a consumer or a member, watched: progress, steps, what is left to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db.models import Count
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit import labels
from byok_portal import errors
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from tenants import selectors
from tenants.models import Offboarding, OffboardingStep
from tenants.pages import panel
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

SHOWN: Final = 100
"""Open steps and newest finished ones, each: a tenant may have ten thousand."""

_State = OffboardingStep.State
_FINISHED: Final = (_State.DONE, _State.RESIDUAL, _State.SETTLED)
_CSS: Final = {
    _State.PENDING: "waiting",
    _State.RUNNING: "running",
    _State.CALLING: "running",
    _State.DONE: "done",
    _State.RESIDUAL: "failed",
    _State.SETTLED: "done",
}
_LEDES: Final = {
    SubjectKind.TENANT: gettext_lazy(
        "Revokes everything, names what the providers could not do, and shreds the tenant's keys. Every use is refused "
        "from the start of the run."
    ),
    SubjectKind.PROJECT: gettext_lazy(
        "Revokes the project's keys here and at their providers, ends its consumers, and destroys the ciphertext. All "
        "of it is refused from the start of the run."
    ),
    SubjectKind.CONSUMER: gettext_lazy(
        "Its tokens and grants ended with the start of the run. What it could have kept is to be rotated."
    ),
    SubjectKind.OWNER: gettext_lazy(
        "The person was refused from the start of the run. What they answered for is handed over and to be rotated."
    ),
}


class RunPage(TenantPage):
    """One run; refreshes itself while it lasts."""

    permission: ClassVar[Permission] = Permission.TENANT_READ
    section: ClassVar[str] = "projects"

    def get(self, request: HttpRequest, run: UUID) -> HttpResponse:  # Django's signature
        """Raises NotFound alike for a missing run and another tenant's."""
        return self.answer(selectors.get_run(run))

    def answer(self, run: Offboarding) -> HttpResponse:
        """Progress, steps, and what is left to people."""
        counts = _count(run)
        total, finished = sum(counts.values()), sum(counts[state] for state in _FINISHED)
        context = {
            "crumbs": [(_("Offboarding"), "")],
            "name": _name(run),
            "lede": _LEDES[SubjectKind(run.subject_kind)],
            "run": _run(run, percent=100 * finished // total if total else 0 if run.planned_at is None else 100),
            "is_running": run.state == Offboarding.State.RUNNING,
            "steps": _steps(run),
            "shown_label": _("%(shown)s of %(total)s steps are shown: open ones and the newest finished ones.")
            % {"shown": 2 * SHOWN, "total": total}
            if total > 2 * SHOWN
            else "",
            "totals": _totals(counts, total),
            "residuals": _residuals(run, slug=self.place.slug, may_settle=self.permits(Permission.OFFBOARDING_SETTLE)),
            "certificate_url": self.certificate_url(run),
        }
        return self.render("tenants/offboarding.html", context)

    def certificate_url(self, run: Offboarding) -> str:
        """Where the newest certificate of a finished run is; empty without one, or for who may not read the record."""
        found = selectors.find_certificate(run) if self.permits(Permission.AUDIT_READ) else None
        return reverse("audit:document", args=[self.place.slug, found.id]) if found else ""


class ProgressPage(RunPage):
    """The end of the tenant itself."""

    section: ClassVar[str] = "offboarding"

    def get(self, request: HttpRequest) -> HttpResponse:  # type: ignore[override]  # the address names no run
        """Raises NotFound for a tenant that is not ending."""
        run = selectors.find_offboarding()
        if run is None:
            raise errors.NotFound
        return self.answer(run)


class CertificatePage(TenantPage):
    """The address of the tenant's own certificate, which people keep: leads to the newest one."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "offboarding"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """Raises NotFound before there is one."""
        run = selectors.find_offboarding()
        found = selectors.find_certificate(run) if run is not None else None
        if found is None:
            raise errors.NotFound
        return redirect("audit:document", self.place.slug, found.id)


def _name(run: Offboarding) -> str:
    kind = "person" if run.subject_kind == SubjectKind.OWNER else run.subject_kind
    return next(iter(labels.find_labels([(kind, run.subject_id)]).values()), run.get_subject_kind_display())


def _count(run: Offboarding) -> dict[str, int]:
    rows = OffboardingStep.objects.filter(offboarding_id=run.id).values("state").annotate(n=Count("id"))
    return dict.fromkeys(_State.values, 0) | {row["state"]: row["n"] for row in rows}


def _run(run: Offboarding, *, percent: int) -> dict[str, Any]:
    starter = labels.find_labels([(run.started_by_kind, run.started_by_id)])
    return {
        "state": run.state,
        "state_label": run.get_state_display(),
        "percent": percent,
        "started_at": run.created_at,
        "finished_at": run.finished_at,
        "started_by": _("The clock, as agreed") if run.is_automatic else next(iter(starter.values()), ""),
        "reason": run.reason.replace("_", " ").capitalize(),
    }


def _steps(run: Offboarding) -> list[dict[str, Any]]:
    steps = OffboardingStep.objects.filter(offboarding_id=run.id)
    waiting = list(steps.exclude(state__in=_FINISHED).order_by("position")[:SHOWN])
    finished = list(steps.filter(state__in=_FINISHED).order_by("-finished_at", "-position")[:SHOWN])
    return [_step(step) for step in sorted([*waiting, *finished], key=lambda step: int(step.position))]


def _step(step: OffboardingStep) -> dict[str, Any]:
    is_again = step.state == _State.CALLING and step.attempts > 1
    return {
        "label": step.label,
        "state": "retrying" if is_again else _CSS[_State(step.state)],
        "state_label": _("Trying again") if is_again else step.get_state_display(),
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "attempts": step.attempts,
        "note": step.note,
    }


def _totals(counts: dict[str, int], total: int) -> list[tuple[str, int]]:
    finished = sum(counts[state] for state in _FINISHED)
    rows = [
        (_("Steps"), total),
        (_("Done"), counts[_State.DONE]),
        (_("Open"), total - finished),
        (_("Left to people"), counts[_State.RESIDUAL]),
    ]
    return [*rows, (_("Done by hand"), counts[_State.SETTLED])] if counts[_State.SETTLED] else rows


def _residuals(run: Offboarding, *, slug: str, may_settle: bool) -> list[dict[str, Any]]:
    left = OffboardingStep.objects.filter(offboarding_id=run.id, state__in=(_State.RESIDUAL, _State.SETTLED))
    steps = list(left.order_by("state", "position")[: 2 * SHOWN])  # open ones first
    residues = panel.get().find_residues([step.subject_id for step in steps], slug=slug)
    rows = []
    for step in steps:
        residue, is_open = residues.get(step.subject_id), step.state == _State.RESIDUAL
        rows.append(
            {
                "key": residue.key if residue else step.label,
                "provider": residue.provider if residue else "",
                "text": step.note or step.label,
                "instruction": step.instruction if step.instruction not in step.note else "",
                "url": residue.url if residue else "",
                "settled_at": step.settled_at,
                "settled_note": step.settled_note,
                "settle_url": reverse("keys:residual-settle", args=[slug, run.id, step.position])
                if is_open and may_settle
                else "",
            }
        )
    return rows
