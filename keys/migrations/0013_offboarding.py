"""Keys may belong to a project, which ends as a whole."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

from byok_portal.boundary.schema import TenantForeignKey


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0012_drills"), ("tenants", "0004_projects")]
    operations: ClassVar = [
        migrations.AddField(
            "Key",
            "project",
            models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.project",
            ),
        ),
        migrations.AddIndex(
            "Key",
            models.Index(
                condition=models.Q(("project__isnull", False)), fields=["tenant", "project"], name="keys_key_project"
            ),
        ),
        TenantForeignKey("Key", "project_id", "tenants_project"),
        migrations.AlterField(
            "Acceptance",
            "kind",
            models.CharField(
                choices=[
                    ("shared_secret", "Shared secret"),
                    ("no_backup_owner", "No backup owner"),
                    ("overdue", "Overdue"),
                    ("rotation_wanted", "Rotation wanted"),
                    ("proof_expired", "Proof expired"),
                    ("excess_privilege", "Excess privilege"),
                    ("dormant", "Dormant"),
                    ("unused_scopes", "Unused scopes"),
                    ("several_consumers", "Several consumers"),
                    ("not_recertified", "Not recertified"),
                    ("live_outside_production", "Live outside production"),
                    ("drill_overdue", "Drill overdue"),
                    ("drill_failed", "Drill failed"),
                    ("end_passed", "End passed"),
                ],
                max_length=30,
            ),
        ),
    ]
