"""The list of tenants with what only this app knows: how many keys each has, and the way to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.urls import reverse

from keys import selectors
from keys.models import Key
from tenants.admin.tenants import ENDING, TenantAdmin, count_of
from tenants.models import Offboarding, Tenant

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

admin.site.unregister(Tenant)


@admin.register(Tenant)
class TenantWithKeysAdmin(TenantAdmin):
    """Tenants with their keys and offboarding."""

    list_display = (*TenantAdmin.list_display, "key_count")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        live = Key.objects.exclude(state__in=selectors.ENDED_KEYS)
        return super().get_queryset(request).annotate(live_keys=count_of(live))

    @admin.display(description="live keys")
    def key_count(self, tenant: Any) -> int:
        return int(tenant.live_keys)

    def list_tools(self, tenant: Tenant) -> list[dict[str, Any]]:
        tools = [*super().list_tools(tenant), {"label": "Keys", "url": _keys_of(tenant)}]
        if tenant.state not in ENDING:
            url = f"{reverse('admin:tenants_offboarding_add')}?tenant={tenant.id}"
            return [*tools, {"label": "Start offboarding", "url": url, "danger": True}]
        run = Offboarding.objects.filter(tenant_id=tenant.id).first()
        if run is not None:
            tools.append({"label": "Offboarding", "url": reverse("admin:tenants_offboarding_change", args=[run.id])})
        return tools


def _keys_of(tenant: Tenant) -> str:
    return f"{reverse('admin:keys_key_changelist')}?tenant={tenant.id}"
