"""Registering a key: a provider is chosen, then one form. The secret is wrapped before anything looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from keys import selectors
from keys.pages import picker
from keys.pages.forms import RegisterForm, take_secret
from keys.services import registration
from keys.services.catalogue import entry_of
from keys.services.drafts import KeyDraft

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from keys.catalogue import ProviderEntry
    from keys.models import Provider


@method_decorator(sensitive_post_parameters("secret"), name="dispatch")
class RegisterPage(OperationPage):
    """Without `?provider=` a gallery, with it the form."""

    operation: ClassVar[str] = "key.register"
    section: ClassVar[str] = "keys"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The gallery or the empty form, its suggested preset ticked."""
        slug = request.GET.get("provider", "")
        if not slug:
            return self._gallery()
        provider = selectors.get_provider(slug)
        if picker.find_obstacle(provider):
            raise errors.NotFound
        entry = entry_of(provider)
        chosen = picker.first_scopes(entry)
        initial = {"owner": str(request.user.pk), "scope": chosen}
        return self._answer(entry, RegisterForm(entry, initial=initial), chosen=chosen)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Check, prove, store; then the key's page."""
        data, plaintext = take_secret(request)
        with binding.reading():
            entry = entry_of(selectors.get_provider(data.get("provider", "")))
            chosen = data.getlist("scope") or picker.preset_scopes(entry, data.get("preset", ""))
            data.setlist("scope", chosen)
            form = RegisterForm(entry, data)
            is_valid = form.is_valid()
        if not is_valid:
            return self._answer(entry, form, chosen=chosen, status=422)
        draft = _draft(entry, form.cleaned_data)
        done = self.attempt(form, lambda: registration.register(actor=self.actor, draft=draft, plaintext=plaintext))
        if done is None:
            return self._answer(entry, form, chosen=chosen, status=self.status)
        messages.success(
            request,
            _("%(name)s is registered and proven: %(account)s. Activate it when the comparison is right.")
            % {"name": done.key.name, "account": done.key.account_label or done.key.account_id},
        )
        return redirect("keys:detail", self.place.slug, done.key.slug)

    def _gallery(self) -> HttpResponse:
        context = {
            "crumbs": [*self._trail, (_("Register"), "")],
            "providers": [_pick(provider) for provider in selectors.list_providers()],
        }
        return self.render("keys/choose_provider.html", context)

    def _answer(
        self, entry: ProviderEntry, form: RegisterForm, *, chosen: list[str], status: int = 200
    ) -> HttpResponse:
        here = reverse("keys:register", args=[self.place.slug])
        context = {
            "crumbs": [*self._trail, (_("Register"), here), (entry.name, "")],
            "entry": picker.entry_context(entry),
            "form": form,
            "parameter_fields": [form[f"param_{parameter.name}"] for parameter in entry.parameters],
            "custodies": picker.list_custodies(),
            "change_url": here,
            "cancel_url": reverse("keys:list", args=[self.place.slug]),
            **picker.scope_context(entry, set(chosen)),
        }
        return self.render("keys/register.html", context, status=status)

    @property
    def _trail(self) -> list[tuple[str, str]]:
        return [(_("Keys"), reverse("keys:list", args=[self.place.slug]))]


def _draft(entry: ProviderEntry, values: dict[str, Any]) -> KeyDraft:
    same = ("name", "environment", "custody", "purpose", "owner", "backup_owner", "ends_on", "justification", "project")
    return KeyDraft(
        provider=entry.slug,
        scopes=tuple(values["scope"]),
        endpoint=values.get("endpoint", ""),
        parameters={each.name: values[f"param_{each.name}"] for each in entry.parameters},
        **{name: values[name] for name in same},
    )


def _pick(provider: Provider) -> dict[str, str]:
    entry = entry_of(provider)
    return {
        "slug": entry.slug,
        "name": entry.name,
        "abbreviation": entry.abbreviation,
        "tile": entry.tile,
        "summary": entry.summary,
        "rotation_note": picker.rotation_note(entry),
        "url": f"?provider={entry.slug}",
        "disabled_reason": picker.find_obstacle(provider),
    }
