"""Drills: what is rehearsed and how it went, starting one, its schedule, and flagging a key as a canary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from byok_portal.boundary.keyset import take_page
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from keys import canaries
from keys.models.drills import EVERY
from keys.pages.changes import ChangePage
from keys.pages.incident_words import word_action
from keys.services import drills
from keys.states import DrillKind, DrillState

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

    from keys.models import Drill, DrillSchedule, Key

PAGE: Final = 50
KINDS: Final = {
    DrillKind.REVOCATION: gettext_lazy("Revocation"),
    DrillKind.ROTATION: gettext_lazy("Rotation"),
    DrillKind.OFFBOARDING: gettext_lazy("Offboarding of a consumer"),
}
STATES: Final = {
    DrillState.PLANNED: ("queued", gettext_lazy("Waiting for a worker")),
    DrillState.RUNNING: ("running", gettext_lazy("Running")),
    DrillState.CONFIRMING: ("running", gettext_lazy("Waiting for the provider")),
    DrillState.PASSED: ("done", gettext_lazy("Passed")),
    DrillState.FAILED: ("failed", gettext_lazy("Failed")),
}
CODES: Final = {
    "no_canary": gettext_lazy("There was no active canary key to run it on. Register one and flag it."),
    "interrupted": gettext_lazy("The worker stopped in the middle, so nothing was measured to the end."),
    "not_usable_before": gettext_lazy("The canary was refused before anything had ended."),
    "used_after_end": gettext_lazy("A use that began after the end had been answered was allowed."),
    "failed_uses": gettext_lazy("Uses failed that should have been allowed."),
    "unreachable": gettext_lazy("A place that answers uses could not be reached, so it was not measured."),
    "not_refused": gettext_lazy("A place did not refuse at all."),
    "not_measured": gettext_lazy("A process that had answered before was not met again after the end."),
    "too_slow": gettext_lazy("A process took longer than the target."),
    "upstream_not_confirmed": gettext_lazy("The provider did not confirm in time that the credential is dead."),
}
_PLANS: Final = {
    DrillKind.REVOCATION: gettext_lazy(
        "Revocation: the canary is used everywhere, then really revoked, here and at its provider. It is gone then."
    ),
    DrillKind.ROTATION: gettext_lazy(
        "Rotation: its provider makes a successor while uses go on; then the old version ends. The canary stays."
    ),
    DrillKind.OFFBOARDING: gettext_lazy(
        "Offboarding: a consumer made for the drill uses the canary and is ended. The canary stays."
    ),
}


class ListPage(TenantPage):
    """Drills, newest first, with the schedules and the canaries."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "drills"

    def get(self, request: HttpRequest) -> HttpResponse:
        """What was rehearsed, and what will be."""
        slug = self.place.slug
        page = take_page(drills.list_drills(), request.GET, size=PAGE)
        may = self.permits(Permission.DRILL_RUN) and self.place.state == "active"
        context = {
            "crumbs": [(_("Drills"), "")],
            "rows": [describe(row, slug) for row in page.rows],
            "schedules": [_schedule(row) for row in drills.list_schedules()],
            "canaries": [
                {"name": key.name, "url": reverse("keys:detail", args=[slug, key.slug]), "provider": key.provider.name}
                for key in canaries.list_canaries()
            ],
            "start_url": reverse("keys:drill-start", args=[slug]) if may else "",
            "schedule_url": reverse("keys:drill-schedule", args=[slug]) if may else "",
            "pager": {"label": _("Newest first"), **page.urls},
        }
        return self.render("keys/drills.html", context)


