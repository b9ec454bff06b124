"""The reviewed list of relations that belong to no tenant, with every right on them.

Applied after each migrate by the migration role. A relation that is neither here nor a tenant table fails the sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from byok_portal.boundary.schema import APP, AUDITOR, GATE, READER, SEQUENCER, STAFF

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
_READ: Final = {APP: "SELECT", STAFF: "SELECT", AUDITOR: "SELECT", READER: "SELECT"}

GLOBAL_TABLES: Final[dict[str, dict[str, str]]] = {
    "django_migrations": {APP: "SELECT", STAFF: "SELECT", SEQUENCER: "SELECT", AUDITOR: "SELECT", READER: "SELECT"},
    "django_content_type": {APP: "SELECT", STAFF: "SELECT"},
    "auth_permission": {APP: "SELECT"},
    "auth_group": {APP: "SELECT"},
    "auth_group_permissions": {APP: "SELECT"},
    # People are global: one person may be a member of several tenants. Memberships are tenant rows.
    "tenants_user": {APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"},
    "tenants_user_groups": {APP: "SELECT"},
    "tenants_user_user_permissions": {APP: "SELECT"},
    "account_emailaddress": {APP: _ALL},
    "account_emailconfirmation": {APP: _ALL},
    "django_session": {APP: _ALL},
    # Staff actions in Django admin; nobody edits or deletes them.
    "django_admin_log": {APP: "SELECT, INSERT"},
    # django-q2 holds ids only: it is the wake-up call, `boundary_job` is the record.
    "django_q_ormq": {APP: _ALL},
    "django_q_task": {APP: _ALL},
    "django_q_schedule": {APP: _ALL},
    # Counters of the throttles and used TOTP codes: shared by all processes, no tenant data.
    "byok_cache": {APP: _ALL},
    "boundary_pulse": {APP: "SELECT, INSERT, UPDATE"},
    # Ids that mean nothing: only triggers write them.
    "boundary_revision": {GATE: "SELECT"},
    # How long the log is and when the sequencer last lived: says nothing about any tenant.
    "audit_logstate": {
        SEQUENCER: "SELECT, UPDATE",
        APP: "SELECT",
        STAFF: "SELECT",
        AUDITOR: "SELECT",
        READER: "SELECT",
    },
    # The tree holds hashes only; checkpoints are public. The sequencer alone writes them, once.
    "audit_tile": {SEQUENCER: "SELECT, INSERT", **_READ},
    "audit_edge": {SEQUENCER: "SELECT, INSERT, UPDATE", **_READ},
    "audit_checkpoint": {SEQUENCER: "SELECT, INSERT", **_READ},
    "audit_reader": {READER: "SELECT, INSERT, UPDATE, DELETE", APP: "SELECT", STAFF: "SELECT"},
    # Only the catalogue sync (at migrate) and platform staff change providers.
    "keys_provider": {APP: "SELECT", STAFF: "SELECT, INSERT, UPDATE", GATE: "SELECT"},
    # The floor of every tenant's policy: numbered and dated, never changed.
    "keys_platformpolicy": {APP: "SELECT", STAFF: "SELECT, INSERT", GATE: "SELECT"},
}

GLOBAL_SEQUENCES: Final = (
    "account_emailaddress_id_seq",
    "account_emailconfirmation_id_seq",
    "django_admin_log_id_seq",
    "django_q_ormq_id_seq",
    "django_q_schedule_id_seq",
)


def statements() -> Iterable[str]:
    """The SQL that sets the rights of every global relation, from nothing."""
    for table, roles in GLOBAL_TABLES.items():
        yield f'REVOKE ALL ON "{table}" FROM PUBLIC, {APP}, {STAFF}, {SEQUENCER}, {AUDITOR}, {READER}'
        for role, privileges in roles.items():
            yield f'GRANT {privileges} ON "{table}" TO {role}'
    for sequence in GLOBAL_SEQUENCES:
        yield f'GRANT USAGE ON SEQUENCE "{sequence}" TO {APP}'


def apply_grants(*, using: str, **_signal: Any) -> None:
    """`post_migrate` receiver: runs when the migration role has migrated every app."""
    if using != "owner":
        return
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname = ANY(%s)",
            [list(GLOBAL_TABLES)],
        )
        if len(cursor.fetchall()) < len(GLOBAL_TABLES):
            return  # a partial migrate; the full one sets the rights
        for statement in statements():
            cursor.execute(statement)


_GATE_READS: Final = {
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
GATE_RIGHTS: Final[dict[str, dict[str, str]]] = {
    **{table: {"SELECT": columns} for table, columns in _GATE_READS.items()},
    "audit_inbox": {"INSERT": "event_id, tenant_id, body"},
    "audit_private": {"INSERT": "event_id, tenant_id, sealed"},
    "keys_ratewindow": {
        "SELECT": "tenant_id, grant_id, minute, uses",
        "INSERT": "id, tenant_id, grant_id, minute, uses, created_at",
        "UPDATE": "uses",
        "DELETE": "",
    },
}
"""Everything that the gate's login may do with rows of tenants, of all of them: table to privilege to columns."""
