"""The end of a tenant, watched: progress, steps, and what the providers could not do. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db.models import Count
from django.utils.translation import gettext as _

from audit import labels
from byok_portal import errors
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from tenants import selectors
from tenants.models import Offboarding, OffboardingStep
from tenants.pages import panel

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

SHOWN: Final = 100
"""Open steps and newest finished ones, each: a tenant may have ten thousand."""

_State = OffboardingStep.State
_FINISHED: Final = (_State.DONE, _State.RESIDUAL)
_CSS: Final = {
    _State.PENDING: "waiting",
    _State.RUNNING: "running",
    _State.CALLING: "running",
    _State.DONE: "done",
    _State.RESIDUAL: "failed",
}


class ProgressPage(TenantPage):
    """The run; refreshes itself while it lasts."""

    permission: ClassVar[Permission] = Permission.TENANT_READ
    section: ClassVar[str] = "offboarding"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """Raises NotFound for a tenant that is not ending."""
        run = selectors.find_offboarding()
        if run is None:
            raise errors.NotFound
        counts = _count(run)
        total, finished = sum(counts.values()), counts[_State.DONE] + counts[_State.RESIDUAL]
        context = {
            "crumbs": [(_("Offboarding"), "")],
            "run": _run(run, percent=100 * finished // total if total else 100),
            "is_running": run.state == Offboarding.State.RUNNING,
            "steps": _steps(run),
            "shown_label": _("%(shown)s of %(total)s steps are shown: open ones and the newest finished ones.")
            % {"shown": 2 * SHOWN, "total": total}
            if total > 2 * SHOWN
            else "",
            "totals": _totals(counts, total),
            "residuals": _residuals(run, slug=self.place.slug),
        }
        return self.render("tenants/offboarding.html", context)


def _count(run: Offboarding) -> dict[str, int]:
    rows = OffboardingStep.objects.filter(offboarding_id=run.id).values("state").annotate(n=Count("id"))
    return dict.fromkeys(_State.values, 0) | {row["state"]: row["n"] for row in rows}


def _run(run: Offboarding, *, percent: int) -> dict[str, Any]:
    # Only platform staff start one, so the label never is a person's.
    starter = labels.find_labels([("staff", run.started_by_id)])
    return {
        "state": run.state,
        "state_label": run.get_state_display(),
        "percent": percent,
        "started_at": run.created_at,
        "finished_at": run.finished_at,
        "started_by": next(iter(starter.values()), ""),
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
    finished = counts[_State.DONE] + counts[_State.RESIDUAL]
    return [
        (_("Steps"), total),
        (_("Done"), counts[_State.DONE]),
        (_("Open"), total - finished),
        (_("Left to people"), counts[_State.RESIDUAL]),
    ]


def _residuals(run: Offboarding, *, slug: str) -> list[dict[str, str]]:
    left = OffboardingStep.objects.filter(offboarding_id=run.id, state=_State.RESIDUAL).order_by("position")
    steps = list(left[: 2 * SHOWN])
    residues = panel.get().find_residues([step.subject_id for step in steps], slug=slug)
    rows = []
    for step in steps:
        residue = residues.get(step.subject_id)
        rows.append(
            {
                "key": residue.key if residue else step.label,
                "provider": residue.provider if residue else "",
                "text": step.note or step.label,
                "url": residue.url if residue else "",
            }
        )
    return rows
