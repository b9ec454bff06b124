"""Telling the people and workloads of a key what has just happened to it, in the same commit. Declares no operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.services.recording import Target
from byok_portal.boundary.permissions import Role
from tenants.models import Membership
from tenants.services.notices import notify

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from keys.models import HandOver, Key


def tell_compromised(key: Key, consumers: Collection[UUID]) -> None:
    """Owners of the key and of the tenant, and the consumers that could use it."""
    notify(
        recipients=_answerable(key),
        kind="key.compromised",
        subject=Target("key", key.id),
        dedupe=f"compromised:{key.id}",
        facts={"key": key.name, "key_slug": key.slug},
        consumers=consumers,
    )


def tell_hand_over(key: Key, opened: HandOver) -> None:
    """Who answers for the key now, and the owners of the tenant."""
    notify(
        recipients=_answerable(key),
        kind="key.hand_over_opened",
        subject=Target("key", key.id),
        dedupe=f"hand-over:{opened.id}",
        facts={"key": key.name, "key_slug": key.slug, "day": opened.due_at.date().isoformat()},
    )


def _answerable(key: Key) -> set[UUID]:
    owners = Membership.objects.filter(role=Role.OWNER, is_active=True).values_list("user_id", flat=True)
    return {*owners, key.owner_id, *([key.backup_owner_id] if key.backup_owner_id else [])}
