"""Providers in the staff door: shipped entries are switched, entries of our own are added and edited."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Never

from django import forms
from django.contrib import admin
from django.utils.html import format_html

from byok_portal import errors
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.staff import StaffAdmin, bind_form
from keys.models import Provider
from keys.services import catalogue

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


class DocumentField(forms.CharField):
    """A catalogue entry as JSON text; the rules of the entry are the operation's."""

    widget = forms.Textarea(attrs={"rows": 24, "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return text and parse_document(text)


class SwitchForm(forms.Form):
    """What can change of a shipped entry."""

    is_enabled = forms.BooleanField(
        label="Enabled", required=False, help_text="New keys can be registered for this provider."
    )
    allow_private_networks = forms.BooleanField(
        label="Allow private networks",
        required=False,
        help_text="Let keys of this provider point at private addresses. Link-local is always refused.",
    )


class EditForm(SwitchForm):
    """What can change of an entry of our own."""

    document = DocumentField(help_text="The whole entry. Its slug is fixed: keys refer to it.")


class AddForm(forms.Form):
    """A new entry of our own."""

    document = DocumentField(help_text="The entry as JSON, in the shape of the shipped ones (open one to see it).")
    allow_private_networks = SwitchForm.base_fields["allow_private_networks"]


@admin.register(Provider)
class ProviderAdmin(StaffAdmin):
    """The list of providers. Changes go to the platform's own chain of the record."""

    list_display = ("name", "slug", "source", "is_enabled", "allow_private_networks", "updated_at")
    list_filter = ("source", "is_enabled", "allow_private_networks")
    search_fields = ("name", "slug")
    ordering = ("name",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Add an entry; a broken one is answered with its field and rule."""

        def perform(values: dict[str, Any]) -> HttpResponse:
            provider = self.run(request, PLATFORM, lambda actor: catalogue.add_provider(actor=actor, **values))
            return self.done(request, provider, "Added.")

        form = bind_form(request, AddForm)
        return self.serve(request, form, title="Add a provider", submit="Add provider", perform=perform)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """Switch an entry; edit one of our own."""
        provider = self.require(request, object_id)
        own = provider.source == "staff"

        def perform(values: dict[str, Any]) -> HttpResponse:
            self.run(
                request,
                PLATFORM,
                lambda actor: catalogue.edit_provider(actor=actor, provider_id=provider.id, **values),
            )
            return self.done(request, provider, "Edited.")

        initial = {
            "is_enabled": provider.is_enabled,
            "allow_private_networks": provider.allow_private_networks,
            "document": _print(provider.document),
        }
        form = bind_form(request, EditForm if own else SwitchForm, **initial)
        facts = [
            ("Slug", provider.slug),
            ("Source", provider.get_source_display()),
            ("Digest", provider.digest),
        ]
        if not own:
            facts.append(("Entry", format_html('<pre class="leaf" tabindex="0">{}</pre>', _print(provider.document))))
        context = {"obj": provider, "facts": facts, "history": True}
        return self.serve(request, form, title=str(provider), submit="Save", perform=perform, **context)

    def add_problems(self, form: forms.Form, error: errors.PortalError) -> None:
        """Every problem names its place in the document and the rule's code."""
        for problem in error.problems if isinstance(error, errors.InvalidInputs) else [error]:
            field = "document" if "document" in form.fields else None
            form.add_error(field, f"{problem.detail} (rule: {problem.code})")


def parse_document(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises ValidationError for anything else, and for what no database holds."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
        text_again = json.dumps(document, ensure_ascii=False)
        text_again.encode()
    except json.JSONDecodeError as error:
        message = f"This is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        raise forms.ValidationError(message, code="not_json") from None
    except (ValueError, RecursionError):
        message = "This is not JSON that can be stored: it is too deep, or holds NaN or half a character."
        raise forms.ValidationError(message, code="not_json") from None
    if not isinstance(document, dict):
        raise forms.ValidationError("The entry is a JSON object.", code="not_a_table")
    if "\\u0000" in text_again:
        raise forms.ValidationError("The entry must not contain NUL.", code="control_characters")
    return document


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _print(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
