"""Checkpoints of a log that was opened anew stand beside those of the old origin, and the sequencer may record that."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

_KEY = "ALTER TABLE audit_checkpoint DROP CONSTRAINT audit_checkpoint_pkey, ADD PRIMARY KEY ({columns})"


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0003_retention")]
    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(_KEY.format(columns="origin, size"), _KEY.format(columns="size")),
            ],
            state_operations=[
                migrations.AlterField("Checkpoint", "size", models.BigIntegerField()),
                migrations.AddField(
                    "Checkpoint",
                    "pk",
                    models.CompositePrimaryKey(
                        "origin", "size", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
            ],
        ),
        migrations.AddIndex("Checkpoint", models.Index(fields=["size"], name="audit_checkpoint_size")),
        # For `audit.reopened` alone: whoever may insert entries gains nothing by it.
        migrations.RunSQL(
            "GRANT INSERT ON audit_inbox TO byok_sequencer", "REVOKE INSERT ON audit_inbox FROM byok_sequencer"
        ),
    ]
