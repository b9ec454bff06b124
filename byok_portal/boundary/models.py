"""What the doors keep for themselves: job records of the worker door, idempotency records of the API door."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from byok_portal.boundary.identifiers import new_id


class JobState(models.TextChoices):
    """Where a job is."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    DEAD = "dead", "Dead letter"


class Job(models.Model):
    """One piece of background work. django-q2 only wakes it; this row is the record.

    Attempts are counted before the work starts, so a job that kills its worker ends as a dead letter.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant_id = models.UUIDField()
    kind = models.CharField(max_length=60)
    subject_id = models.UUIDField(help_text="The row that the job works on. Jobs carry ids, never content.")
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=12)
    run_after = models.DateTimeField()
    lease_until = models.DateTimeField(null=True, blank=True)
    done_steps = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=300, blank=True, help_text="Error type and code, never its text.")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant_id", "kind", "subject_id"],
                condition=models.Q(state__in=["queued", "running"]),
                name="boundary_job_one_live_per_subject",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant_id", "-created_at"], name="boundary_job_tenant_recent"),
            models.Index(fields=["-created_at", "-id"], name="boundary_job_newest"),
            models.Index(fields=["run_after"], condition=models.Q(state="queued"), name="boundary_job_due"),
            models.Index(fields=["lease_until"], condition=models.Q(state="running"), name="boundary_job_lease"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} ({self.state})"


class IdempotencyRecord(models.Model):
    """The answer to a write that carried an `Idempotency-Key`. Answers that show a secret once are not stored."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant_id = models.UUIDField()
    caller_id = models.UUIDField()
    idempotency_key = models.CharField(max_length=200)
    request_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    audit_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant_id", "caller_id", "idempotency_key"], name="boundary_idempotency_once"
            )
        ]

    def __str__(self) -> str:
        return self.idempotency_key


class Revision(models.Model):
    """One of the last changes to what a tenant's uses are decided on; written by triggers only (`revisions`)."""

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.UUIDField()
    """`PLATFORM` for what all tenants share."""
    id = models.UUIDField()
    changed_by = models.BigIntegerField(help_text="The transaction; one notes itself once.")
    changed_at = models.DateTimeField(help_text="When it began.")

    class Meta:
        db_table = "boundary_revision"

    def __str__(self) -> str:
        return str(self.id)


class Pulse(models.Model):
    """The last sign of life of the worker cluster; the watchdog restarts a cluster without one."""

    name = models.CharField(primary_key=True, max_length=40)
    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.beat_at:%H:%M:%S}"
