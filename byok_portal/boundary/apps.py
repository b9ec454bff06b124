"""Django app of the boundary: its models, and the grants that follow each migrate."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class BoundaryConfig(AppConfig):
    """Wires the app into the boundary when the registry is ready."""

    name = "byok_portal.boundary"
    label = "boundary"
    verbose_name = "Background work"

    def ready(self) -> None:
        from byok_portal.boundary.grants import apply_grants  # noqa: PLC0415  # the app registry must be ready

        post_migrate.connect(apply_grants, dispatch_uid="boundary.grants")
