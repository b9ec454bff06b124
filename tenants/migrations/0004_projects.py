"""Projects; offboardings of projects, consumers and members too; who agrees that an end date ends by itself."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import byok_portal.boundary.identifiers
from byok_portal.boundary.schema import (
    APP,
    STAFF,
    DirectoryFunction,
    ForeignKeyTo,
    TenantForeignKey,
    TenantTable,
    Transitions,
)

# Replaces the trigger's table of moves: a residual can be done by hand, and that is said of it.
_STEP_MOVES = """
CREATE OR REPLACE FUNCTION tenants_offboardingstep_transition() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog AS $$ BEGIN IF NEW.state IS DISTINCT FROM OLD.state AND (OLD.state, NEW.state) NOT IN (
  ('pending', 'running'), ('pending', 'calling'), ('running', 'done'), ('running', 'residual'), ('calling', 'done'),
  ('calling', 'residual'), ('residual', 'settled')
) THEN RAISE EXCEPTION 'tenants_offboardingstep: % cannot become %', OLD.state, NEW.state
USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $$
"""
# As directory_due_reminders, for the ends of projects: a tenant's own policies may look farther than the platform's.
_DUE = """
SELECT p.tenant_id, 'project_end', p.id, p.ends_on
FROM tenants_project p JOIN tenants_tenant t ON t.id = p.tenant_id AND t.state IN ('active', 'suspended')
WHERE p.state = 'active' AND p.ends_on <= today + greatest(horizon, (
    SELECT max(d::integer) FROM keys_policy q
    CROSS JOIN LATERAL jsonb_array_elements_text(q.rules -> 'reminder_days') d WHERE q.tenant_id = p.tenant_id))
  AND NOT EXISTS (SELECT FROM tenants_reminder r WHERE r.tenant_id = p.tenant_id AND r.kind = 'project_end'
                  AND r.subject_id = p.id AND r.due_on = p.ends_on AND (r.next_on IS NULL OR r.next_on > today))
