"""Attempts to have a provider make the successor of a key's current version."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from keys.models.words import state_check
from keys.states import SuccessionState
from tenants.base import TenantModel, tenant_link

OPEN = (SuccessionState.ASKED, SuccessionState.MADE)


class Succession(TenantModel):
    """One attempt, written before the provider is asked. Open past `lapses_at`, it counts as dead with its process."""

    key = tenant_link("keys.Key")
    base = models.PositiveIntegerField(help_text="The version that asks for its successor.")
    version = tenant_link("keys.KeyVersion", null=True)
    state = models.CharField(max_length=10, default=SuccessionState.ASKED)
    lapses_at = models.DateTimeField()
    born_seconds = models.PositiveBigIntegerField(
        default=0, help_text="How long a successor lives at first where its provider decides that."
    )
    closed_at = models.DateTimeField(null=True, blank=True)
    code = models.CharField(max_length=60, blank=True, help_text="Why it was given up.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "key"],
                condition=models.Q(state__in=["asked", "made"]),
                name="keys_succession_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["asked", "given_up"]) | models.Q(version__isnull=False),
                name="keys_succession_made",
            ),
            state_check(SuccessionState, "keys_succession_state"),
        ]

    @property
    def lost_seconds(self) -> int:
        """How long a successor lives at most that was made and not stored."""
        return max(self.born_seconds, settings.SUCCESSOR_SECONDS)

    def __str__(self) -> str:
        return f"successor of version {self.base} ({self.state})"
