"""Django app of the record. Knows no other app; installs itself as the boundary's recorder of denials."""

from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Wires the app into the boundary when the registry is ready."""

    name = "audit"

    def ready(self) -> None:
        from audit.services import recording  # noqa: PLC0415  # the app registry must be ready
        from byok_portal.boundary import operations  # noqa: PLC0415

        operations.install_recorder(recording.append_denial)
