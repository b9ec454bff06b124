"""Django app of tenants, people and consumers. Answers the boundary's questions about them."""

from __future__ import annotations

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Wires the app into the boundary when the registry is ready."""

    name = "tenants"

    def ready(self) -> None:
        from byok_portal.boundary import directory  # noqa: PLC0415  # the app registry must be ready
        from tenants import labels, tasks  # noqa: F401, PLC0415  # importing `tasks` registers the clock's calls
        from tenants.directory import TenantDirectory  # noqa: PLC0415

        directory.install(TenantDirectory())
        labels.install()
