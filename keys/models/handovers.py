"""Keys that somebody who left was answerable for, until a successor is named."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from keys.models.words import state_check
from keys.states import HandOverState
from tenants.base import TenantModel, tenant_link


class HandOver(TenantModel):
    """One key of one person who left. Open until the key has two owners again; then the clock does not suspend it."""

    key = tenant_link("keys.Key", related_name="hand_overs")
    leaver = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_constraint=False, related_name="+"
    )
    state = models.CharField(max_length=10, default=HandOverState.OPEN)
    due_at = models.DateTimeField(help_text="When the key is suspended if it has no second owner by then.")
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "key", "leaver"], condition=models.Q(state="open"), name="keys_handover_one_open"
            ),
            state_check(HandOverState, "keys_handover_state"),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "key", "state"], name="keys_handover_key")]

    def __str__(self) -> str:
        return f"{self.key_id} from {self.leaver_id} ({self.state})"
