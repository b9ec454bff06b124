"""Sends the portal's models to the alias of the current door; everything else stays on `default`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byok_portal.boundary import binding

if TYPE_CHECKING:
    from django.db.models import Model

PORTAL_APPS = frozenset({"tenants", "keys", "audit", "boundary"})


class DoorRouter:
    """Staff pages read as `byok_staff`, which has no grant on ciphertext."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return binding.get_alias() if model._meta.app_label in PORTAL_APPS else None  # noqa: SLF001  # Django's documented API

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        """What is read from the replica is never written there; the primary then refuses it, as no tenant is bound."""
        alias = self.db_for_read(model, **hints)
        return binding.DEFAULT if alias == binding.REPLICA else alias

    def allow_relation(self, *_objects: Model, **_hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, *_args: Any, **_hints: Any) -> bool:
        return db in {"owner", "default"}
