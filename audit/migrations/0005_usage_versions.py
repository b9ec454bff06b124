"""Uses per version of a key and consumer, kept by the `usage` reader."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

from byok_portal.boundary.schema import APP, READER, STAFF, TenantTable

_KEY = ("tenant_id", "key_id", "version", "consumer_id")


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0004_checkpoint_origin")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="UsageVersion",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(*_KEY, blank=True, editable=False, primary_key=True, serialize=False),
                ),
                ("tenant_id", models.UUIDField()),
                ("key_id", models.UUIDField()),
                ("version", models.BigIntegerField()),
                ("consumer_id", models.UUIDField()),
                ("uses", models.BigIntegerField(default=0)),
                ("last_at", models.DateTimeField()),
            ],
            options={"db_table": "audit_usageversion"},
        ),
        TenantTable(
            "UsageVersion",
            grants={APP: "SELECT", STAFF: "SELECT", READER: "SELECT, INSERT, UPDATE, DELETE"},
            key=_KEY,
        ),
    ]
