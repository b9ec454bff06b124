"""Attempts to have a provider make a key's successor, written before the provider is asked."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

import byok_portal.boundary.identifiers
import keys.states
from byok_portal.boundary.schema import APP, STAFF, ForeignKeyTo, TenantForeignKey, TenantTable, Transitions


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0008_findings")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Succession",
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
                ("base", models.PositiveIntegerField(help_text="The version that asks for its successor.")),
                ("state", models.CharField(default=keys.states.SuccessionState["ASKED"], max_length=10)),
                ("lapses_at", models.DateTimeField()),
                (
                    "born_seconds",
                    models.PositiveBigIntegerField(
                        default=0, help_text="How long a successor lives at first where its provider decides that."
                    ),
                ),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("code", models.CharField(blank=True, help_text="Why it was given up.", max_length=60)),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
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
                (
                    "version",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="keys.keyversion",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["asked", "made"])),
                        fields=("tenant", "key"),
                        name="keys_succession_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["asked", "given_up"]), ("version__isnull", False), _connector="OR"
                        ),
                        name="keys_succession_made",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["asked", "made", "done", "given_up"])),
                        name="keys_succession_state",
                    ),
                ],
            },
        ),
        TenantTable("Succession", grants={APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"}),
        ForeignKeyTo("Succession", "tenant_id", "tenants_tenant"),
        TenantForeignKey("Succession", "key_id", "keys_key"),
        TenantForeignKey("Succession", "version_id", "keys_keyversion"),
        Transitions("Succession", allowed={"asked": ["given_up", "made"], "made": ["done", "given_up"]}),
    ]
