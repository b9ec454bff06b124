"""Agreeing in advance that a last day ends things by itself, or taking that back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from byok_portal.ui.wording import word_moment
from tenants import selectors
from tenants.services import tenants

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tenants.models import Tenant


class AgreementForm(forms.Form):
    """What the page that was read offered: never whatever is not, or a second click would turn it back."""

    agreed = forms.ChoiceField(choices=[("on", "on"), ("off", "off")], widget=forms.HiddenInput)


class AgreementPage(OperationPage):
    """Turns the agreement on or off, as the page that was read says."""

    operation: ClassVar[str] = "tenant.agree_automatic_end"
    section: ClassVar[str] = "projects"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """What it means."""
        return self._answer(self._load())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Change it to what the page offered; 422 when it does not say what that was."""
        form = AgreementForm(request.POST)
        if not form.is_valid():
            return self._answer(self._load(), problem=_("Say which of the two you want: open the page again."))
        agreed = form.cleaned_data["agreed"] == "on"
        done = self.attempt(None, lambda: tenants.agree_automatic_end(actor=self.actor, agreed=agreed))
        if done is None:
            problem = self.problem.detail if self.problem is not None else ""
            return self._answer(self._load(), problem=problem, status=self.status)
        messages.success(request, _("Agreed.") if agreed else _("The agreement is taken back."))
        return redirect("keys:projects", self.place.slug)

    def _load(self) -> Tenant:
        with binding.reading():
            return selectors.get_tenant()

    def _answer(self, tenant: Tenant, *, problem: str = "", status: int = 422) -> HttpResponse:
        """The page of how it is now, also after a refusal: what it offers must fit what it says."""
        form = AgreementForm({"agreed": "off" if tenant.ends_automatically else "on"})
        if problem:
            form.add_error(None, problem)
        home = reverse("keys:projects", args=[self.place.slug])
        day = word_moment(tenant.contract_ends_on) if tenant.contract_ends_on else _("not set")
        if tenant.ends_automatically:
            title = _("Take the agreement back")
            effects = [("ok", _("Nothing ends by itself any more: after a last day people are told, again and again."))]
        else:
            title = _("Agree that last days end things")
            effects = [
                ("danger", _("On the day after the contract ends, every use is refused, and the offboarding starts.")),
                ("danger", _("The same for a project on the day after its last.")),
                ("", _("The contract ends on: %(day)s.") % {"day": day}),
                ("ok", _("Owners are reminded before, and can take this back until the day has passed.")),
            ]
        context = {
            "crumbs": [(_("Projects"), home), (title, "")],
            "title": title,
            "danger": not tenant.ends_automatically,
            "effects": [{"level": level, "text": text} for level, text in effects],
            "form": form,
            "submit_label": title,
            "cancel_url": home,
        }
        return self.render("keys/confirm.html", context, status=status if problem else 200)