ORDER BY p.tenant_id, p.ends_on, p.id LIMIT at_most
"""
# In no order: what can never be started must not keep the rest out for ever.
_ENDS = """
SELECT due.tenant_id, due.kind, due.subject_id FROM (
SELECT t.id, 'tenant', t.id FROM tenants_tenant t
WHERE t.ends_automatically AND t.contract_ends_on < today AND t.state IN ('onboarding', 'active', 'suspended')
UNION ALL
SELECT p.tenant_id, 'project', p.id FROM tenants_project p JOIN tenants_tenant t ON t.id = p.tenant_id
WHERE t.ends_automatically AND p.ends_on < today AND p.state = 'active' AND t.state IN ('active', 'suspended')
  AND coalesce(t.contract_ends_on >= today, true)
) AS due (tenant_id, kind, subject_id)
ORDER BY random() LIMIT at_most
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0003_notices")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Project",
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
                    "slug",
                    models.CharField(
                        max_length=60,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?$", "Use small letters, digits and inner hyphens."
                            )
                        ],
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                ("purpose", models.CharField(max_length=300)),
                (
                    "ends_on",
                    models.DateField(blank=True, help_text="The last day; without one, people end it.", null=True),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("active", "Active"), ("ended", "Ended")], default="active", max_length=10
                    ),
                ),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "active")), fields=["ends_on"], name="tenants_project_ends"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "slug"), name="tenants_project_slug"),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["active", "ended"])), name="tenants_project_state"
                    ),
                ],
            },
        ),
        TenantTable("Project", grants={APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"}),
        ForeignKeyTo("Project", "tenant_id", "tenants_tenant"),
        Transitions("Project", allowed={"active": ["ended"]}),
        migrations.AddField(
            "Consumer",
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
        TenantForeignKey("Consumer", "project_id", "tenants_project"),
        migrations.AddField(
            "Tenant",
            "ends_automatically",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text=(
                    "Its owners agree that the end of the contract, or of a project, starts the offboarding by itself."
                ),
            ),
        ),
        migrations.RemoveConstraint("Offboarding", "tenants_offboarding_once"),
        migrations.AddField(
            "Offboarding",
            "subject_kind",
            models.CharField(
                choices=[
                    ("tenant", "Tenant"),
                    ("project", "Project"),
                    ("consumer", "Consumer"),
                    ("owner", "Owner"),
                ],
                default="tenant",
                max_length=10,
            ),
        ),
        migrations.AddField("Offboarding", "subject_id", models.UUIDField(null=True)),
        migrations.RunSQL("UPDATE tenants_offboarding SET subject_id = tenant_id", migrations.RunSQL.noop),
        migrations.AlterField("Offboarding", "subject_id", models.UUIDField()),
        migrations.AddField("Offboarding", "started_by_kind", models.CharField(default="staff", max_length=10)),
        migrations.AddField(
            "Offboarding",
            "is_automatic",
            models.BooleanField(default=False, help_text="Started by the clock, as agreed before."),
        ),
        migrations.AddField("Offboarding", "plan_digest", models.CharField(blank=True, max_length=64)),
        migrations.AddField("Offboarding", "plan", models.JSONField(default=dict)),
        migrations.AddField("Offboarding", "requested_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("Offboarding", "planned_at", models.DateTimeField(blank=True, null=True)),
        # A run of the release before has its steps: nobody must plan it again.
        migrations.RunSQL("UPDATE tenants_offboarding SET planned_at = created_at", migrations.RunSQL.noop),
        migrations.AddField(
            "Offboarding",
            "event_ids",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.UUIDField(),
                default=list,
                help_text="Of its start, its plan and its end.",
                size=None,
            ),
        ),
        migrations.AddConstraint(
            "Offboarding",
            models.UniqueConstraint(
                condition=models.Q(("state", "running")),
                fields=("tenant", "subject_kind", "subject_id"),
                name="tenants_offboarding_one_running",
            ),
        ),
        migrations.AddField(
            "OffboardingStep",
            "event_ids",
            django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
        ),
        migrations.AddField("OffboardingStep", "instruction", models.CharField(blank=True, max_length=500)),
        migrations.AddField("OffboardingStep", "settled_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("OffboardingStep", "settled_by_id", models.UUIDField(blank=True, null=True)),
        migrations.AddField("OffboardingStep", "settled_note", models.CharField(blank=True, max_length=500)),
        migrations.AlterField(
            "OffboardingStep",
            "state",
            models.CharField(
                choices=[
                    ("pending", "Waiting"),
                    ("running", "Running"),
                    ("calling", "Calling the provider"),
                    ("done", "Done"),
                    ("residual", "Left to people"),
                    ("settled", "Done by hand"),
                ],
                default="pending",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            "OffboardingStep",
            models.UniqueConstraint(
                fields=("tenant", "offboarding", "kind", "subject_id"), name="tenants_step_subject"
            ),
        ),
        migrations.AddIndex(
            "OffboardingStep",
            models.Index(
                condition=models.Q(("kind", "flag_rotation")),
                fields=["tenant", "subject_id"],
                name="tenants_step_flagged",
            ),
        ),
        migrations.RunSQL(_STEP_MOVES, migrations.RunSQL.noop),
        DirectoryFunction(
            "directory_due_ends",
            arguments="today date, at_most integer",
            returns="TABLE (tenant_id uuid, kind text, subject_id uuid)",
            query=_ENDS,
            reads={
                "tenants_tenant": "id, state, contract_ends_on, ends_automatically",
                "tenants_project": "tenant_id, id, state, ends_on",
            },
        ),
        DirectoryFunction(
            "directory_due_projects",
            arguments="today date, horizon integer, at_most integer",
            returns="TABLE (tenant_id uuid, kind text, subject_id uuid, due_on date)",
            query=_DUE,
            reads={"tenants_project": "tenant_id, id, state, ends_on"},
        ),
    ]