class DrillPage(TenantPage):
    """One drill with what was measured."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "drills"

    def get(self, request: HttpRequest, drill: UUID) -> HttpResponse:  # Django's signature
        """The verdict, process by process, and the entries of its steps."""
        found, slug = drills.get(drill), self.place.slug
        may_audit = self.permits(Permission.AUDIT_READ)
        shown = describe(found, slug)
        context = {
            "crumbs": [(_("Drills"), reverse("keys:drills", args=[slug])), (shown["title"], "")],
            "drill": shown,
            "facts": _facts(found),
            "results": found.results,
            "entries": [
                {"action": word_action(action), "url": reverse("audit:detail", args=[slug, entry]) if may_audit else ""}
                for action, entry in found.entries
            ],
            "is_running": found.finished_at is None,
        }
        return self.render("keys/drill.html", context)


class StartForm(forms.Form):
    """What is rehearsed, and on which canary."""

    aliases: ClassVar[dict[str, str]] = {"key_id": "key"}

    kind = forms.ChoiceField(label=gettext_lazy("What"), choices=[(k.value, label) for k, label in KINDS.items()])
    key = forms.ChoiceField(label=gettext_lazy("Canary key"))
    target_ms = forms.IntegerField(
        label=gettext_lazy("Every process refuses within (ms)"),
        initial=drills.TARGET_MS,
        min_value=1,
        max_value=60_000,
        help_text=gettext_lazy("From the moment at which the end was answered."),
    )

    def __init__(self, data: QueryDict | None = None) -> None:
        super().__init__(data)
        keys = [(str(key.id), f"{key.name} ({key.provider.name})") for key in canaries.list_canaries()]
        self.fields["key"].choices = [("", gettext_lazy("Choose a canary")), *keys]  # type: ignore[attr-defined]


class ScheduleForm(forms.Form):
    """How often one kind runs by itself."""

    kind = forms.ChoiceField(label=gettext_lazy("What"), choices=[(k.value, label) for k, label in KINDS.items()])
    every = forms.ChoiceField(
        label=gettext_lazy("How often"), required=False, choices=[*EVERY, ("", gettext_lazy("Never: stop it"))]
    )
    first_on = forms.DateField(
        label=gettext_lazy("First on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("Empty: today."),
    )


class StartPage(OperationPage):
    """Starts a drill."""

    operation: ClassVar[str] = "drill.start"
    section: ClassVar[str] = "drills"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The plan of each kind, and the canaries."""
        return self._answer(None)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Queue it, or show what was wrong."""
        with binding.reading():
            form = StartForm(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        said = form.cleaned_data
        call = {"kind": said["kind"], "key_id": said["key"], "target_ms": said["target_ms"]}
        done = self.attempt(form, lambda: drills.start(actor=self.actor, **call))
        if done is None:
            return self._answer(form, status=self.status)
        messages.success(request, _("The drill is queued. A worker runs it in a moment."))
        return redirect(reverse("keys:drill", args=[self.place.slug, done.id]))

    def _answer(self, form: Form | None, *, status: int = 200) -> HttpResponse:
        back = reverse("keys:drills", args=[self.place.slug])
        with binding.reading():
            form = form or StartForm()
            context = {
                "crumbs": [(_("Drills"), back), (_("Start"), "")],
                "title": _("Start a drill"),
                "lede": _("Real uses before and after a real end, timed at every process that answers uses."),
                "effects": [
                    *({"level": "", "text": text} for text in _PLANS.values()),
                    {"level": "ok", "text": _("No other key and no consumer of yours is touched.")},
                ],
                "form": form,
                "submit_label": _("Start the drill"),
                "cancel_url": back,
            }
            return self.render("keys/confirm.html", context, status=status)


class SchedulePage(OperationPage):
    """Has drills run by themselves."""

    operation: ClassVar[str] = "drill.schedule"
    section: ClassVar[str] = "drills"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The form."""
        return self._answer(ScheduleForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Set it, or show what was wrong."""
        form = ScheduleForm(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        if self.attempt(form, lambda: drills.schedule(actor=self.actor, **form.cleaned_data)) is None:
            return self._answer(form, status=self.status)
        messages.success(request, _("The schedule is set."))
        return redirect(reverse("keys:drills", args=[self.place.slug]))

    def _answer(self, form: Form, *, status: int = 200) -> HttpResponse:
        back = reverse("keys:drills", args=[self.place.slug])
        context = {
            "crumbs": [(_("Drills"), back), (_("Schedule"), "")],
            "title": _("Schedule drills"),
            "effects": [
                {"level": "", "text": _("Each runs on its oldest free canary; days that were missed give one drill.")},
                {"level": "danger", "text": _("A revocation drill uses a canary up: keep some ready.")},
                {"level": "ok", "text": _("A drill that fails, or is not run, is a finding, and owners are told.")},
            ],
            "form": form,
            "submit_label": _("Set the schedule"),
            "cancel_url": back,
        }
        return self.render("keys/confirm.html", context, status=status)


class CanaryForm(forms.Form):
    """What the page offered, so that sending it twice does not undo it."""

    is_canary = forms.TypedChoiceField(
        widget=forms.HiddenInput, choices=[("on", ""), ("off", "")], coerce=lambda word: word == "on"
    )


class CanaryPage(ChangePage):
    """Flags a key as a canary, or takes the flag away."""

    operation: ClassVar[str] = "key.set_canary"
    verb: ClassVar[Any] = gettext_lazy("Canary flag of")
    button: ClassVar[Any] = gettext_lazy("Change the canary flag")
    done: ClassVar[Any] = gettext_lazy("The canary flag of %(name)s is changed.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:  # the base's signature
        return CanaryForm(data, initial={"is_canary": "off" if key.is_canary else "on"})

    def call(self, key: Key, form: Form) -> object:
        return drills.set_canary(actor=self.actor, key_id=key.id, **form.cleaned_data)

    def effects(self, key: Key) -> list[tuple[str, str]]:
        if key.is_canary:
            return [("", _("It becomes a key as any other: nobody is called when it is used."))]
        return [
            ("danger", _("From now on every use of it, allowed or refused, calls its owners and the tenant's.")),
            ("", _("Drills may use it, and a revocation drill ends it.")),
        ]


def describe(drill: Drill, slug: str) -> dict[str, Any]:
    """A drill as the templates show it."""
    css, label = STATES[DrillState(drill.state)]
    times = [row["first_refused_ms"] for row in drill.results if row.get("first_refused_ms") is not None]
    return {
        "title": _("%(kind)s drill") % {"kind": KINDS[DrillKind(drill.kind)]},
        "url": reverse("keys:drill", args=[slug, drill.id]),
        "key": drill.key.name if drill.key else "",
        "key_url": reverse("keys:detail", args=[slug, drill.key.slug]) if drill.key else "",
        "status": css,
        "status_label": label,
        "says": CODES.get(drill.code, drill.code.replace("_", " ")),
        "slowest": max(times) if times else None,
        "at": drill.begun_at or drill.created_at,
        "by_schedule": drill.schedule_id is not None,
    }


def _facts(drill: Drill) -> list[tuple[str, Any]]:
    upstream = drill.upstream_ms
    facts: list[tuple[str, Any]] = [
        (_("Target"), _("every process refuses within %(ms)s ms") % {"ms": f"{drill.target_ms:,}"}),
        (_("Begun"), drill.begun_at),
        (_("The end was answered"), drill.ended_at),
        (_("The provider confirmed after"), None if upstream is None else f"{upstream / 1000:.1f} s"),
        (_("Finished"), drill.finished_at),
        (_("For the schedule's day"), drill.due_on),
    ]
    return [(label, value) for label, value in facts if value is not None]


def _schedule(row: DrillSchedule) -> dict[str, Any]:
    return {"kind": KINDS[DrillKind(row.kind)], "every": row.get_every_display(), "next_on": row.next_on}
