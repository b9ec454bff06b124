"""The consumers of a tenant: the list, one consumer, and the form that registers one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.db.models import Count, Q
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from audit.usage import find_last_uses
from byok_portal.boundary.keyset import take_page
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from byok_portal.ui.options import list_options
from tenants import selectors
from tenants.models import Consumer, ConsumerToken
from tenants.pages import panel
from tenants.pages.forms import KINDS, ConsumerForm
from tenants.services import consumers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

PAGE: Final = 50


class ListPage(TenantPage):
    """Consumers, newest first."""

    permission: ClassVar[Permission] = Permission.CONSUMER_READ
    section: ClassVar[str] = "consumers"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Each with its live tokens and grants, and when it last used a key."""
        page = take_page(selectors.list_consumers(), request.GET, size=PAGE)
        slug = self.place.slug
        may_register = self.permits(Permission.CONSUMER_REGISTER)
        context = {
            "crumbs": [(_("Consumers"), "")],
            "rows": _rows(page.rows, slug=slug),
            "pager": {"label": _("Newest first"), **page.urls},
            "register_url": reverse("tenants:consumer-register", args=[slug]) if may_register else "",
        }
        return self.render("tenants/consumers.html", context)


def _rows(found: Sequence[Consumer], *, slug: str) -> list[dict[str, Any]]:
    identifiers = [consumer.id for consumer in found]
    tokens, grants = _count_tokens(identifiers), panel.get().count_grants(identifiers)
    last = find_last_uses(identifiers)
    return [
        {
            "name": consumer.name,
            "url": reverse("tenants:consumer", args=[slug, consumer.slug]),
            "kind": consumer.kind,
            "kind_label": f"{consumer.get_kind_display()} · {consumer.environment}",
            "status": consumer.state,
            "status_label": consumer.get_state_display(),
            "owner": consumer.get_operated_by_display(),
            "tokens": tokens.get(consumer.id, 0),
            "grants": grants.get(consumer.id, 0),
            "last_used_at": last.get(consumer.id),
        }
        for consumer in found
    ]


def _count_tokens(identifiers: Iterable[UUID]) -> dict[UUID, int]:
    live = Q(revoked_at=None, expires_at__gt=timezone.now())
    counted = ConsumerToken.objects.filter(live, consumer_id__in=identifiers).values("consumer_id")
    return {row["consumer_id"]: row["n"] for row in counted.annotate(n=Count("id"))}


class DetailPage(TenantPage):
    """One consumer."""

    permission: ClassVar[Permission] = Permission.CONSUMER_READ
    section: ClassVar[str] = "consumers"

    def get(self, request: HttpRequest, consumer: str) -> HttpResponse:  # Django's signature
        """Its tokens, its grants, and what can be done with it."""
        found = selectors.get_consumer(consumer)
        slug, is_live = self.place.slug, found.state == Consumer.State.ACTIVE
        may_issue = is_live and self.permits(Permission.CONSUMER_TOKEN)
        context = {
            "crumbs": [(_("Consumers"), reverse("tenants:consumers", args=[slug])), (found.name, "")],
            "consumer": {
                "name": found.name,
                "slug": found.slug,
                "kind": found.kind,
                "kind_label": found.get_kind_display(),
            },
            "status": found.state,
            "status_label": found.get_state_display(),
            "issue_url": reverse("tenants:token-issue", args=[slug, found.slug]) if may_issue else "",
            "actions": self._actions(found) if is_live else [],
            "tokens": [self._token(found, token) for token in selectors.list_tokens(found.id)[:PAGE]],
            "grants": panel.get().list_grants(found.id, slug=slug, may_end=self.permits(Permission.GRANT_END)),
            "facts": _facts(found),
        }
        return self.render("tenants/consumer.html", context)

    def _actions(self, found: Consumer) -> list[dict[str, Any]]:
        arguments = [self.place.slug, found.slug]
        assign = {"label": _("Set project"), "url": reverse("keys:consumer-project", args=arguments), "icon": "folder"}
        end = {
            "label": _("End consumer"),
            "url": reverse("keys:consumer-end", args=arguments),
            "icon": "ban",
            "danger": True,
        }
        allowed: list[tuple[dict[str, Any], Permission]] = [
            (assign, Permission.PROJECT_EDIT),
            (end, Permission.CONSUMER_END),
        ]
        return [action for action, permission in allowed if self.permits(permission)]

    def _token(self, found: Consumer, token: ConsumerToken) -> dict[str, Any]:
        status, label = _token_state(token)
        may_end = status == "active" and self.permits(Permission.CONSUMER_TOKEN)
        arguments = [self.place.slug, found.slug, token.id]
        return {
            "label": f"…{token.last_four}",
            "prefix": token.prefix,
            "status": status,
            "status_label": label,
            "scopes_label": ", ".join(token.scopes),
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "end_url": reverse("tenants:token-revoke", args=arguments) if may_end else "",
        }


def _token_state(token: ConsumerToken) -> tuple[str, str]:
    if token.revoked_at is not None:
        return "revoked", _("Revoked")
    return ("active", _("Active")) if token.expires_at > timezone.now() else ("expired", _("Expired"))


def _facts(found: Consumer) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        (_("Slug"), found.slug),
        (_("Kind"), found.get_kind_display()),
        (_("Environment"), found.environment.capitalize()),
        (_("Operated by"), found.get_operated_by_display()),
        (_("Contact"), found.contact),
        (_("Project"), str(found.project or "")),
        (_("Registered"), found.created_at),
        (_("Last use"), find_last_uses([found.id]).get(found.id)),
        (_("Ended"), found.ended_at),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]


class RegisterPage(OperationPage):
    """Registers a consumer."""

    operation: ClassVar[str] = "consumer.register"
    section: ClassVar[str] = "consumers"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """The empty form."""
        return self._answer(ConsumerForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Register, then show the consumer."""
        form = ConsumerForm(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        consumer = self.attempt(form, lambda: consumers.register(actor=self.actor, **form.cleaned_data))
        if consumer is None:
            return self._answer(form, status=self.status)
        messages.success(request, _("%(name)s is registered. Issue its token next.") % {"name": consumer.name})
        return redirect("tenants:consumer", self.place.slug, consumer.slug)

    def _answer(self, form: ConsumerForm, *, status: int = 200) -> HttpResponse:
        back = reverse("tenants:consumers", args=[self.place.slug])
        context = {
            "crumbs": [(_("Consumers"), back), (_("Register"), "")],
            "form": form,
            "kinds": list_options(KINDS, chosen={str(form["kind"].value())}),
            "cancel_url": back,
        }
        return self.render("tenants/consumer_register.html", context, status=status)
