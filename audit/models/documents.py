"""What the portal states to outsiders: certificates and reports, each with its hash in the log."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from byok_portal.boundary.identifiers import new_id


class Document(models.Model):
    """One statement as it was issued; never changed. The entry `event_id` records the SHA-256 of both forms."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant_id = models.UUIDField()
    created_at = models.DateTimeField(auto_now_add=True)
    kind = models.CharField(max_length=40)
    subject_kind = models.CharField(max_length=20)
    subject_id = models.UUIDField()
    event_id = models.UUIDField(help_text="The entry that records the hashes.")
    events = ArrayField(models.UUIDField(), help_text="The entries that the statement rests on.")
    body = models.TextField(help_text="document.json, exactly as hashed.")
    page = models.TextField(help_text="document.html, exactly as hashed.")

    class Meta:
        db_table = "audit_document"
        indexes: ClassVar = [
            models.Index(fields=["tenant_id", "subject_id", "-created_at"], name="audit_document_subject")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
