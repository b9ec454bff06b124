"""Rehearsals on canary keys with what was measured, and the days on which they are due."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from keys.models.words import choices_of, state_check
from keys.states import DrillKind, DrillState
from tenants.base import TenantModel, tenant_link

EVERY = [("monthly", "Every month"), ("quarterly", "Every quarter")]


class DrillSchedule(TenantModel):
    """How often a tenant rehearses one thing; `next_on` is the first day that has not been served."""

    kind = models.CharField(max_length=12, choices=choices_of(DrillKind))
    every = models.CharField(max_length=10, choices=EVERY)
    next_on = models.DateField()
    is_active = models.BooleanField(default=True)
    set_by_id = models.UUIDField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "kind"], name="keys_drillschedule_once"),
            models.CheckConstraint(
                condition=models.Q(every__in=[word for word, _ in EVERY]), name="keys_drillschedule_every"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_on"], condition=models.Q(is_active=True), name="keys_drillschedule_due")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.every}"


class Drill(TenantModel):
    """One rehearsal. `results`: per process the uses before and after, and the milliseconds until one was refused."""

    key = tenant_link("keys.Key", null=True)
    consumer = tenant_link("tenants.Consumer", null=True)
    kind = models.CharField(max_length=12, choices=choices_of(DrillKind))
    state = models.CharField(max_length=12, choices=choices_of(DrillState), default=DrillState.PLANNED)
    schedule = tenant_link("keys.DrillSchedule", null=True)
    due_on = models.DateField(null=True, blank=True, help_text="The day of its schedule that it serves.")
    target_ms = models.PositiveIntegerField(help_text="How soon every process must refuse.")
    started_by_id = models.UUIDField()
    begun_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When the end was answered.")
    finished_at = models.DateTimeField(null=True, blank=True)
    upstream_ms = models.PositiveIntegerField(null=True, blank=True, help_text="Until the provider confirmed the end.")
    code = models.CharField(max_length=60, blank=True, help_text="Why it failed; empty when it passed.")
    results = models.JSONField(default=list)
    entries = models.JSONField(default=list, help_text="Audit entries of its steps: [action, id].")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "schedule", "due_on"], name="keys_drill_once_per_day"),
            state_check(DrillState, "keys_drill_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="keys_drill_recent"),
            models.Index(
                fields=["tenant", "key"], condition=models.Q(finished_at__isnull=True), name="keys_drill_running"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} drill ({self.state})"
