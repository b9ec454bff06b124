"""Staff open, edit, suspend and resume tenants, and invite people into them. Their end is in `keys.admin`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone

from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.permissions import Role
from byok_portal.boundary.secrets import Secret
from byok_portal.boundary.staff import StaffAdmin, bind_form
from byok_portal.boundary.staff_lists import WordFilter
from tenants.models import Membership, Tenant
from tenants.services import mails, members, tenants
from tenants.states import TenantState

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from tenants.services.members import IssuedInvitation

ENDING = frozenset({TenantState.OFFBOARDING, TenantState.OFFBOARDED})


class EditTenantForm(forms.Form):
    """What can change of a tenant."""

    name = forms.CharField()
    contract_ends_on = forms.DateField(
        label="Contract end",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The last day of the contract; empty when none is agreed.",
    )


class OpenTenantForm(EditTenantForm):
    """A new tenant and its first owner."""

    slug = forms.CharField(help_text="Small letters, digits and inner hyphens. Part of every address; never changes.")
    owner_email = forms.CharField(
        label="Owner e-mail",
        widget=forms.EmailInput,
        help_text="This person gets the invitation link and invites the others.",
    )
    field_order = ("name", "slug", "contract_ends_on", "owner_email")


class InviteForm(forms.Form):
    """One more person for a tenant."""

    email = forms.CharField(label="E-mail", widget=forms.EmailInput)
    role = forms.ChoiceField(choices=[(role.value, role.value.title()) for role in Role], initial=Role.OWNER.value)


class StateFilter(WordFilter):
    """By the tenant's state."""

    title = "state"
    parameter_name = "state"
    words = [(state.value, state.value.capitalize()) for state in TenantState]


