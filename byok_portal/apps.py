"""Django apps of the composition: commands, and the staff site at /staff/."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class PortalConfig(AppConfig):
    name = "byok_portal"
    label = "byok_portal"


class StaffSiteConfig(AdminConfig):
    default_site = "byok_portal.boundary.staff.StaffSite"
