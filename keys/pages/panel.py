"""What the tenants app's pages show of keys: installed there, because tenants may not import keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from keys.models import Grant, KeyVersion
from keys.pages.presentation import grant_state, word_deliveries, word_scopes
from keys.states import GrantState, KeyState
from tenants.pages.panel import Residue

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID


class Panel:
    """Answers `tenants.pages.panel.KeyPanel`."""

    def count_grants(self, consumer_ids: Collection[UUID]) -> dict[UUID, int]:
        """Live grants per consumer."""
        live = Grant.objects.filter(
            consumer_id__in=consumer_ids, state=GrantState.ACTIVE, expires_at__gt=timezone.now()
        )
        return {row["consumer_id"]: row["n"] for row in live.values("consumer_id").annotate(n=Count("id"))}

    def list_grants(self, consumer_id: UUID, *, slug: str, may_end: bool) -> list[dict[str, Any]]:
        """Rows of tenants/consumer.html, live ones first."""
        grants = Grant.objects.filter(consumer_id=consumer_id).select_related("key")
        return [_row(grant, slug=slug, may_end=may_end) for grant in grants.order_by("state", "-created_at")[:100]]

    def find_call(self, consumer_id: UUID) -> tuple[str, str] | None:
        """Key slug and scope of a use that a grant allows now."""
        live = Grant.objects.filter(consumer_id=consumer_id, state=GrantState.ACTIVE, expires_at__gt=timezone.now())
        grant = live.filter(key__state=KeyState.ACTIVE).select_related("key").order_by("-created_at").first()
        return (grant.key.slug, grant.scopes[0]) if grant else None

    def find_residues(self, version_ids: Collection[UUID], *, slug: str) -> dict[UUID, Residue]:
        """The keys of these versions."""
        versions = KeyVersion.objects.filter(id__in=version_ids).select_related("key__provider")
        return {
            version.id: Residue(
                f"{version.key.name} ({version.number})",
                version.key.provider.name,
                reverse("keys:detail", args=[slug, version.key.slug]),
            )
            for version in versions
        }


def _row(grant: Grant, *, slug: str, may_end: bool) -> dict[str, Any]:
    status, label = grant_state(grant)
    can_end = may_end and grant.state == GrantState.ACTIVE
    return {
        "key": grant.key.name,
        "url": reverse("keys:detail", args=[slug, grant.key.slug]),
        "scopes_label": word_scopes(grant.scopes),
        "delivery": word_deliveries(grant.deliveries),
        "status": status,
        "status_label": label,
        "expires_at": grant.expires_at,
        "end_url": reverse("keys:grant-end", args=[slug, grant.key.slug, grant.id]) if can_end else "",
    }
