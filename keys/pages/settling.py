"""Saying that a step which only people can do is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from keys.pages.forms import ReasonNoteForm
from keys.services import offboarding

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse

    from tenants.models import OffboardingStep


class SettlePage(OperationPage):
    """Takes a person's word for it, with a note."""

    operation: ClassVar[str] = "offboarding.settle_residual"
    section: ClassVar[str] = "projects"

    def get(self, request: HttpRequest, run: UUID, number: int) -> HttpResponse:  # Django's signature
        """What has to be done."""
        return self._answer(self._load(run, number), ReasonNoteForm())

    def post(self, request: HttpRequest, run: UUID, number: int) -> HttpResponse:
        """Settle it."""
        step, form = self._load(run, number), ReasonNoteForm(request.POST)
        if not form.is_valid():
            return self._answer(step, form, status=422)
        note = form.cleaned_data["note"]
        done = self.attempt(
            form,
            lambda: offboarding.settle_residual(actor=self.actor, run_id=run, position=step.position, note=note),
        )
        if done is None:
            return self._answer(step, form, status=self.status)
        messages.success(request, _("Noted as done by hand."))
        return redirect("keys:run", self.place.slug, run)

    def _load(self, run: UUID, number: int) -> OffboardingStep:
        with binding.reading():
            return offboarding.get_step(run, number)

    def _answer(self, step: OffboardingStep, form: Form, *, status: int = 200) -> HttpResponse:
        back = reverse("keys:run", args=[self.place.slug, step.offboarding_id])
        effects = [
            {"level": "", "text": step.instruction or step.note or step.label},
            {"level": "", "text": _("The portal takes your word for it and records it; it does not ask the provider.")},
        ]
        context = {
            "crumbs": [(_("Offboarding"), back), (_("Done by hand"), "")],
            "title": step.label,
            "effects": effects,
            "form": form,
            "submit_label": _("Done by hand"),
            "cancel_url": back,
        }
        return self.render("keys/confirm.html", context, status=status)