class ContractFilter(admin.SimpleListFilter):
    """By how far away the contract's end is."""

    title = "contract end"
    parameter_name = "contract"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("over", "Is over"),
            ("30", "Within 30 days"),
            ("90", "Within 90 days"),
            ("none", "Not agreed"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        today, wanted = timezone.now().date(), self.value()
        if wanted == "over":
            return queryset.filter(contract_ends_on__lt=today)
        if wanted == "none":
            return queryset.filter(contract_ends_on=None)
        if wanted in {"30", "90"}:
            return queryset.filter(contract_ends_on__range=(today, today + timedelta(days=int(wanted))))
        return queryset


def count_of(rows: QuerySet[Any]) -> Coalesce:
    """How many of `rows` each tenant of a list has."""
    own = rows.filter(tenant_id=OuterRef("pk")).order_by().values("tenant_id")
    return Coalesce(Subquery(own.annotate(rows=Count("*")).values("rows")), 0)


@admin.register(Tenant)
class TenantAdmin(StaffAdmin):
    """The list of tenants and what staff can do with one."""

    list_display: tuple[str, ...] = ("name", "slug", "state_word", "contract_ends_on", "owner_count")
    list_filter = (StateFilter, ContractFilter)
    search_fields = ("name", "slug")
    ordering = ("slug",)
    actions = ("suspend", "resume")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        owners = Membership.objects.filter(role=Role.OWNER.value, is_active=True)
        rows: QuerySet[Tenant] = super().get_queryset(request)
        return rows.annotate(owners=count_of(owners))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.invite_view)
        return [path("<path:object_id>/invite/", view, name="tenants_tenant_invite"), *super().get_urls()]

    @admin.display(description="state", ordering="state")
    def state_word(self, tenant: Tenant) -> str:
        return tenant.state.capitalize()

    @admin.display(description="owners")
    def owner_count(self, tenant: Any) -> int:
        return int(tenant.owners)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Open a tenant. The answer shows its owner's invitation link, this once."""

        def perform(values: dict[str, Any]) -> HttpResponse:
            tenant, issued = self.run(request, new_id(), lambda actor: tenants.open_tenant(actor=actor, **values))
            self.log_addition(request, tenant, "Opened.")
            return self.show_invitation(request, tenant, issued, values["owner_email"], title="Tenant opened")

        form = bind_form(request, OpenTenantForm)
        return self.serve(request, form, title="Open a tenant", submit="Open tenant", perform=perform)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """What staff know of a tenant; its name and contract end can change."""
        tenant = self.require(request, object_id)

        def perform(values: dict[str, Any]) -> HttpResponse:
            self.run(request, tenant.id, lambda actor: tenants.edit_tenant(actor=actor, **values))
            return self.done(request, tenant, "Edited.")

        form = bind_form(request, EditTenantForm, name=tenant.name, contract_ends_on=tenant.contract_ends_on)
        context = {"facts": self.list_facts(tenant), "tools": self.list_tools(tenant), "history": True}
        return self.serve(request, form, title=str(tenant), submit="Save", perform=perform, obj=tenant, **context)

    def invite_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Invite a person. The answer shows the link, this once."""
        tenant = self.require(request, object_id)

        def perform(values: dict[str, Any]) -> HttpResponse:
            issued = self.run(request, tenant.id, lambda actor: members.invite(actor=actor, **values))
            self.log_change(request, tenant, "Invited a person.")
            return self.show_invitation(request, tenant, issued, values["email"], title="Person invited")

        title = f"Invite a person into {tenant}"
        form = bind_form(request, InviteForm, role=Role.OWNER.value)
        return self.serve(request, form, title=title, submit="Invite", perform=perform, obj=tenant)

    def show_invitation(
        self, request: HttpRequest, tenant: Tenant, issued: IssuedInvitation, email: str, *, title: str
    ) -> HttpResponse:
        """The one answer that holds the link in clear, unless it went by mail to its reader alone."""
        link = settings.BASE_URL.rstrip("/") + reverse("tenants:invitation", args=[issued.plaintext.reveal_text()])
        mailed = self.run(request, tenant.id, lambda _actor: mails.send_invitation(issued, link=Secret(link)))
        if mailed and settings.MAIL_LEAVES:
            messages.success(request, f"The invitation was mailed to {email}.")
            return HttpResponseRedirect(self.url("change", tenant.pk))
        return self.show(
            request,
            "admin/staff/once.html",
            title=title,
            obj=tenant,
            secret_label="Invitation link",  # noqa: S106  # a label
            secret=link,
            note=f"Send it to {email}. It works once, for {settings.INVITATION_DAYS} days.",
            done_url=self.url("change", tenant.pk),
        )

    def list_facts(self, tenant: Tenant) -> list[tuple[str, Any]]:
        """What is shown and cannot be changed here."""
        people = Membership.objects.filter(tenant_id=tenant.id).select_related("user").order_by("role", "created_at")
        words = [f"{each.user.email} ({each.role}{'' if each.is_active else ', invited'})" for each in people]
        return [
            ("Slug", tenant.slug),
            ("State", tenant.state.capitalize()),
            ("Id", tenant.id),
            ("Opened", tenant.created_at),
            ("People", ", ".join(words)),
        ]

    def list_tools(self, tenant: Tenant) -> list[dict[str, Any]]:
        """The buttons above a tenant: only what its state allows."""
        record = f"{reverse('admin:audit_entry_changelist')}?tenant={tenant.id}"
        tools: list[dict[str, Any]] = [{"label": "Audit entries", "url": record}]
        if tenant.state in ENDING:
            return tools
        tools.append({"label": "Invite a person", "url": self.url("invite", tenant.pk)})
        for state, action in ((TenantState.ACTIVE, "suspend"), (TenantState.SUSPENDED, "resume")):
            if tenant.state == state:
                tool = {"label": action.capitalize(), "action": action, "url": self.url("changelist")}
                tools.append({**tool, "danger": action == "suspend"})
        return tools

    @admin.action(description="Suspend: stop every use of their keys")
    def suspend(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> HttpResponse | None:
        """Asks first."""
        if "confirmed" not in request.POST:
            says = "From this moment on every use of their keys is refused, on every process. Nothing is lost."
            return self.confirm(request, queryset, "suspend", "Suspend", says)
        self.run_each(request, queryset, lambda _row, actor: tenants.suspend_tenant(actor=actor), said="Suspended.")
        return None

    @admin.action(description="Resume: allow their keys again")
    def resume(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> HttpResponse | None:
        """Asks first."""
        if "confirmed" not in request.POST:
            says = "Every key that was usable before the suspension becomes usable again."
            return self.confirm(request, queryset, "resume", "Resume", says)
        self.run_each(request, queryset, lambda _row, actor: tenants.resume_tenant(actor=actor), said="Resumed.")
        return None

    def confirm(self, request: HttpRequest, rows: QuerySet[Tenant], action: str, verb: str, says: str) -> HttpResponse:
        """The page between choosing and doing."""
        chosen = list(rows)
        title = f"{verb} {chosen[0]}?" if len(chosen) == 1 else f"{verb} {len(chosen)} tenants?"
        context = {"rows": chosen, "action": action, "verb": verb, "says": says}
        return self.show(request, "admin/staff/confirm.html", title=title, **context)
