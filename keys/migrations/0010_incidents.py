"""Incidents: what is done about an exposed key, task by task."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import byok_portal.boundary.identifiers
import keys.states
from byok_portal.boundary.schema import APP, ForeignKeyTo, TenantForeignKey, TenantTable, Transitions


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0009_assisted")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Incident",
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
                    "versions",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(),
                        help_text="Numbers of the versions that are exposed.",
                        size=None,
                    ),
                ),
                (
                    "exposure",
                    models.CharField(choices=[("suspected", "Suspected"), ("confirmed", "Confirmed")], max_length=10),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("key_compromise", "Key compromise"),
                            ("superseded", "Superseded"),
                            ("cessation_of_operation", "Cessation of operation"),
                            ("privilege_withdrawn", "Privilege withdrawn"),
                            ("affiliation_changed", "Affiliation changed"),
                            ("hold", "Hold"),
                            ("contract_ended", "Contract ended"),
                            ("leak_report", "Leak report"),
                            ("policy_violation", "Policy violation"),
                            ("dormant", "Dormant"),
                        ],
                        max_length=30,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("new", "New"),
                            ("in_progress", "In progress"),
                            ("on_hold", "On hold"),
                            ("resolved", "Resolved"),
                            ("closed", "Closed"),
                        ],
                        default=keys.states.IncidentState["NEW"],
                        max_length=12,
                    ),
                ),
                ("is_false_alarm", models.BooleanField(default=False)),
                (
                    "was_active",
                    models.BooleanField(default=False, help_text="Whether a false alarm makes the key active again."),
                ),
                ("suspected_since", models.DateTimeField(help_text="Uses from then on are looked at.")),
                ("summary", models.CharField(blank=True, max_length=500)),
                ("opened_by_kind", models.CharField(max_length=10)),
                ("opened_by_id", models.UUIDField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="incidents",
                        to="keys.key",
                    ),
                ),
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
        ),
        migrations.CreateModel(
            name="IncidentTask",
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
                ("position", models.PositiveIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("revoke_upstream", "Revoke upstream"),
                            ("replace", "Replace"),
                            ("rotate", "Rotate"),
                            ("review_uses", "Review uses"),
                            ("check_key", "Check key"),
                            ("tell", "Tell"),
                        ],
                        max_length=20,
                    ),
                ),
                ("subject_id", models.UUIDField(blank=True, null=True)),
                (
                    "label",
                    models.CharField(
                        blank=True, help_text="What the subject was called when it was made.", max_length=120
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("done", "Done"), ("not_needed", "Not needed")],
                        default=keys.states.TaskState["OPEN"],
                        max_length=12,
                    ),
                ),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                ("settled_by_kind", models.CharField(blank=True, max_length=10)),
                ("settled_by_id", models.UUIDField(blank=True, null=True)),
                ("note", models.CharField(blank=True, max_length=500)),
                (
                    "incident",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tasks",
                        to="keys.incident",
                    ),
                ),
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
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="keys_incident_recent"),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(fields=["tenant", "key"], name="keys_incident_key"),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ["new", "in_progress", "on_hold"])),
                fields=("tenant", "key"),
                name="keys_incident_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(("exposure__in", ["suspected", "confirmed"])), name="keys_incident_exposure"
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "closed"), _negated=True), ("closed_at__isnull", False), _connector="OR"
                ),
                name="keys_incident_closed",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("is_false_alarm", False), models.Q(("exposure", "suspected"), ("state", "closed")), _connector="OR"
                ),
                name="keys_incident_false_alarm",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["new", "in_progress", "on_hold", "resolved", "closed"])),
                name="keys_incident_state",
            ),
        ),
        migrations.AddIndex(
            model_name="incidenttask",
            index=models.Index(fields=["tenant", "incident", "position"], name="keys_incidenttask_order"),
        ),
        migrations.AddIndex(
            model_name="incidenttask",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["tenant", "subject_id"], name="keys_incidenttask_subject"
            ),
        ),
        migrations.AddConstraint(
            model_name="incidenttask",
            constraint=models.UniqueConstraint(
                fields=("tenant", "incident", "kind", "subject_id"), name="keys_incidenttask_once", nulls_distinct=False
            ),
        ),
        migrations.AddConstraint(
            model_name="incidenttask",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "open"), ("settled_at__isnull", False), _connector="OR"),
                name="keys_incidenttask_settled",
            ),
        ),
        migrations.AddConstraint(
            model_name="incidenttask",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "done", "not_needed"])), name="keys_incidenttask_state"
            ),
        ),
        TenantTable("Incident", grants={APP: "SELECT, INSERT, UPDATE"}),
        ForeignKeyTo("Incident", "tenant_id", "tenants_tenant"),
        TenantForeignKey("Incident", "key_id", "keys_key"),
        Transitions(
            "Incident",
            allowed={
                "new": ["in_progress", "on_hold", "resolved", "closed"],
                "in_progress": ["on_hold", "resolved", "closed"],
                "on_hold": ["in_progress", "resolved", "closed"],
                "resolved": ["in_progress", "closed"],
            },
        ),
        TenantTable("IncidentTask", grants={APP: "SELECT, INSERT, UPDATE"}),
        ForeignKeyTo("IncidentTask", "tenant_id", "tenants_tenant"),
        TenantForeignKey("IncidentTask", "incident_id", "keys_incident"),
        Transitions("IncidentTask", allowed={"open": ["done", "not_needed"]}),
    ]
