"""Findings that were accepted for a while, and which keys hold a credential that another tenant has too."""

from __future__ import annotations

from typing import ClassVar

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
)

# Tells the bound tenant about its own keys only, and never which other tenant it is.
_SHARED = """
SELECT DISTINCT mine.key_id FROM keys_keyversion mine
WHERE mine.tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid
  AND mine.state IN ('active', 'suspended', 'superseded')
  AND EXISTS (
    SELECT FROM keys_keyversion other WHERE other.global_fingerprint = mine.global_fingerprint
    AND other.tenant_id <> mine.tenant_id AND other.state <> 'destroyed'
  )
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0007_handovers")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Acceptance",
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
                            ("shared_secret", "Shared secret"),
                            ("no_backup_owner", "No backup owner"),
                            ("overdue", "Overdue"),
                            ("rotation_wanted", "Rotation wanted"),
                            ("proof_expired", "Proof expired"),
                            ("excess_privilege", "Excess privilege"),
                            ("dormant", "Dormant"),
                            ("unused_scopes", "Unused scopes"),
                            ("several_consumers", "Several consumers"),
                        ],
                        max_length=30,
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                ("expires_at", models.DateTimeField()),
                ("accepted_by_id", models.UUIDField()),
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
            ],
            options={"indexes": [models.Index(fields=["tenant", "key", "kind"], name="keys_acceptance_key")]},
        ),
        TenantTable("Acceptance", grants={APP: "SELECT, INSERT", STAFF: "SELECT"}),
        ForeignKeyTo("Acceptance", "tenant_id", "tenants_tenant"),
        TenantForeignKey("Acceptance", "key_id", "keys_key"),
        migrations.AddIndex("KeyVersion", models.Index(fields=["global_fingerprint"], name="keys_version_across")),
        DirectoryFunction(
            name="directory_shared_secrets",
            arguments="",
            returns="TABLE (key_id uuid)",
            query=_SHARED,
            reads={"keys_keyversion": "tenant_id, id, key_id, state, expires_at, global_fingerprint"},
        ),
    ]
