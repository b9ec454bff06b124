"""The gate's login: reads what a decision is made from, of every tenant; appends to the audit inbox; counts rates."""

from __future__ import annotations

from django.db import migrations, models

from byok_portal.boundary.schema import GATE, NarrowRights

READS = {
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
        ("keys", "0013_offboarding"),
        ("tenants", "0004_projects"),
        ("audit", "0006_documents"),
    ]

    operations = [
        # One look-up for the grant of a use, however many grants its consumer has.
        migrations.RemoveIndex(model_name="grant", name="keys_grant_consumer"),
        migrations.AddIndex(
            model_name="grant",
            index=models.Index(fields=["tenant", "consumer", "key"], name="keys_grant_consumer"),
        ),
        NarrowRights(
            GATE,
            rights={
                **{table: {"SELECT": columns} for table, columns in READS.items()},
                "audit_inbox": {"INSERT": "event_id, tenant_id, body"},
                "audit_private": {"INSERT": "event_id, tenant_id, sealed"},
                "keys_ratewindow": {
                    "SELECT": "tenant_id, grant_id, minute, uses",
                    "INSERT": "id, tenant_id, grant_id, minute, uses, created_at",
                    "UPDATE": "uses",
                    "DELETE": "",
                },
            },
        ),
    ]
