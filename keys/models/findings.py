"""Findings that somebody has accepted for a while."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from keys.findings import Kind
from keys.models.words import choices_of
from tenants.base import TenantModel, tenant_link


class Acceptance(TenantModel):
    """A finding that is left as it is until a date, with a reason. A later row of the same finding replaces it."""

    key = tenant_link("keys.Key")
    kind = models.CharField(max_length=30, choices=choices_of(Kind))
    reason = models.CharField(max_length=500)
    expires_at = models.DateTimeField()
    accepted_by_id = models.UUIDField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["tenant", "key", "kind"], name="keys_acceptance_key")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.key_id}"
