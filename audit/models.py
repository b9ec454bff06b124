"""The record: an inbox that business transactions write, and the numbered log that only the sequencer writes.

Entries are never changed or removed; triggers and grants refuse it for every role, the owner included.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Outcome(models.TextChoices):
    """What came of an attempt."""

    ALLOWED = "allowed", "Allowed"
    DENIED = "denied", "Denied"
    FAILED = "failed", "Failed"


class InboxEvent(models.Model):
    """An event that was committed with its business change and waits for its number (at most about 100 ms)."""

    event_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    body = models.TextField(help_text="Canonical JSON (RFC 8785 profile of audit.canonical), at most 16 KiB.")

    class Meta:
        db_table = "audit_inbox"

    def __str__(self) -> str:
        return str(self.event_id)


class Entry(models.Model):
    """One numbered audit record. `leaf` is what counts; the other columns are read from it, for filters."""

    idx = models.BigIntegerField(primary_key=True, help_text="Position in the log of this installation, from 0.")
    tenant_id = models.UUIDField()
    tseq = models.BigIntegerField(help_text="Position in the tenant's own chain, from 1, without gaps.")
    event_id = models.UUIDField()
    leaf = models.TextField(help_text="The exact bytes that are hashed: SHA-256(00 || leaf).")
    action = models.CharField(max_length=60)
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.UUIDField()
    target_kind = models.CharField(max_length=20)
    target_id = models.UUIDField()
    occurred_at = models.DateTimeField()

    class Meta:
        db_table = "audit_entry"
        indexes: ClassVar = [
            models.Index(fields=["tenant_id", "target_id", "-tseq"], name="audit_entry_target"),
            models.Index(fields=["tenant_id", "actor_id", "-tseq"], name="audit_entry_actor"),
            models.Index(fields=["tenant_id", "action", "-tseq"], name="audit_entry_action"),
        ]

    def __str__(self) -> str:
        return f"{self.tseq}: {self.action} {self.outcome}"


class PrivateDetail(models.Model):
    """Personal data of one event (address, user agent, label). The leaf holds only its salted hash, so it can go."""

    event_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    salt = models.BinaryField(max_length=32)
    data = models.JSONField()

    class Meta:
        db_table = "audit_private"

    def __str__(self) -> str:
        return str(self.event_id)


class TenantHead(models.Model):
    """The last number and hash of one tenant's chain. A cache: verification re-derives it from the entries."""

    tenant_id = models.UUIDField(primary_key=True)
    tseq = models.BigIntegerField()
    idx = models.BigIntegerField()
    leaf_hash = models.BinaryField(max_length=32)

    class Meta:
        db_table = "audit_tenanthead"

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.tseq}"


class LogState(models.Model):
    """How many entries the log has, and the sequencer's last sign of life. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    size = models.BigIntegerField(default=0)
    waiting = models.BigIntegerField(default=0, help_text="Events that the sequencer refused; they stay in the inbox.")
    beat_at = models.DateTimeField()

    class Meta:
        db_table = "audit_logstate"

    def __str__(self) -> str:
        return f"{self.size} entries"
