"""The sweep finds nothing in the schema as migrated, and finds every mutant of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from byok_portal.boundary.schema import APP
from tests.isolation.sweep import sweep

if TYPE_CHECKING:
    import psycopg

OPEN = "CREATE POLICY extra ON keys_key TO byok_app USING (true)"
KEY = "keys_key: "

# Statements of a careless migration or administrator, and the beginning of the sentence that must tell of it.
MUTANTS: dict[str, tuple[str, str]] = {
    "force dropped": ("ALTER TABLE keys_key NO FORCE ROW LEVEL SECURITY", f"{KEY}row-level security"),
    "security disabled": ("ALTER TABLE keys_key DISABLE ROW LEVEL SECURITY", f"{KEY}row-level security"),
    "policy opened": ("ALTER POLICY tenant ON keys_key USING (true)", f"{KEY}the policy tenant"),
    "check opened": ("ALTER POLICY tenant ON keys_key WITH CHECK (true)", f"{KEY}the policy tenant"),
    "policy without the empty case": (
        "ALTER POLICY tenant ON keys_key USING (tenant_id = current_setting('app.tenant_id', true)::uuid)",
        f"{KEY}the policy tenant",
    ),
    "policy to everyone": ("ALTER POLICY tenant ON keys_key TO PUBLIC", f"{KEY}the policy tenant"),
    "policy dropped": ("DROP POLICY tenant ON keys_key", f"{KEY}the policy tenant is missing"),
    "maintenance opened": ("ALTER POLICY maintenance ON keys_key USING (true)", f"{KEY}the policy maintenance"),
    "extra permissive policy": (OPEN, f"{KEY}the policy extra"),
    "extra policy under a known name": (
        "CREATE POLICY byok_auditor ON keys_key TO byok_auditor USING (true)",
        f"{KEY}the policy byok_auditor",
    ),
    "directory may write": (
        "DROP POLICY directory ON keys_key; CREATE POLICY directory ON keys_key TO byok_directory USING (true)",
        f"{KEY}the policy directory",
    ),
    "view": ("CREATE VIEW all_keys AS SELECT * FROM keys_key", "all_keys: a view"),
    "materialised view": ("CREATE MATERIALIZED VIEW all_keys AS SELECT * FROM keys_key", "all_keys: a material"),
    "unique index": ("CREATE UNIQUE INDEX ON keys_key (id)", f"{KEY}the unique index on ['id']"),
    "unique expression": ("CREATE UNIQUE INDEX ON keys_key (lower(id::text))", f"{KEY}the unique index on"),
    "primary key without tenant": (
        "ALTER TABLE keys_proof DROP CONSTRAINT keys_proof_pkey, ADD PRIMARY KEY (id)",
        "keys_proof: the unique index on ['id']",
    ),
    "no index on the tenant": (
        "ALTER TABLE keys_ratewindow DROP CONSTRAINT keys_ratewindow_pkey, DROP CONSTRAINT keys_rate_once",
        "keys_ratewindow: no index starts",
    ),
    "truncate": ("GRANT TRUNCATE ON keys_key TO byok_app", f"{KEY}TRUNCATE of byok_app"),
    "references": ("GRANT REFERENCES ON keys_key TO byok_staff", f"{KEY}REFERENCES of byok_staff"),
    "trigger": ("GRANT TRIGGER ON keys_key TO byok_app", f"{KEY}TRIGGER of byok_app"),
    "public": ("GRANT SELECT ON keys_key TO PUBLIC", f"{KEY}SELECT is granted to PUBLIC"),
    "public column": ("GRANT SELECT (name) ON keys_key TO PUBLIC", f"{KEY}SELECT on the column name"),
    "owner's login for a stranger": ("CREATE ROLE stranger; GRANT byok_owner TO stranger", "stranger: an unknown role"),
    "nullable tenant": (
        (
            "ALTER TABLE keys_ratewindow DROP CONSTRAINT keys_ratewindow_pkey; "
            "ALTER TABLE keys_ratewindow ALTER COLUMN tenant_id DROP NOT NULL"
        ),
        "keys_ratewindow: no column tenant_id",
    ),
    "foreign key across tenants": (
        (
            "ALTER TABLE keys_key ADD UNIQUE (id); "
            "ALTER TABLE keys_grant ADD CONSTRAINT across FOREIGN KEY (key_id) REFERENCES keys_key (id)"
        ),
        "keys_grant: the foreign key across",
    ),
    "foreign key crosswise": (
        (
            "ALTER TABLE keys_key ADD UNIQUE (id, tenant_id); ALTER TABLE keys_grant ADD CONSTRAINT across "
            "FOREIGN KEY (tenant_id, key_id) REFERENCES keys_key (id, tenant_id) NOT VALID"
        ),
        "keys_grant: the foreign key across to keys_key crosses",
    ),
    "foreign key not validated": (
        (
            "ALTER TABLE keys_grant ADD CONSTRAINT later FOREIGN KEY (tenant_id, key_id) "
            "REFERENCES keys_key (tenant_id, id) NOT VALID"
        ),
        "keys_grant: the foreign key later was never",
    ),
    "new table": ("CREATE TABLE forgotten (id uuid PRIMARY KEY)", "forgotten: row-level security"),
    "new table with a tenant": (
        "CREATE TABLE forgotten (tenant_id uuid NOT NULL, id uuid, PRIMARY KEY (tenant_id, id))",
        "forgotten: row-level security",
    ),
    "partition with rights of its own": (
        (
            "CREATE TABLE parts (tenant_id uuid NOT NULL) PARTITION BY HASH (tenant_id); "
            "CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0); "
            "GRANT SELECT ON part TO byok_app"
        ),
        "part: a partition",
    ),
    "partition of the log with a right": (
        "GRANT SELECT ON audit_entry_000000000000 TO byok_app",
        "audit_entry_000000000000: a partition is addressed directly",
    ),
    "partition of the log with a policy": (
        "CREATE POLICY open ON audit_entry_000000000000 TO byok_app USING (true)",
        "audit_entry_000000000000: the policy open opens a partition",
    ),
    "partition of the log without its trigger": (
        "DROP TRIGGER append_only ON audit_entry_000000000000",
        "audit_entry_000000000000: lacks the trigger append_only",
    ),
    "partition of the log with an ordinary trigger": (
        "ALTER TABLE audit_entry_000000000000 ENABLE TRIGGER append_only",
        "audit_entry_000000000000: lacks the trigger append_only",
    ),
    "function that makes partitions for the app": (
        "GRANT EXECUTE ON FUNCTION audit_add_partition TO byok_app",
        "audit_add_partition(): may be called by",
    ),
    "another schema": ("CREATE SCHEMA attic; CREATE TABLE attic.keys (id uuid)", "keys: in the unknown schema"),
    "ciphertext for staff": ("GRANT SELECT ON keys_material TO byok_staff", "keys_material: SELECT of byok_staff"),
    "ciphertext column for staff": (
        "GRANT SELECT (wrapped) ON keys_tenantkey TO byok_staff",
        "keys_tenantkey: SELECT on the column wrapped",
    ),
    "ciphertext column for the directory": (
        "GRANT SELECT (wrapped) ON keys_tenantkey TO byok_directory",
        "keys_tenantkey: SELECT on the column wrapped",
    ),
    "right beyond the global list": ("GRANT DELETE ON tenants_user TO byok_app", "tenants_user: DELETE of byok_app"),
    "right of the global list gone": ("REVOKE SELECT ON django_session FROM byok_app", "django_session: SELECT"),
    "sequence": ("CREATE SEQUENCE numbers; GRANT USAGE ON SEQUENCE numbers TO byok_app", "numbers: a sequence"),
    "definer function": (
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM keys_key'",
        "peek(): runs with its owner's rights",
    ),
    "look-up without a search path": (
        "ALTER FUNCTION directory_token RESET search_path",
        "directory_token(): owner byok_directory and settings",
    ),
    "look-up of another owner": ("ALTER FUNCTION directory_token OWNER TO byok_owner", "directory_token(): owner"),
    "look-up for everyone": ("GRANT EXECUTE ON FUNCTION directory_token TO PUBLIC", "directory_token(): may be called"),
    "rule": (
        "CREATE RULE copy AS ON INSERT TO keys_key DO ALSO NOTIFY keys",
        f"{KEY}the rule copy",
    ),
    "superuser": ("ALTER ROLE byok_app SUPERUSER", "byok_app: a power"),
    "bypass": ("ALTER ROLE byok_staff BYPASSRLS", "byok_staff: a power"),
    "owner with bypass": ("ALTER ROLE byok_owner BYPASSRLS", "byok_owner: a power"),
    "role maker": ("ALTER ROLE byok_app CREATEROLE", "byok_app: a power"),
    "directory logs in": ("ALTER ROLE byok_directory LOGIN", "byok_directory: may log in"),
    "owner membership": ("GRANT byok_owner TO byok_app", "byok_app: is a member of byok_owner"),
    "staff membership": ("GRANT byok_staff TO byok_app", "byok_app: is a member of byok_staff"),
    "reads all data": ("GRANT pg_read_all_data TO byok_staff", "byok_staff: is a member of pg_read_all_data"),
    "app owns a table": ("ALTER TABLE keys_key OWNER TO byok_app", "keys_key: owned by byok_app"),
    "schema open": ("GRANT CREATE ON SCHEMA public TO byok_app", "byok_app: CREATE on the schema"),
    "default rights": (
        "ALTER DEFAULT PRIVILEGES FOR ROLE byok_owner GRANT SELECT ON TABLES TO byok_app",
        "byok_owner: rights that new objects",
    ),
}


def test_every_relation_function_and_role_keeps_tenants_apart(
    world_setup: object, admin_connection: psycopg.Connection
) -> None:
    assert sweep(admin_connection) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_the_sweep_tells_of(world_setup: object, admin_connection: psycopg.Connection, name: str) -> None:
    statements, expected = MUTANTS[name]
    with admin_connection.transaction(force_rollback=True):
        # Owned as a migration would, so that ownership is not what gives the mutant away.
        admin_connection.execute(statements)
        found = sweep(admin_connection)
    assert any(sentence.startswith(expected) for sentence in found), found


def test_mutants_leave_nothing_behind(world_setup: object, admin_connection: psycopg.Connection) -> None:
    with admin_connection.transaction(force_rollback=True):
        admin_connection.execute("GRANT byok_owner TO byok_app; ALTER ROLE byok_app SUPERUSER")
        assert len(sweep(admin_connection)) >= 2
    row = admin_connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [APP]).fetchone()
    assert row == (False,)
