"""The end of a tenant as a run with steps."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from tenants.base import TenantModel, tenant_link


class Offboarding(TenantModel):
    """The end of a tenant, as a run that survives crashes. The page and the API read its steps."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"

    reason = models.CharField(max_length=30)
    note = models.CharField(max_length=500, blank=True)
    started_by_id = models.UUIDField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant"], name="tenants_offboarding_once")]

    def __str__(self) -> str:
        return f"offboarding ({self.state})"


class OffboardingStep(TenantModel):
    """One step with its own state, attempts and times. `calling` means: a provider may have been called already."""

    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        RUNNING = "running", "Running"
        CALLING = "calling", "Calling the provider"
        DONE = "done", "Done"
        RESIDUAL = "residual", "Not possible upstream"

    offboarding = tenant_link("tenants.Offboarding")
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=30)
    subject_id = models.UUIDField()
    label = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "offboarding", "position"], name="tenants_step_position")
        ]

    def __str__(self) -> str:
        return f"{self.position}: {self.label}"
