"""People and where they belong, read-only: staff are made by `createsuperuser`, members by invitation."""

from __future__ import annotations

from django.contrib import admin

from byok_portal.boundary.staff import StaffAdmin, StaffInline
from tenants.models import Membership, User


class MembershipInline(StaffInline):
    """A person's tenants."""

    model = Membership
    fields = readonly_fields = ("tenant", "role", "is_active", "created_at")
    verbose_name_plural = "memberships"


@admin.register(User)
class UserAdmin(StaffAdmin):
    """Never shows or takes a password."""

    list_display = ("email", "name", "is_staff", "is_active", "date_joined")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    ordering = ("email",)
    fields = readonly_fields = ("email", "name", "is_staff", "is_active", "date_joined", "last_login")
    inlines = (MembershipInline,)
