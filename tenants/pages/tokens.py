"""Issuing and revoking tokens. A token is in one answer, once: never in a redirect, a session or a log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from tenants import selectors
from tenants.pages import panel
from tenants.pages.forms import EmptyForm, TokenForm
from tenants.services import consumers

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse

    from byok_portal.boundary.secrets import Secret
    from tenants.models import Consumer, ConsumerToken


class ConsumerPage(OperationPage):
    """Base of the pages that change one consumer."""

    section: ClassVar[str] = "consumers"

    def load(self, reference: str) -> Consumer:
        """The consumer, read in a transaction of its own."""
        with binding.reading():
            return selectors.get_consumer(reference)

    def trail(self, consumer: Consumer, last: str) -> list[tuple[str, str]]:
        """The breadcrumbs."""
        here = reverse("tenants:consumers", args=[self.place.slug])
        return [(_("Consumers"), here), (consumer.name, self.url_of(consumer)), (last, "")]

    def url_of(self, consumer: Consumer) -> str:
        """The consumer's own page."""
        return reverse("tenants:consumer", args=[self.place.slug, consumer.slug])


class IssuePage(ConsumerPage):
    """Issues a token."""

    operation: ClassVar[str] = "consumer.issue_token"

    def get(self, request: HttpRequest, consumer: str) -> HttpResponse:  # Django's signature
        """How long it lives and what it may call."""
        return self._answer(self.load(consumer), TokenForm())

    def post(self, request: HttpRequest, consumer: str) -> HttpResponse:
        """Issue, and show the token in this very answer."""
        found, form = self.load(consumer), TokenForm(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        done = self.attempt(
            form,
            lambda: consumers.issue_token(actor=self.actor, consumer_id=found.id, **form.cleaned_data),
        )
        if done is None:
            return self._answer(found, form, status=self.status)
        token, issued = done
        return self._show(found, token, issued.plaintext)

    def _answer(self, consumer: Consumer, form: Form, *, status: int = 200) -> HttpResponse:
        context = {
            "crumbs": self.trail(consumer, _("Issue token")),
            "title": _("Issue a token for %(name)s") % {"name": consumer.name},
            "lede": _("The token is shown once. What it can do with keys is decided by grants."),
            "form": form,
            "submit_label": _("Issue token"),
            "cancel_url": self.url_of(consumer),
        }
        return self.render("keys/confirm.html", context, status=status)

    def _show(self, consumer: Consumer, token: ConsumerToken, plaintext: Secret) -> HttpResponse:
        with binding.reading():
            call = panel.get().find_call(consumer.id)
        context: dict[str, Any] = {
            "crumbs": self.trail(consumer, _("New token")),
            "consumer": {"name": consumer.name, "url": self.url_of(consumer)},
            "token": plaintext.reveal_text(),
            "curl": _word_call(self.place.slug, plaintext, call),
            "has_call": call is not None,
            "expires_at": token.expires_at,
            "done_url": self.url_of(consumer),
        }
        return self.render("tenants/token_once.html", context)


def _word_call(tenant: str, plaintext: Secret, call: tuple[str, str] | None) -> str:
    """A call that can be pasted into a shell; without a grant its key and scope are left to fill in."""
    key, scope = call or ("KEY", "SCOPE")
    body = json.dumps({"scope": scope, "purpose": "try the token"})
    address = f"{settings.BASE_URL}/api/v1/tenants/{tenant}/keys/{key}/use/"
    return (
        f"curl -sS -X POST {address} \\\n  -H 'Authorization: Bearer {plaintext.reveal_text()}' \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    )


class RevokePage(ConsumerPage):
    """Revokes a token."""

    operation: ClassVar[str] = "consumer.revoke_token"

    def get(self, request: HttpRequest, consumer: str, token: UUID) -> HttpResponse:  # Django's
        """Which token, and what stops."""
        found = self.load(consumer)
        return self._answer(found, _get_token(found, token), EmptyForm())

    def post(self, request: HttpRequest, consumer: str, token: UUID) -> HttpResponse:
        """Revoke at once."""
        found, form = self.load(consumer), EmptyForm(request.POST)
        row = _get_token(found, token)
        done = self.attempt(
            form,
            lambda: consumers.revoke_token(actor=self.actor, consumer_id=found.id, token_id=row.id),
        )
        if done is None:
            return self._answer(found, row, form, status=self.status)
        messages.success(request, _("Token …%(last)s is revoked.") % {"last": row.last_four})
        return redirect(self.url_of(found))

    def _answer(self, consumer: Consumer, token: ConsumerToken, form: Form, *, status: int = 200) -> HttpResponse:
        name = f"{token.prefix}…{token.last_four}"
        context = {
            "crumbs": self.trail(consumer, _("Revoke token")),
            "title": _("Revoke token …%(last)s") % {"last": token.last_four},
            "lede": _("%(name)s of %(consumer)s.") % {"name": name, "consumer": consumer.name},
            "danger": True,
            "effects": [
                {"text": _("Calls that arrive after this with the token are refused."), "level": "danger"},
                {"text": _("Other tokens of this consumer and its grants stay as they are."), "level": "ok"},
            ],
            "form": form,
            "submit_label": _("Revoke token"),
            "cancel_url": self.url_of(consumer),
        }
        return self.render("keys/confirm.html", context, status=status)


def _get_token(consumer: Consumer, token_id: UUID) -> ConsumerToken:
    with binding.reading():
        token = selectors.list_tokens(consumer.id).filter(id=token_id).first()
    if token is None:
        raise errors.NotFound
    return token
