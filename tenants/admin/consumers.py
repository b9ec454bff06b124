"""Consumers of every tenant. Staff register platform-operated systems; each token is shown once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html

from byok_portal import errors
from byok_portal.boundary.permissions import TOKEN_PERMISSIONS, Permission
from byok_portal.boundary.staff import ANSWERABLE, StaffAdmin, StaffInline, bind_form
from byok_portal.boundary.staff_lists import NEWEST, LongList
from tenants.admin.filters import TenantFilter
from tenants.models import Consumer, ConsumerKind, ConsumerToken, Tenant
from tenants.services import consumers
from tenants.states import Environment, TenantState

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

_DAYS = 90


class IssueTokenForm(forms.Form):
    """What a new token may do, and for how long."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in sorted(permission.value for permission in TOKEN_PERMISSIONS)],
        widget=forms.CheckboxSelectMultiple,
        initial=[Permission.KEY_USE.value],
        help_text="Rights on the API. A system that only uses keys needs key:use alone.",
    )
    days = forms.IntegerField(initial=_DAYS, help_text="Days until it expires, at most 366.")


class RegisterConsumerForm(IssueTokenForm):
    """A new consumer with its first token."""

    tenant = forms.ModelChoiceField(queryset=Tenant.objects.filter(state=TenantState.ACTIVE.value).order_by("slug"))
    name = forms.CharField()
    kind = forms.ChoiceField(choices=ConsumerKind.choices)
    environment = forms.ChoiceField(choices=[(word.value, word.value.capitalize()) for word in Environment])
    operated_by = forms.ChoiceField(
        choices=[("platform", "The platform"), ("tenant", "The tenant")], initial="platform"
    )
    contact = forms.CharField(required=False, widget=forms.EmailInput, help_text="Who answers for this system.")
    field_order = ("tenant", "name", "kind", "environment", "operated_by", "contact", "scopes", "days")


