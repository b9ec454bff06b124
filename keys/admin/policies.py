"""Policies in the staff door: the platform's floor is set here; what tenants set is read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.staff import StaffAdmin
from keys import rulebook
from keys.models import PlatformPolicy, PolicyEdition
from keys.pages.policy_form import LABELS, PolicyForm, word_rules
from keys.policies import parse_policy
from keys.services import policies
from tenants.admin.filters import TenantFilter

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


class PlatformForm(PolicyForm):
    """The floor has nothing above it, and is set by one person at a time."""

    replaces = accept_suspensions = None  # type: ignore[assignment]  # Django's way to leave out inherited fields


class Worded:
    """Shows the rules of an edition in words."""

    @admin.display(description="rules")
    def rule_list(self, row: Any) -> str:
        words = word_rules(parse_policy(row.rules))
        return "; ".join(f"{LABELS[name]}: {says}" for name, says in words.items()) or "Says nothing"


@admin.register(PlatformPolicy)
class PlatformPolicyAdmin(Worded, StaffAdmin):
    """The floor of every tenant's policy. Setting one is recorded in the platform's own chain."""

    list_display = ("number", "starts_at", "rule_list", "note", "created_at")
    ordering = ("-number",)
    fields = readonly_fields = ("number", "starts_at", "rule_list", "set_by_id", "note", "created_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """A new edition, with what the newest one says filled in."""

        def perform(_values: dict[str, Any]) -> HttpResponse:
            row = self.run(request, PLATFORM, lambda actor: policies.set_platform(actor=actor, **form.values))
            return self.done(request, row, "Set.")

        newest = rulebook.newest_of(rulebook.edition_of(row) for row in PlatformPolicy.objects.all())
        form = PlatformForm(request.POST or None, policy=newest.policy if newest else None)
        says = (
            "It replaces the one before it, and calls off what was scheduled. From its start on it holds for every "
            "key of every tenant: a key that is older than it allows is overdue then."
        )
        return self.serve(
            request, form, title="Set the platform's policy", submit="Set policy", perform=perform, says=says
        )


@admin.register(PolicyEdition)
class PolicyEditionAdmin(Worded, StaffAdmin):
    """What tenants ask of their keys beyond the platform."""

    list_display = ("tenant", "key", "number", "starts_at", "rule_list", "created_at")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant", "key")
    ordering = ("-created_at", "-id")
    fields = readonly_fields = ("tenant", "key", "number", "starts_at", "rule_list", "set_by_id", "created_at")
