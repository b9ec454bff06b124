"""Django app of keys. Syncs the provider catalogue after each migrate."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class KeysConfig(AppConfig):
    """Wires the app into the boundary when the registry is ready."""

    name = "keys"

    def ready(self) -> None:
        from audit import sealing  # noqa: PLC0415  # the app registry must be ready
        from keys import canaries, labels, notices, recertification  # noqa: PLC0415
        from keys import tasks as _jobs  # noqa: F401, PLC0415  # importing it registers the jobs
        from keys.pages.panel import Panel  # noqa: PLC0415
        from keys.services import announcing, clocks, ownership  # noqa: PLC0415
        from keys.services.audit_seal import AuditSealer  # noqa: PLC0415
        from keys.services.catalogue import sync_catalogue  # noqa: PLC0415  # the app registry must be ready
        from keys.states import ClockReason  # noqa: PLC0415
        from tenants.pages import panel  # noqa: PLC0415

        sealing.install(AuditSealer())
        labels.install()
        notices.install()
        clocks.install(ClockReason.NO_OWNER, ownership.find_due)
        clocks.install(ClockReason.NOT_RECERTIFIED, recertification.find_due)
        canaries.on_use(announcing.tell_canary_used)
        panel.install(Panel())
        post_migrate.connect(sync_catalogue, sender=self, dispatch_uid="keys.catalogue")
