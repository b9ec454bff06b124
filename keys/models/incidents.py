"""Exposed keys: one incident each, from the suspicion to its closure, and the tasks that answer it."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from keys.models.identity import Exposure
from keys.models.words import choices_of, state_check
from keys.states import IncidentState, RevocationReason, TaskKind, TaskState
from tenants.base import TenantModel, tenant_link

OPEN_STATES = (IncidentState.NEW, IncidentState.IN_PROGRESS, IncidentState.ON_HOLD)
_EXPOSURES = [Exposure.SUSPECTED, Exposure.CONFIRMED]
EXPOSURES = [(each.value, each.label) for each in _EXPOSURES]


class Incident(TenantModel):
    """A key whose material strangers may know. At most one is at work per key; notes are in the log's private side."""

    key = tenant_link("keys.Key", related_name="incidents")
    versions = ArrayField(models.PositiveIntegerField(), help_text="Numbers of the versions that are exposed.")
    exposure = models.CharField(max_length=10, choices=EXPOSURES)
    reason = models.CharField(max_length=30, choices=choices_of(RevocationReason))
    state = models.CharField(max_length=12, choices=choices_of(IncidentState), default=IncidentState.NEW)
    is_false_alarm = models.BooleanField(default=False)
    was_active = models.BooleanField(default=False, help_text="Whether a false alarm makes the key active again.")
    suspected_since = models.DateTimeField(help_text="Uses from then on are looked at.")
    summary = models.CharField(max_length=500, blank=True)
    opened_by_kind = models.CharField(max_length=10)
    opened_by_id = models.UUIDField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "key"],
                condition=models.Q(state__in=[state.value for state in OPEN_STATES]),
                name="keys_incident_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(exposure__in=[each.value for each in _EXPOSURES]), name="keys_incident_exposure"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="closed") | models.Q(closed_at__isnull=False), name="keys_incident_closed"
            ),
            # What was confirmed is never taken back.
            models.CheckConstraint(
                condition=models.Q(is_false_alarm=False) | models.Q(state="closed", exposure="suspected"),
                name="keys_incident_false_alarm",
            ),
            state_check(IncidentState, "keys_incident_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="keys_incident_recent"),
            models.Index(fields=["tenant", "key"], name="keys_incident_key"),
        ]

    def __str__(self) -> str:
        return f"{self.exposure} exposure of {self.key_id} ({self.state})"

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to work on it."""
        return self.state in OPEN_STATES

    @property
    def ordered_tasks(self) -> list[IncidentTask]:
        """Its tasks, the most urgent first."""
        return sorted(self.tasks.all(), key=lambda task: task.position)


class IncidentTask(TenantModel):
    """One thing to do about an incident. `subject_id`: the version, consumer or key that it is about, if any."""

    incident = tenant_link("keys.Incident", related_name="tasks")
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=choices_of(TaskKind))
    subject_id = models.UUIDField(null=True, blank=True)
    label = models.CharField(max_length=120, blank=True, help_text="What the subject was called when it was made.")
    state = models.CharField(max_length=12, choices=choices_of(TaskState), default=TaskState.OPEN)
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by_kind = models.CharField(max_length=10, blank=True)
    settled_by_id = models.UUIDField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "incident", "kind", "subject_id"],
                nulls_distinct=False,
                name="keys_incidenttask_once",
            ),
            models.CheckConstraint(
                condition=models.Q(state="open") | models.Q(settled_at__isnull=False), name="keys_incidenttask_settled"
            ),
            state_check(TaskState, "keys_incidenttask_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "incident", "position"], name="keys_incidenttask_order"),
            # What a worker asks for when a provider has confirmed a death.
            models.Index(
                fields=["tenant", "subject_id"], condition=models.Q(state="open"), name="keys_incidenttask_subject"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.label} ({self.state})"
