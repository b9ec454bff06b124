"""The log itself: inbox, entries, heads, tiles, checkpoints and what is sealed beside the entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db import models

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


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
    """One numbered audit record, in partitions by `idx`. Everything that it says is in `leaf`, and only there.

    A filter column would be a second truth, and an index on it costs a third of the row: searches go through
    `SearchBlock` instead.
    """

    idx = models.BigIntegerField(primary_key=True, help_text="Position in the log of this installation, from 0.")
    tenant_id = models.UUIDField()
    tseq = models.BigIntegerField(help_text="Position in the tenant's own chain, from 1, without gaps.")
    event_id = models.UUIDField()
    leaf = models.TextField(help_text="The exact bytes that are hashed: SHA-256(00 || leaf).")

    class Meta:
        db_table = "audit_entry"
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.tseq}: {self.action} {self.outcome}"

    @cached_property
    def body(self) -> dict[str, Any]:
        """The recorded event, parsed from the leaf."""
        return dict(json.loads(self.leaf)["body"])

    @property
    def detail(self) -> dict[str, Any]:
        """What the action recorded beside its target."""
        return dict(self.body["detail"])

    @property
    def action(self) -> str:
        return str(self.body["action"])

    @property
    def outcome(self) -> str:
        return str(self.body["outcome"])

    @property
    def actor_kind(self) -> str:
        return str(self.body["actor"]["kind"])

    @property
    def actor_id(self) -> UUID:
        return UUID(self.body["actor"]["id"])

    @property
    def target_kind(self) -> str:
        return str(self.body["target"]["kind"])

    @property
    def target_id(self) -> UUID:
        return UUID(self.body["target"]["id"])

    @property
    def occurred_at(self) -> datetime:
        """When it says that it happened, in UTC. A moment beyond the calendar must not keep a page from opening."""
        moment = datetime.fromisoformat(self.body["time"])
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            return _FIRST if moment.year == 1 else _LAST


class DataKey(models.Model):
    """A tenant's audit data key, wrapped: what personal data beside its entries is sealed under.

    Not in the custody table of `keys`: the platform's own chain has one too, and staff must be able to seal.
    """

    tenant_id = models.UUIDField(primary_key=True)
    version = models.PositiveIntegerField()
    wrapper = models.CharField(max_length=20)
    kek_ref = models.CharField(max_length=200, blank=True)
    wrapped = models.BinaryField(null=True, help_text="None once shredded.")
    kcv = models.BinaryField(max_length=32, help_text="Key commitment: HMAC-SHA256 over a fixed label.")
    created_at = models.DateTimeField(auto_now_add=True)
    shredded_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "audit_datakey"

    def __str__(self) -> str:
        return f"{self.tenant_id} version {self.version}"


class PrivateDetail(models.Model):
    """Personal data of one event (address, user agent, label), sealed with its salt. The leaf holds only the hash."""

    event_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    sealed = models.BinaryField(help_text="01, u32 data key version, 12-byte nonce, ciphertext of salt and data, tag.")

    class Meta:
        db_table = "audit_private"

    def __str__(self) -> str:
        return str(self.event_id)


class _Place(models.Model):
    """One entry of a tenant's chain, by number, position and hash."""

    tenant_id = models.UUIDField(primary_key=True)
    tseq = models.BigIntegerField()
    idx = models.BigIntegerField()
    leaf_hash = models.BinaryField(max_length=32)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.tseq}"


class TenantHead(_Place):
    """The last number and hash of one tenant's chain. A cache: verification re-derives it from the entries."""

    class Meta:
        db_table = "audit_tenanthead"


class PrunedHead(_Place):
    """The last entry of a tenant that retention removed: enough to show that its chain goes on from there."""

    class Meta:
        db_table = "audit_prunedhead"


class Tile(models.Model):
    """256 consecutive hashes of one level of the tree (C2SP tlog-tiles): 8,192 bytes, written once."""

    pk = models.CompositePrimaryKey("level", "n")
    level = models.PositiveSmallIntegerField()
    n = models.BigIntegerField()
    hashes = models.BinaryField(max_length=8192)

    class Meta:
        db_table = "audit_tile"

    def __str__(self) -> str:
        return f"tile/{self.level}/{self.n}"


class Edge(models.Model):
    """The hashes of a level that do not fill a tile yet. A cache, checked against the last signed root."""

    level = models.PositiveSmallIntegerField(primary_key=True)
    hashes = models.BinaryField(max_length=8192)

    class Meta:
        db_table = "audit_edge"

    def __str__(self) -> str:
        return f"level {self.level}"


class Checkpoint(models.Model):
    """A published checkpoint, signed and cosigned. A log that was opened anew has another origin, and keeps the old."""

    pk = models.CompositePrimaryKey("origin", "size")
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    origin = models.CharField(max_length=200)
    note = models.TextField(help_text="The whole signed note with every signature line (C2SP tlog-checkpoint).")
    signed_at = models.DateTimeField()
    witnessed_at = models.DateTimeField(null=True, help_text="Newest time in a cosignature.")

    class Meta:
        db_table = "audit_checkpoint"
        indexes: ClassVar = [models.Index(fields=["size"], name="audit_checkpoint_size")]

    def __str__(self) -> str:
        return f"{self.origin} at {self.size}"


class LogState(models.Model):
    """How long the log is, how the sequencer fares, and what retention has removed. One row, made by the migration."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    size = models.BigIntegerField(default=0)
    waiting = models.BigIntegerField(default=0, help_text="Events that the sequencer refused; they stay in the inbox.")
    beat_at = models.DateTimeField()
    sequencer = models.CharField(max_length=200, blank=True, help_text="Host and process that numbers now.")
    lag_ms = models.BigIntegerField(default=0, help_text="Age of the oldest event of the last batch when numbered.")
    fault = models.CharField(
        max_length=500, blank=True, help_text="Why no checkpoint is signed; empty when all is well."
    )
    fault_at = models.DateTimeField(null=True)
    partition_rows = models.BigIntegerField(default=10_000_000)
    pruned_to = models.BigIntegerField(default=0, help_text="Entries below this position were removed by retention.")
    pruned_record = models.BigIntegerField(null=True, help_text="Position of the entry that records the removal.")
    pruned_leaf = models.TextField(blank=True, help_text="That entry, which every tenant's export quotes.")

    class Meta:
        db_table = "audit_logstate"
        verbose_name_plural = "log health"

    def __str__(self) -> str:
        return f"{self.size} entries"
