"""Narrowing a list to one tenant, by slug or id; `platform` is the chain of events that belong to none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from byok_portal.boundary.identifiers import PLATFORM, parse_id
from byok_portal.boundary.staff_lists import TextFilter
from tenants.models import Tenant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest


class TenantFilter(TextFilter):
    """For tables with a `tenant_id`."""

    title = "tenant"
    parameter_name = "tenant"
    hint = "Slug or id, or “platform”"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.text()
        return queryset.filter(tenant_id__in=_tenant_ids(text)) if text else queryset


class TenantNamed:
    """For rows that hold a tenant's id and no foreign key: names the tenants of a page in one query."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)  # type: ignore[misc]  # a mixin of ModelAdmin
        rows = list(changelist.result_list)
        slugs = slugs_of(row.tenant_id for row in rows)
        for row in rows:
            row.tenant_slug = slugs.get(row.tenant_id)
        changelist.result_list = rows
        return changelist

    @admin.display(description="tenant")
    def tenant_word(self, row: Any) -> str:
        slug = getattr(row, "tenant_slug", None) or slugs_of([row.tenant_id]).get(row.tenant_id)
        return slug or str(row.tenant_id)


def slugs_of(tenant_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Slugs by id, in one query: rows of the record and of jobs have no foreign key."""
    known = Tenant.objects.filter(id__in=set(tenant_ids)).values_list("id", "slug")
    return {PLATFORM: "platform", **dict(known)}


def _tenant_ids(text: str) -> list[UUID]:
    if text == "platform":
        return [PLATFORM]
    identifier = parse_id(text)
    return [identifier] if identifier else list(Tenant.objects.filter(slug=text).values_list("id", flat=True))
