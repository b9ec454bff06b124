"""Django apps of the composition: commands, and the staff site at /staff/."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class PortalConfig(AppConfig):
    """Commands of the composition."""

    name = "byok_portal"
    label = "byok_portal"


class StaffSiteConfig(AdminConfig):
    """Django admin with the portal's own site."""

    default_site = "byok_portal.boundary.staff.StaffSite"
