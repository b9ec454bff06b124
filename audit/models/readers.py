"""Where each reader of the log stands, and what readers make from it. All of it can be made again."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Reader(models.Model):
    """How far one reader of sequenced entries has come. Readers never write in the hot path."""

    name = models.CharField(primary_key=True, max_length=200)
    position = models.BigIntegerField(default=0, help_text="The next position in the log that it will read.")
    delivered = models.BigIntegerField(
        default=0, help_text="How many records it has delivered: their sequence numbers."
    )
    read_at = models.DateTimeField(null=True)
    fault = models.CharField(max_length=500, blank=True)

    class Meta:
        db_table = "audit_reader"

    def __str__(self) -> str:
        return f"{self.name} at {self.position}"


class UsageDay(models.Model):
    """Uses of one key under one scope by one consumer on one day (UTC). Read from the log, made again at will."""

    pk = models.CompositePrimaryKey("tenant_id", "day", "key_id", "consumer_id", "scope")
    tenant_id = models.UUIDField()
    day = models.DateField()
    key_id = models.UUIDField()
    consumer_id = models.UUIDField()
    scope = models.CharField(max_length=200, blank=True)
    allowed = models.BigIntegerField(default=0)
    denied = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()
    last_allowed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "audit_usageday"
        indexes: ClassVar = [
            models.Index(fields=["tenant_id", "key_id", "-day"], name="audit_usageday_key"),
            models.Index(fields=["tenant_id", "consumer_id", "-day"], name="audit_usageday_consumer"),
        ]

    def __str__(self) -> str:
        return f"{self.key_id} on {self.day}"


class UsageVersion(models.Model):
    """Uses of one version of a key by one consumer: who has not moved on during a rotation. Read from the log."""

    pk = models.CompositePrimaryKey("tenant_id", "key_id", "version", "consumer_id")
    tenant_id = models.UUIDField()
    key_id = models.UUIDField()
    version = models.BigIntegerField()
    consumer_id = models.UUIDField()
    uses = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        db_table = "audit_usageversion"

    def __str__(self) -> str:
        return f"version {self.version} of {self.key_id}"


class SearchBlock(models.Model):
    """Which words (action, outcome, actor, target) occur in a block of 256 entries of one tenant.

    A skip index: false positives are read and dropped, false negatives cannot be. About 2 bytes an entry.
    """

    pk = models.CompositePrimaryKey("tenant_id", "number")
    tenant_id = models.UUIDField()
    number = models.BigIntegerField(help_text="(tseq - 1) / 256")
    upto = models.BigIntegerField(help_text="The last number of the tenant that the words of this block cover.")
    words = ArrayField(models.IntegerField(), help_text="CRC-32 of each word (audit.words), sorted.")

    class Meta:
        db_table = "audit_searchblock"

    def __str__(self) -> str:
        return f"{self.tenant_id} block {self.number}"
