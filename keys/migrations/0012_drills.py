"""Drills on canary keys and their schedules."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

import byok_portal.boundary.identifiers
import keys.states
from byok_portal.boundary.schema import (
    APP,
    STAFF,
    DirectoryFunction,
    ForeignKeyTo,
    TenantForeignKey,
    TenantTable,
    Transitions,
)

_WRITE = {APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"}
_DUE = """
SELECT s.tenant_id, s.id FROM keys_drillschedule s
JOIN tenants_tenant t ON t.id = s.tenant_id AND t.state = 'active'
WHERE s.is_active AND s.next_on <= today ORDER BY s.next_on LIMIT at_most
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0011_campaigns"), ("tenants", "0003_notices")]
    operations: ClassVar = [
        migrations.AddField(
            model_name="key",
            name="is_canary",
            field=models.BooleanField(
                default=False,
                db_default=False,
                help_text="Nobody has a reason to use it: any use outside a drill is an alarm.",
            ),
        ),
        migrations.CreateModel(
            name="Drill",
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
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("revocation", "Revocation"),
                            ("rotation", "Rotation"),
                            ("offboarding", "Offboarding"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("planned", "Planned"),
                            ("running", "Running"),
                            ("confirming", "Confirming"),
                            ("passed", "Passed"),
                            ("failed", "Failed"),
                        ],
                        default=keys.states.DrillState["PLANNED"],
                        max_length=12,
                    ),
                ),
                (
                    "due_on",
                    models.DateField(blank=True, help_text="The day of its schedule that it serves.", null=True),
                ),
                ("target_ms", models.PositiveIntegerField(help_text="How soon every process must refuse.")),
                ("started_by_id", models.UUIDField()),
                ("begun_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, help_text="When the end was answered.", null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "upstream_ms",
                    models.PositiveIntegerField(
                        blank=True, help_text="Until the provider confirmed the end.", null=True
                    ),
                ),
                ("code", models.CharField(blank=True, help_text="Why it failed; empty when it passed.", max_length=60)),
                ("results", models.JSONField(default=list)),
                ("entries", models.JSONField(default=list, help_text="Audit entries of its steps: [action, id].")),
            ],
        ),
        migrations.CreateModel(
            name="DrillSchedule",
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
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("revocation", "Revocation"),
                            ("rotation", "Rotation"),
                            ("offboarding", "Offboarding"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "every",
                    models.CharField(
                        choices=[("monthly", "Every month"), ("quarterly", "Every quarter")], max_length=10
                    ),
                ),
                ("next_on", models.DateField()),
                ("is_active", models.BooleanField(default=True)),
                ("set_by_id", models.UUIDField()),
            ],
        ),
        migrations.AddField(
            model_name="drill",
            name="consumer",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.consumer",
            ),
        ),
        migrations.AddField(
            model_name="drill",
            name="key",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="keys.key",
            ),
        ),
        migrations.AddField(
            model_name="drill",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="drillschedule",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="drill",
            name="schedule",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="keys.drillschedule",
            ),
        ),
        migrations.AddIndex(
            model_name="drillschedule",
            index=models.Index(
                condition=models.Q(("is_active", True)), fields=["next_on"], name="keys_drillschedule_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="drillschedule",
            constraint=models.UniqueConstraint(fields=("tenant", "kind"), name="keys_drillschedule_once"),
        ),
        migrations.AddConstraint(
            model_name="drillschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("every__in", ["monthly", "quarterly"])), name="keys_drillschedule_every"
            ),
        ),
        migrations.AddIndex(
            model_name="drill",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="keys_drill_recent"),
        ),
        migrations.AddIndex(
            model_name="drill",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True)), fields=["tenant", "key"], name="keys_drill_running"
            ),
        ),
        migrations.AddConstraint(
            model_name="drill",
            constraint=models.UniqueConstraint(fields=("tenant", "schedule", "due_on"), name="keys_drill_once_per_day"),
        ),
        migrations.AddConstraint(
            model_name="drill",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["planned", "running", "confirming", "passed", "failed"])),
                name="keys_drill_state",
            ),
        ),
        TenantTable("DrillSchedule", grants=_WRITE),
        TenantTable("Drill", grants=_WRITE),
        ForeignKeyTo("DrillSchedule", "tenant_id", "tenants_tenant"),
        ForeignKeyTo("Drill", "tenant_id", "tenants_tenant"),
        TenantForeignKey("Drill", "key_id", "keys_key"),
        TenantForeignKey("Drill", "consumer_id", "tenants_consumer"),
        TenantForeignKey("Drill", "schedule_id", "keys_drillschedule"),
        Transitions(
            "Drill",
            allowed={
                "planned": ["running", "failed"],
                "running": ["confirming", "passed", "failed"],
                "confirming": ["passed", "failed"],
            },
        ),
        DirectoryFunction(
            "directory_due_drills",
            arguments="today date, at_most integer",
            returns="TABLE (tenant_id uuid, id uuid)",
            query=_DUE,
            reads={"keys_drillschedule": "tenant_id, id, is_active, next_on", "tenants_tenant": "id, state"},
        ),
    ]
