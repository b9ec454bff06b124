"""The plan of an end, shown before it starts: what breaks and for whom, what providers can do, what stays for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from keys import endings
from keys.pages.forms import reasons
from keys.services import leaving, offboarding, ownership
from tenants import selectors as tenants
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from keys.endings import Plan
    from tenants.models import Consumer

_COUNTS: Final = {
    "keys": gettext_lazy("Keys that end"),
    "credentials": gettext_lazy("Credentials held for their providers"),
    "grants": gettext_lazy("Grants that end"),
    "consumers": gettext_lazy("Consumers that end"),
    "tokens": gettext_lazy("Tokens that end"),
}
TEMPLATE: Final = "keys/plan.html"


class StartForm(forms.Form):
    """Typing the name, and the digest of the plan that was on the screen."""

    reason = forms.ChoiceField(label=gettext_lazy("Reason"), choices=reasons)
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=500,
        help_text=gettext_lazy("For the record, such as a ticket. No personal data."),
    )
    confirmation = forms.CharField(
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}), max_length=254
    )
    digest = forms.CharField(widget=forms.HiddenInput, max_length=64)

    def __init__(self, *args: Any, expected: str, asks_reason: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["confirmation"].label = _("Type %(name)s") % {"name": expected}
        if not asks_reason:
            del self.fields["reason"]


def word_plan(plan: Plan) -> dict[str, Any]:
    """A plan as `keys/plan.html` shows it."""
    return {
        "counts": [(label, plan.counts[name]) for name, label in _COUNTS.items() if plan.counts[name]],
        "consumers": plan.consumers,
        "keys": plan.keys,
        "upstream": plan.upstream,
        "rotations": plan.rotations,
        "tokens": plan.tokens,
        "permanent": plan.permanent,
        "no_return": plan.point_of_no_return,
        "breaks": sum(1 for each in plan.consumers if each.week),
        "hands_over": plan.kind is SubjectKind.OWNER,
    }


class PlanPage(OperationPage):
    """Base: shows the plan, asks for the name, starts. A plan that changed meanwhile is shown anew."""

    kind: ClassVar[SubjectKind]
    verb: ClassVar[Any]
    home: ClassVar[tuple[Any, str]]
    """The list that the subject stands in: its word and its address's name."""
    asks_reason: ClassVar[bool] = True

    def find(self, reference: Any) -> tuple[UUID, str]:
        """The subject's id and the address to go back to. Raises NotFound for what cannot end any more."""
        raise NotImplementedError

    def call(self, subject_id: UUID, values: dict[str, Any]) -> object:
        """The operation."""
        raise NotImplementedError

    def get(self, request: HttpRequest, **arguments: Any) -> HttpResponse:
        """What would end."""
        return self._answer(next(iter(arguments.values())))

    def post(self, request: HttpRequest, **arguments: Any) -> HttpResponse:
        """Start, or show what was wrong beside the plan as it is now."""
        reference = next(iter(arguments.values()))
        with binding.reading():
            subject_id, _back = self.find(reference)
            expected = endings.plan_of(self.kind, subject_id).expected
            form = StartForm(request.POST, expected=expected, asks_reason=self.asks_reason)
        if not form.is_valid():
            return self._answer(reference, form, status=422)
        if self.attempt(form, lambda: self.call(subject_id, form.cleaned_data)) is None:
            return self._answer(reference, form, status=self.status)
        messages.success(request, _("It has started: every use is refused from now on. This page shows each step."))
        with binding.reading():
            run = tenants.find_run(self.kind, subject_id)
        return redirect("keys:run", self.place.slug, run.id if run else subject_id)

    def _answer(self, reference: Any, form: StartForm | None = None, *, status: int = 200) -> HttpResponse:
        with binding.reading():
            subject_id, back = self.find(reference)
            plan = endings.plan_of(self.kind, subject_id)
        if form is None:
            form = StartForm(initial={"digest": plan.digest}, expected=plan.expected, asks_reason=self.asks_reason)
        elif form.is_bound:
            # What is on the screen from here on is the plan of now.
            shown: Any = form.data.copy()  # type: ignore[attr-defined]  # a QueryDict
            shown["digest"] = plan.digest
            form.data = shown
        names = {"name": plan.name}
        context = {
            "crumbs": [
                (str(self.home[0]), reverse(self.home[1], args=[self.place.slug])),
                *([(plan.name, back)] if self.kind is not SubjectKind.OWNER else []),
                (str(self.verb) % names, ""),
            ],
            "title": str(self.verb) % names,
            "plan": word_plan(plan),
            "form": form,
            "submit_label": str(self.verb) % names,
            "cancel_url": back,
        }
        return self.render(TEMPLATE, context, status=status)


