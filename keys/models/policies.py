"""The policies that were ever set, each numbered and dated. A row is never changed: a new one follows it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from byok_portal.boundary.identifiers import new_id
from tenants.base import TenantModel, tenant_link


class PlatformPolicy(models.Model):
    """What holds for every tenant: the floor that a tenant may be stricter than, never laxer. Set by staff."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    number = models.PositiveIntegerField(unique=True)
    rules = models.JSONField(help_text="Only what it speaks about; see keys.policies.Policy.")
    starts_at = models.DateTimeField()
    set_by_id = models.UUIDField()
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "platform policies"

    def __str__(self) -> str:
        return f"platform policy {self.number}"


class PolicyEdition(TenantModel):
    """One edition of a tenant's policy, or of one key's when `key` is given."""

    key = tenant_link("keys.Key", null=True)
    number = models.PositiveIntegerField()
    rules = models.JSONField(help_text="Only what it speaks about; see keys.policies.Policy.")
    starts_at = models.DateTimeField()
    set_by_id = models.UUIDField()
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        db_table = "keys_policy"
        verbose_name = "policy"
        verbose_name_plural = "policies"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "key", "number"], name="keys_policy_number", nulls_distinct=False)
        ]

    def __str__(self) -> str:
        return f"policy {self.number}"


class AppliedPolicy(TenantModel):
    """The newest platform policy that the clocks of a tenant's keys are set by."""

    number = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant"], name="keys_applied_once")]

    def __str__(self) -> str:
        return f"platform policy {self.number} applied"
