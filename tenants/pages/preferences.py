"""How a person wants to hear of each kind of notice in one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from tenants import notices as kinds
from tenants.models import Channel
from tenants.services import notices

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

LABELS: Final = {
    Channel.PORTAL: gettext_lazy("Inbox only"),
    Channel.DIGEST: gettext_lazy("In a digest"),
    Channel.AT_ONCE: gettext_lazy("By mail at once"),
}


class PreferencesForm(forms.Form):
    """One choice per kind; a kind that may not be muted does not offer the inbox alone."""

    def __init__(self, data: Any = None, *, channels: dict[str, Channel] | None = None) -> None:
        super().__init__(data)
        for kind in kinds.list_kinds():
            offered = [channel for channel in Channel if kind.may_mute or channel is not Channel.PORTAL]
            self.fields[kind.name] = forms.ChoiceField(
                label=str(kind.title),
                choices=[(channel.value, LABELS[channel]) for channel in offered],
                initial=(channels or {}).get(kind.name, kind.channel).value,
                help_text="" if kind.may_mute else _("Always comes by mail."),
            )


class PreferencesPage(OperationPage):
    """Shows and sets the person's own channels."""

    operation: ClassVar[str] = "notice.prefer"
    section: ClassVar[str] = "inbox"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """The choices as they are."""
        return self._answer(PreferencesForm(channels=notices.list_preferences(self.actor.id)))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Set them, or say what was wrong."""
        with binding.reading():
            form = PreferencesForm(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        if self.attempt(form, lambda: notices.prefer(actor=self.actor, channels=form.cleaned_data)) is None:
            return self._answer(form, status=self.status)
        messages.success(request, _("Saved."))
        return redirect(reverse("tenants:preferences", args=[self.place.slug]))

    def _answer(self, form: PreferencesForm, *, status: int = 200) -> HttpResponse:
        inbox = reverse("tenants:inbox", args=[self.place.slug])
        context = {
            "crumbs": [(_("Inbox"), inbox), (_("How you hear of things"), "")],
            "form": form,
            "tenant_name": self.place.name,
            "cancel_url": inbox,
        }
        return self.render("tenants/preferences.html", context, status=status)