class ProjectPlanPage(PlanPage):
    """Ends a project with its keys and consumers."""

    operation: ClassVar[str] = "project.offboard"
    home: ClassVar[tuple[Any, str]] = (gettext_lazy("Projects"), "keys:projects")
    section: ClassVar[str] = "projects"
    kind: ClassVar[SubjectKind] = SubjectKind.PROJECT
    verb: ClassVar[Any] = gettext_lazy("End %(name)s")

    def find(self, reference: Any) -> tuple[UUID, str]:
        found = tenants.get_project(reference)
        return found.id, reverse("keys:project", args=[self.place.slug, found.slug])

    def call(self, subject_id: UUID, values: dict[str, Any]) -> object:
        return offboarding.start_project(actor=self.actor, project_id=subject_id, **values)


class EndConsumerPage(PlanPage):
    """Ends a consumer with its tokens and grants."""

    operation: ClassVar[str] = "consumer.end"
    home: ClassVar[tuple[Any, str]] = (gettext_lazy("Consumers"), "tenants:consumers")
    section: ClassVar[str] = "consumers"
    kind: ClassVar[SubjectKind] = SubjectKind.CONSUMER
    verb: ClassVar[Any] = gettext_lazy("End %(name)s")

    def find(self, reference: Any) -> tuple[UUID, str]:
        found: Consumer = tenants.get_consumer(reference)
        return found.id, reverse("tenants:consumer", args=[self.place.slug, found.slug])

    def call(self, subject_id: UUID, values: dict[str, Any]) -> object:
        return leaving.end_consumer(actor=self.actor, consumer_id=subject_id, **values)


class RemoveMemberPage(PlanPage):
    """Ends a membership: the person leaves, and what they answered for is handed over."""

    operation: ClassVar[str] = "member.remove"
    home: ClassVar[tuple[Any, str]] = (gettext_lazy("Members"), "tenants:members")
    section: ClassVar[str] = "members"
    kind: ClassVar[SubjectKind] = SubjectKind.OWNER
    verb: ClassVar[Any] = gettext_lazy("Remove %(name)s")
    asks_reason: ClassVar[bool] = False

    def find(self, reference: Any) -> tuple[UUID, str]:
        found = tenants.list_members().filter(id=reference, is_active=True).first()
        if found is None:
            raise errors.NotFound
        return found.user_id, reverse("tenants:members", args=[self.place.slug])

    def call(self, subject_id: UUID, values: dict[str, Any]) -> object:
        with binding.reading():
            member = tenants.get_member(subject_id)
        return ownership.remove_member(actor=self.actor, membership_id=member.id, **values)


class TenantPlanPage(TenantPage):
    """What the end of the whole tenant would do, for its people: platform staff start it, or the clock if agreed."""

    permission: ClassVar[Permission] = Permission.TENANT_READ
    section: ClassVar[str] = "projects"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """The plan without a form."""
        plan = endings.plan_of(SubjectKind.TENANT, self.place.tenant_id)
        broken = sum(1 for each in plan.consumers if each.week)
        context = {
            "crumbs": [(_("Projects"), reverse("keys:projects", args=[self.place.slug])), (_("End of the tenant"), "")],
            "title": _("What the end of %(name)s would do") % {"name": plan.name},
            "lede": ngettext(
                "%(n)d consumer used a key in the last week.", "%(n)d consumers used a key in the last week.", broken
            )
            % {"n": broken},
            "plan": word_plan(plan),
            "form": None,
        }
        return self.render(TEMPLATE, context)
