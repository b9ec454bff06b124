"""The staff door's record with tenants by name: the audit app itself knows no other app."""

from __future__ import annotations

from django.contrib import admin

from audit.admin import EntryAdmin
from audit.models import Entry
from tenants.admin.filters import TenantFilter, TenantNamed

admin.site.unregister(Entry)


@admin.register(Entry)
class TenantEntryAdmin(TenantNamed, EntryAdmin):
    """Entries with their tenant's slug."""

    list_filter = (TenantFilter, *EntryAdmin.list_filter)
