"""The staff door: Django admin that reads as `byok_staff` and writes only through operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.urls import reverse

from byok_portal.boundary import actors, binding, operations
from byok_portal.boundary.requests import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from byok_portal.boundary.actors import Actor


class StaffSite(admin.AdminSite):
    """One sign-in for the whole portal: allauth's, with its rate limits."""

    site_header = "BYOK Portal staff"
    site_title = "BYOK Portal staff"
    index_title = "Tenants, providers, record"
    enable_nav_sidebar = True

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002
        target = request.GET.get("next") or reverse("admin:index")
        return redirect_to_login(target)


class StaffAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Read-only unless a subclass opens add or change, and then only through `run`."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_staff(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return _is_staff(request)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def run(self, request: HttpRequest, tenant_id: UUID, call: Callable[[Actor], Any]) -> Any:
        """Bind the tenant, leave the read-only login, and call one operation as this staff member."""
        actor = actors.staff(request.user.pk, label=str(request.user), origin=origin_of(request))
        with binding.use_alias(binding.DEFAULT), binding.bind_tenant(tenant_id), operations.receipts():
            return call(actor)


def _is_staff(request: HttpRequest) -> bool:
    return bool(request.user.is_active and getattr(request.user, "is_staff", False))
