"""Row-level security, composite keys, transitions and grants of the keys app. Ciphertext is for `byok_app` alone."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from byok_portal.boundary.schema import APP, STAFF, ForeignKeyTo, TenantForeignKey, TenantTable, Transitions

_WRITE = {APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"}


# Written out, not imported: a migration must not change when the code does. A test compares both.
_LIVE = ["compromised", "expired", "revoked", "superseded"]
_VERSION = {
    "registered": ["compromised", "destroyed", "revoked", "verified"],
    "verified": ["active", "compromised", "destroyed", "revoked"],
    "active": [*_LIVE, "suspended"],
    "suspended": [*_LIVE, "active"],
    "superseded": ["active", "compromised", "revoked"],
    "revoked": ["compromised", "destroyed"],
    "expired": ["compromised", "destroyed"],
    "compromised": ["destroyed"],
}
_GRANT = {"requested": ["active"], "active": ["expired", "revoked"]}


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0002_initial"), ("tenants", "0002_guards")]
    operations: ClassVar = [
        TenantTable("Key", grants=_WRITE),
        TenantTable("KeyVersion", grants=_WRITE),
        TenantTable("Proof", grants={APP: "SELECT, INSERT", STAFF: "SELECT"}),
        TenantTable("Grant", grants=_WRITE),
        TenantTable("RateWindow", grants={APP: "SELECT, INSERT, UPDATE, DELETE"}),
        # No other role at all: the staff login cannot read ciphertext or wrapped data keys.
        TenantTable("Material", grants={APP: "SELECT, INSERT, DELETE"}),
        TenantTable("TenantKey", grants={APP: "SELECT, INSERT, UPDATE"}),
        *(
            ForeignKeyTo(model, "tenant_id", "tenants_tenant")
            for model in ("Key", "KeyVersion", "Proof", "Grant", "RateWindow", "Material", "TenantKey")
        ),
        ForeignKeyTo("Key", "provider_id", "keys_provider"),
        ForeignKeyTo("Key", "owner_id", "tenants_user"),
        ForeignKeyTo("Key", "backup_owner_id", "tenants_user"),
        TenantForeignKey("KeyVersion", "key_id", "keys_key"),
        TenantForeignKey("Material", "version_id", "keys_keyversion"),
        TenantForeignKey("Proof", "key_id", "keys_key"),
        TenantForeignKey("Proof", "version_id", "keys_keyversion"),
        TenantForeignKey("Grant", "key_id", "keys_key"),
        TenantForeignKey("Grant", "consumer_id", "tenants_consumer"),
        TenantForeignKey("RateWindow", "grant_id", "keys_grant", on_delete="CASCADE"),
        Transitions("KeyVersion", allowed=_VERSION),
        Transitions("Grant", allowed=_GRANT),
        Transitions(
            "Key",
            allowed={
                "pending": ["active", "revoked", "compromised"],
                "active": ["suspended", "revoked", "compromised"],
                "suspended": ["active", "revoked", "compromised"],
                "revoked": ["compromised"],
            },
        ),
        Transitions(
            "TenantKey",
            allowed={
                "active": ["retired", "revoked", "shredded"],
                "retired": ["revoked", "shredded"],
                "revoked": ["shredded"],
            },
        ),
    ]
