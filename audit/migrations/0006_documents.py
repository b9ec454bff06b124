"""Statements to outsiders. The web server adds them and changes none."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
from django.db import migrations, models

import byok_portal.boundary.identifiers
from byok_portal.boundary.schema import APP, STAFF, TenantTable


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0005_usage_versions")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Document",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=byok_portal.boundary.identifiers.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("kind", models.CharField(max_length=40)),
                ("subject_kind", models.CharField(max_length=20)),
                ("subject_id", models.UUIDField()),
                ("event_id", models.UUIDField(help_text="The entry that records the hashes.")),
                (
                    "events",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), help_text="The entries that the statement rests on.", size=None
                    ),
                ),
                ("body", models.TextField(help_text="document.json, exactly as hashed.")),
                ("page", models.TextField(help_text="document.html, exactly as hashed.")),
            ],
            options={
                "db_table": "audit_document",
                "indexes": [
                    models.Index(fields=["tenant_id", "subject_id", "-created_at"], name="audit_document_subject")
                ],
            },
        ),
        TenantTable("Document", grants={APP: "SELECT, INSERT", STAFF: "SELECT"}),
    ]
