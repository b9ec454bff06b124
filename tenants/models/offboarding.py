"""The end of a tenant, a project, a consumer or a member, as a run with steps."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from tenants.base import TenantModel, tenant_link
from tenants.states import SubjectKind


class Offboarding(TenantModel):
    """The end of one subject, as a run that survives crashes. The page and the API read its steps.

    `requested_at`: when somebody asked or the clock came to it; `created_at`: from then on its uses are refused.
    `planned_at`: when its steps were written; `plan`: what ended, counted as it was at the start. `certificate`: the
    newest one that its end was given.
    """

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"

    subject_kind = models.CharField(
        max_length=10,
        choices=[(kind.value, kind.value.capitalize()) for kind in SubjectKind],
        default=SubjectKind.TENANT,
    )
    subject_id = models.UUIDField()
    reason = models.CharField(max_length=30)
    note = models.CharField(max_length=500, blank=True)
    started_by_id = models.UUIDField()
    started_by_kind = models.CharField(max_length=10, default="staff")
    is_automatic = models.BooleanField(default=False, help_text="Started by the clock, as agreed before.")
    plan_digest = models.CharField(max_length=64, blank=True)
    plan = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    requested_at = models.DateTimeField(null=True, blank=True)
    planned_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    event_ids = ArrayField(models.UUIDField(), default=list, help_text="Of its start, its plan and its end.")
    certificate = tenant_link("audit.Document", null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "subject_kind", "subject_id"],
                condition=models.Q(state="running"),
                name="tenants_offboarding_one_running",
            )
        ]

    def __str__(self) -> str:
        return f"offboarding of a {self.subject_kind} ({self.state})"


class OffboardingStep(TenantModel):
    """One step with its own state, attempts and times. `calling` means: a provider may have been called already.

    A residual is what only people can do; `instruction` says how, and `settled` that somebody did.
    """

    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        RUNNING = "running", "Running"
        CALLING = "calling", "Calling the provider"
        DONE = "done", "Done"
        RESIDUAL = "residual", "Left to people"
        SETTLED = "settled", "Done by hand"

    offboarding = tenant_link("tenants.Offboarding")
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=30)
    subject_id = models.UUIDField()
    label = models.CharField(max_length=200)
    instruction = models.CharField(max_length=500, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)
    event_ids = ArrayField(models.UUIDField(), default=list)
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by_id = models.UUIDField(null=True, blank=True)
    settled_note = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "offboarding", "position"], name="tenants_step_position"),
            models.UniqueConstraint(
                fields=["tenant", "offboarding", "kind", "subject_id"], name="tenants_step_subject"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["tenant", "subject_id"],
                condition=models.Q(kind="flag_rotation"),
                name="tenants_step_flagged",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.position}: {self.label}"
