"""Hand-overs of keys whose owner left; a key may be without a backup owner while one is open."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import byok_portal.boundary.identifiers
import keys.states
from byok_portal.boundary.schema import APP, STAFF, ForeignKeyTo, TenantForeignKey, TenantTable, Transitions


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0006_policies"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations: ClassVar = [
        migrations.AlterField(
            "key",
            "backup_owner",
            models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.CreateModel(
            name="HandOver",
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
                ("state", models.CharField(default=keys.states.HandOverState["OPEN"], max_length=10)),
                (
                    "due_at",
                    models.DateTimeField(help_text="When the key is suspended if it has no second owner by then."),
                ),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="hand_overs",
                        to="keys.key",
                    ),
                ),
                (
                    "leaver",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
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
            options={
                "indexes": [models.Index(fields=["tenant", "key", "state"], name="keys_handover_key")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "open")),
                        fields=("tenant", "key", "leaver"),
                        name="keys_handover_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["open", "closed"])), name="keys_handover_state"
                    ),
                ],
            },
        ),
        TenantTable(
            "HandOver",
            grants={APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"},
        ),
        ForeignKeyTo("HandOver", "tenant_id", "tenants_tenant"),
        ForeignKeyTo("HandOver", "leaver_id", "tenants_user"),
        TenantForeignKey("HandOver", "key_id", "keys_key"),
        Transitions("HandOver", allowed={"open": ["closed"]}),
    ]
