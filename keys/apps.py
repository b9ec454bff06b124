"""Django app of keys. Syncs the provider catalogue after each migrate."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class KeysConfig(AppConfig):
    name = "keys"

    def ready(self) -> None:
        from keys import tasks  # noqa: F401, PLC0415  # registers the jobs
        from keys.services.catalogue import sync_catalogue  # noqa: PLC0415  # the app registry must be ready

        post_migrate.connect(sync_catalogue, sender=self, dispatch_uid="keys.catalogue")
