"""The staff door's record with tenants by name: the audit app itself knows no other app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from audit.admin import EntryAdmin
from audit.models import Entry
from tenants.admin.filters import TenantFilter, slugs_of

if TYPE_CHECKING:
    from django.http import HttpRequest

admin.site.unregister(Entry)


@admin.register(Entry)
class TenantEntryAdmin(EntryAdmin):
    """Entries with their tenant's slug."""

    list_filter = (TenantFilter, *EntryAdmin.list_filter)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        slugs = slugs_of(row.tenant_id for row in rows)
        for row in rows:
            row.tenant_slug = slugs.get(row.tenant_id)
        changelist.result_list = rows
        return changelist

    @admin.display(description="tenant")
    def tenant_word(self, entry: Any) -> str:
        slug = getattr(entry, "tenant_slug", None) or slugs_of([entry.tenant_id]).get(entry.tenant_id)
        return slug or str(entry.tenant_id)
