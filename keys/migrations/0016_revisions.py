"""Every column that the gate may read is watched, so that what it remembers of it can be confirmed by one look."""

from __future__ import annotations

from django.db import migrations

from byok_portal.boundary.revisions import WatchTables

COLUMNS = {
    "tenants_tenant": "id, slug, state, ends_automatically, contract_ends_on",
    "tenants_consumer": "tenant_id, id, slug, state, environment, project_id",
    "tenants_consumertoken": "tenant_id, id, consumer_id, digest, scopes, revoked_at, expires_at",
    "tenants_project": "tenant_id, id, state, ends_on",
    "keys_key": (
        "tenant_id, id, slug, name, state, environment, custody, scopes, ends_on, suspends_at, provider_id, is_canary, "
        "project_id, endpoint, parameters"
    ),
    "keys_appliedpolicy": "tenant_id, number",
    "keys_grant": (
        'tenant_id, id, key_id, consumer_id, state, scopes, deliveries, networks, "window", rate_per_minute, '
        "starts_at, expires_at, created_at"
    ),
    "keys_keyversion": (
        "tenant_id, id, key_id, number, state, expires_at, drain_until, dark_from, dark_until, dek_version, fingerprint"
    ),
    "keys_tenantkey": "tenant_id, purpose, version, state, wrapper, kek_ref, wrapped, kcv",
    "keys_material": "tenant_id, version_id, blob",
    "audit_datakey": "tenant_id, version, wrapper, kek_ref, wrapped, kcv",
}


class Migration(migrations.Migration):
    dependencies = [
        ("boundary", "0004_revision"),
        ("keys", "0015_newest"),
        ("tenants", "0006_newest"),
        ("audit", "0006_documents"),
    ]

    operations = [
        WatchTables(COLUMNS, of_all={"keys_provider": "", "keys_platformpolicy": ""}),
    ]