class TokenInline(StaffInline):
    """Tokens by prefix and last four characters; the digest is not even read."""

    model = ConsumerToken
    fields = readonly_fields = ("scope_list", "created_at", "expires_at", "revoked_at", "revoke")
    verbose_name_plural = "tokens"
    ordering = ("-created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("digest")

    @admin.display(description="scopes")
    def scope_list(self, token: ConsumerToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description="action")
    def revoke(self, token: ConsumerToken) -> SafeString | str:
        if token.revoked_at is not None:
            return ""
        url = reverse("admin:tenants_consumer_revoke_token", args=[token.consumer_id, token.id])
        return format_html('<a href="{}">Revoke<span class="visually-hidden"> {}</span></a>', url, token)


@admin.register(Consumer)
class ConsumerAdmin(LongList, StaffAdmin):
    """The list of consumers, registration with a first token, and each consumer's tokens."""

    list_display = ("name", "tenant", "kind", "environment", "operated_by", "state", "created_at")
    list_filter = (TenantFilter, "state", "kind", "operated_by")
    ordering = NEWEST
    list_select_related = ("tenant",)
    search_fields = ("name", "slug")
    fields = readonly_fields = (
        *("tenant", "name", "slug", "kind", "environment", "operated_by"),
        *("contact", "state", "created_at", "ended_at"),
    )
    inlines = (TokenInline,)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("<path:object_id>/token/", wrap(self.token_view), name="tenants_consumer_token"),
            path(
                "<path:object_id>/tokens/<uuid:token_id>/revoke/",
                wrap(self.revoke_token_view),
                name="tenants_consumer_revoke_token",
            ),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Register and issue, both or neither. The answer shows the token, this once."""

        def perform(values: dict[str, Any]) -> HttpResponse:
            tenant, scopes, days = (values.pop(name) for name in ("tenant", "scopes", "days"))

            def register(actor: Any) -> Any:
                with transaction.atomic():  # a consumer whose token was refused must not stay behind
                    consumer = consumers.register(actor=actor, **values)
                    return consumer, *consumers.issue_token(
                        actor=actor, consumer_id=consumer.id, days=days, scopes=scopes
                    )

            consumer, token, issued = self.run(request, tenant.id, register)
            self.log_addition(request, consumer, f"Registered, with token {token}.")
            return self.show_token(request, consumer, tenant, token, issued.plaintext.reveal_text())

        initial = {"scopes": [Permission.KEY_USE.value], "days": _DAYS, "operated_by": "platform"}
        form = bind_form(request, RegisterConsumerForm, **initial, tenant=request.GET.get("tenant"))
        return self.serve(
            request, form, title="Register a consumer", submit="Register and issue a token", perform=perform
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Read-only, with the buttons that the consumer's state allows."""
        consumer = self.require(request, object_id)
        context = {**(extra_context or {}), "tools": self.list_tools(consumer), "title": str(consumer)}
        return super().change_view(request, object_id, form_url, context)

    def list_tools(self, consumer: Consumer) -> list[dict[str, Any]]:
        """The buttons above a consumer."""
        if consumer.state != Consumer.State.ACTIVE:
            return []
        return [{"label": "Issue a token", "url": self.url("token", consumer.pk)}]

    def token_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Issue one more token. The answer shows it, this once."""
        consumer = self.require(request, object_id)

        def perform(values: dict[str, Any]) -> HttpResponse:
            token, issued = self.run(
                request,
                consumer.tenant_id,
                lambda actor: consumers.issue_token(actor=actor, consumer_id=consumer.id, **values),
            )
            self.log_change(request, consumer, f"Issued token {token}.")
            return self.show_token(request, consumer, consumer.tenant, token, issued.plaintext.reveal_text())

        form = bind_form(request, IssueTokenForm, scopes=[Permission.KEY_USE.value], days=_DAYS)
        title = f"Issue a token for {consumer}"
        return self.serve(request, form, title=title, submit="Issue token", perform=perform, obj=consumer)

    def revoke_token_view(self, request: HttpRequest, object_id: str, token_id: Any) -> HttpResponse:
        """Asks, then revokes."""
        consumer = self.require(request, object_id)
        token = ConsumerToken.objects.filter(id=token_id, consumer_id=consumer.id).defer("digest").first()
        if token is None:
            raise errors.NotFound
        if request.method != "POST":
            says = f"{consumer} cannot use this token from the next request on. It cannot be undone."
            context = {
                "rows": [token],
                "verb": "Revoke",
                "says": says,
                "cancel_url": self.url("change", consumer.pk),
            }
            return self.show(request, "admin/staff/confirm.html", title="Revoke this token?", obj=consumer, **context)
        try:
            self.run(
                request,
                consumer.tenant_id,
                lambda actor: consumers.revoke_token(actor=actor, consumer_id=consumer.id, token_id=token.id),
            )
        except ANSWERABLE as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(self.url("change", consumer.pk))
        return self.done(request, consumer, f"Revoked token {token}.")

    def show_token(
        self, request: HttpRequest, consumer: Consumer, tenant: Tenant, token: ConsumerToken, clear: str
    ) -> HttpResponse:
        """The one answer that holds the token in clear."""
        days = (token.expires_at - timezone.now()).days + 1
        return self.show(
            request,
            "admin/staff/once.html",
            title=f"Token for {consumer}",
            obj=consumer,
            secret_label="Token",  # noqa: S106  # a label
            secret=clear,
            note=f"Works {days} days with {', '.join(token.scopes)}. Put it into the consumer's secret store.",
            example=self.example(consumer, tenant, clear),
            done_url=self.url("change", consumer.pk),
        )

    def example(self, consumer: Consumer, tenant: Tenant, clear: str) -> str:
        """A first call to paste: asks for a decision, which needs no more than key:use."""
        key, scope = self.sample(consumer)
        url = f"{settings.BASE_URL.rstrip('/')}/api/v1/tenants/{tenant.slug}/keys/{key}/use/"
        body = f'{{"scope": "{scope}", "purpose": "First call of {consumer.slug}"}}'
        return (
            f"curl -sS -X POST {url} \\\n  -H 'Authorization: Bearer {clear}' \\\n"
            f"  -H 'Content-Type: application/json' \\\n  -d '{body}'"
        )

    def sample(self, consumer: Consumer) -> tuple[str, str]:  # the keys app knows better
        """A key and a scope for the example."""
        return "KEY", "SCOPE"
