"""Keys, grants and proofs of every tenant, read-only: no material, no fingerprint. Staff never act on a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from byok_portal.boundary.staff import StaffAdmin, StaffInline
from byok_portal.boundary.staff_lists import NEWEST, LongList
from keys.models import Grant, Key, KeyVersion, Proof
from tenants.admin.filters import TenantFilter

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class VersionInline(StaffInline):
    """Versions with their states; fingerprints are not even read."""

    model = KeyVersion
    fields = readonly_fields = (
        *("state", "expires_at", "activated_at", "drain_until", "ended_at", "end_reason"),
        *("exposure", "upstream_status", "upstream_checked_at", "upstream_note"),
    )
    verbose_name_plural = "versions"
    ordering = ("-number",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("fingerprint", "global_fingerprint", "revoke_evidence")


@admin.register(Key)
class KeyAdmin(LongList, StaffAdmin):
    """What a key is, who answers for it and which state it is in."""

    list_display = ("name", "tenant", "provider", "environment", "custody", "state", "owner", "ends_on")
    list_filter = (TenantFilter, "state", "environment", "custody", "provider")
    ordering = NEWEST
    list_select_related = ("tenant", "provider", "owner")
    search_fields = ("name", "slug", "account_label")
    fields = readonly_fields = (
        *("tenant", "name", "slug", "provider", "endpoint", "environment", "custody", "purpose"),
        *("owner", "backup_owner", "ends_on", "scope_list", "justification", "state"),
        *("account_id", "account_label", "created_at", "ended_at"),
    )
    inlines = (VersionInline,)

    @admin.display(description="scopes")
    def scope_list(self, key: Key) -> str:
        return ", ".join(key.scopes)


@admin.register(Grant)
class GrantAdmin(LongList, StaffAdmin):
    """Which consumer may do what with which key."""

    list_display = ("key", "consumer", "tenant", "scope_list", "delivery_list", "state", "expires_at")
    list_filter = (TenantFilter, "state", "end_reason")
    ordering = NEWEST
    list_select_related = ("tenant", "key", "consumer")
    search_fields = ("key__name", "key__slug", "consumer__name", "consumer__slug")
    fields = readonly_fields = (
        *(
            "tenant",
            "key",
            "consumer",
            "scope_list",
            "delivery_list",
            "network_list",
            "window",
            "rate_per_minute",
        ),
        *("starts_at", "expires_at", "state", "reason", "created_at", "ended_at", "end_reason"),
    )

    @admin.display(description="scopes")
    def scope_list(self, grant: Grant) -> str:
        return ", ".join(grant.scopes)

    @admin.display(description="deliveries")
    def delivery_list(self, grant: Grant) -> str:
        return ", ".join(grant.deliveries)

    @admin.display(description="networks")
    def network_list(self, grant: Grant) -> str:
        return ", ".join(grant.networks) or "Any"


@admin.register(Proof)
class ProofAdmin(LongList, StaffAdmin):
    """When control of a key was proven and what the credential can do beyond what was chosen."""

    list_display = ("key", "tenant", "method", "account_label", "excess_count", "created_at", "expires_at")
    list_filter = (TenantFilter, "method")
    ordering = NEWEST
    list_select_related = ("tenant", "key")
    fields = readonly_fields = (
        *("tenant", "key", "version", "challenge", "method", "account_id", "account_label"),
        *("effective_scopes", "missing", "excess", "created_at", "expires_at"),
    )

    @admin.display(description="excess rights")
    def excess_count(self, proof: Proof) -> int:
        return len(proof.excess)
