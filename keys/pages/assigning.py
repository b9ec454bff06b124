"""Putting a key or a consumer into a project, or taking it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from keys.pages.changes import ChangePage
from keys.services import projects as keys
from tenants import selectors
from tenants.pages.forms import list_project_choices
from tenants.services import projects

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse, QueryDict

    from keys.models import Key
    from tenants.models import Consumer


class AssignForm(forms.Form):
    """One of the live projects, or none."""

    project = forms.ChoiceField(label=gettext_lazy("Project"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["project"]
        field.choices = list_project_choices()


class KeyProjectPage(ChangePage):
    """Puts a key into a project."""

    operation: ClassVar[str] = "key.assign_project"
    verb: ClassVar[Any] = gettext_lazy("Choose the project of")
    button: ClassVar[Any] = gettext_lazy("Set project")
    done: ClassVar[Any] = gettext_lazy("The project of %(name)s is set.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> forms.Form:
        with binding.reading():
            return AssignForm(data, initial={"project": str(key.project_id or "")})

    def call(self, key: Key, form: forms.Form) -> object:
        return keys.assign_key(actor=self.actor, key_id=key.id, project=form.cleaned_data["project"])

    def effects(self, key: Key) -> list[tuple[str, str]]:  # the base's signature
        return [("", _("The key ends with its project: here, at its provider, and its ciphertext is destroyed."))]


class ConsumerProjectPage(OperationPage):
    """Puts a consumer into a project."""

    operation: ClassVar[str] = "consumer.assign_project"
    section: ClassVar[str] = "consumers"

    def get(self, request: HttpRequest, consumer: str) -> HttpResponse:  # Django's signature
        """As it is now."""
        with binding.reading():
            found = selectors.get_consumer(consumer)
            form = AssignForm(initial={"project": str(found.project_id or "")})
        return self._answer(found, form)

    def post(self, request: HttpRequest, consumer: str) -> HttpResponse:
        """Set it."""
        with binding.reading():
            found = selectors.get_consumer(consumer)
            form = AssignForm(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        chosen = form.cleaned_data["project"]
        call = lambda: projects.assign_consumer(actor=self.actor, consumer_id=found.id, project=chosen)  # noqa: E731
        if self.attempt(form, call) is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("The project of %(name)s is set.") % {"name": found.name})
        return redirect("tenants:consumer", self.place.slug, found.slug)

    def _answer(self, found: Consumer, form: forms.Form, *, status: int = 200) -> HttpResponse:
        home = reverse("tenants:consumers", args=[self.place.slug])
        back = reverse("tenants:consumer", args=[self.place.slug, found.slug])
        text = _("The consumer ends with its project: its tokens and grants are refused from that commit on.")
        context: dict[str, Any] = {
            "crumbs": [(_("Consumers"), home), (found.name, back), (_("Project"), "")],
            "title": _("Choose the project of %(name)s") % {"name": found.name},
            "effects": [{"level": "", "text": text}],
            "form": form,
            "submit_label": _("Set project"),
            "cancel_url": back,
        }
        return self.render("keys/confirm.html", context, status=status)
