"""Asking the people who answer for keys to confirm them: campaigns, one item per key, and what was confirmed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from keys.models.words import choices_of, state_check
from keys.policies import Overdue
from keys.states import CampaignState, ItemState
from tenants.base import TenantModel, tenant_link


class Campaign(TenantModel):
    """One round of questions. `by_policy`: the clock started it, and the policies say what follows without one."""

    name = models.CharField(max_length=120)
    selection = models.CharField(max_length=12, help_text="Which keys: all, environment, provider, risk or policy.")
    value = models.CharField(max_length=60, blank=True, help_text="The environment or the provider's slug.")
    due_on = models.DateField(help_text="The last day to answer.")
    consequence = models.CharField(max_length=12, choices=choices_of(Overdue), default=Overdue.NOTIFY)
    by_policy = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=choices_of(CampaignState), default=CampaignState.OPEN)
    started_by_id = models.UUIDField()
    ended_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [state_check(CampaignState, "keys_campaign_state")]
        indexes: ClassVar = [models.Index(fields=["tenant", "-created_at", "-id"], name="keys_campaign_recent")]

    def __str__(self) -> str:
        return self.name


class CampaignItem(TenantModel):
    """One key in one campaign. Whoever answers for the key now is asked, so a hand-over takes the question along."""

    campaign = tenant_link("keys.Campaign", related_name="items")
    key = tenant_link("keys.Key")
    state = models.CharField(max_length=14, choices=choices_of(ItemState), default=ItemState.WAITING)
    due_on = models.DateField()
    due_at = models.DateTimeField(help_text="From when its campaign's consequence holds without an answer.")
    answered_by_id = models.UUIDField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "campaign", "key"], name="keys_campaignitem_once"),
            models.CheckConstraint(
                condition=models.Q(state="waiting") | models.Q(answered_at__isnull=False),
                name="keys_campaignitem_answered",
            ),
            state_check(ItemState, "keys_campaignitem_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "key", "state"], name="keys_campaignitem_key"),
            models.Index(fields=["due_on"], condition=~models.Q(state="confirmed"), name="keys_campaignitem_due"),
        ]

    def __str__(self) -> str:
        return f"{self.key_id} ({self.state})"


class Confirmation(TenantModel):
    """An owner's word for a key, and what it was given for. Never changed; the next one counts from it."""

    key = tenant_link("keys.Key")
    confirmed_by_id = models.UUIDField()
    digest = models.CharField(max_length=64, help_text="Of `facts`: equal means that nothing has changed.")
    facts = models.JSONField(help_text="Purpose, scopes and who may use the key, as the owner saw them.")

    class Meta:
        indexes: ClassVar = [models.Index(fields=["tenant", "key", "-created_at"], name="keys_confirmation_key")]

    def __str__(self) -> str:
        return f"{self.key_id} on {self.created_at:%Y-%m-%d}"
