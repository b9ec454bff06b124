"""Who may use a key, within which limits, and how often each one did in a minute."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from keys.models.words import choices_of, state_check
from keys.states import GrantState, RevocationReason
from tenants.base import TenantModel, tenant_link


class Grant(TenantModel):
    """A consumer's right on one key: some of its scopes, some deliveries, limits, an end."""

    key = tenant_link("keys.Key")
    consumer = tenant_link("tenants.Consumer")
    scopes = ArrayField(models.CharField(max_length=60))
    deliveries = ArrayField(models.CharField(max_length=10))
    networks = ArrayField(models.CharField(max_length=49), default=list)
    window = models.JSONField(null=True, blank=True, help_text="Days and minutes in UTC, or none.")
    rate_per_minute = models.PositiveIntegerField(null=True, blank=True)
    starts_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=choices_of(GrantState), default=GrantState.ACTIVE)
    reason = models.CharField(max_length=300)
    granted_by_id = models.UUIDField()
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=30, blank=True, choices=choices_of(RevocationReason))

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "key", "consumer"],
                condition=models.Q(state__in=["requested", "active"]),
                name="keys_grant_one_live",
            ),
            models.CheckConstraint(condition=models.Q(expires_at__gt=models.F("starts_at")), name="keys_grant_period"),
            state_check(GrantState, "keys_grant_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "consumer", "key"], name="keys_grant_consumer"),
            models.Index(fields=["-created_at", "-id"], name="keys_grant_newest"),
            models.Index(fields=["expires_at"], condition=models.Q(state="active"), name="keys_grant_expires"),
        ]

    def __str__(self) -> str:
        return f"{self.consumer_id} on {self.key_id} ({self.state})"


class RateWindow(TenantModel):
    """How many uses a grant had in one minute; counted in the database, so every process sees the same number."""

    grant = tenant_link("keys.Grant")
    minute = models.DateTimeField()
    uses = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "grant", "minute"], name="keys_rate_once")]

    def __str__(self) -> str:
        return f"{self.uses} in {self.minute:%H:%M}"
