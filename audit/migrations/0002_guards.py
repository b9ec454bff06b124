"""The audit tables are append-only: by policy, by grant, and by triggers that fire for every role and in every mode."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from byok_portal.boundary.schema import APP, AUDITOR, SEQUENCER, STAFF, TenantTable

_REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

-- The sequencer takes rows out of the inbox when it has numbered them; nobody else does.
CREATE FUNCTION audit_refuse_unless_sequencer() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF current_user <> 'byok_sequencer' THEN
    RAISE EXCEPTION '%: only the sequencer may %', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION audit_refuse, audit_refuse_unless_sequencer FROM PUBLIC;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON audit_inbox
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER only_sequencer BEFORE DELETE ON audit_inbox
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_unless_sequencer();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_private
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- ALWAYS: ordinary triggers are skipped in replica mode.
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_inbox ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_inbox ENABLE ALWAYS TRIGGER only_sequencer;
ALTER TABLE audit_private ENABLE ALWAYS TRIGGER append_only;

ALTER TABLE audit_entry ADD CONSTRAINT audit_entry_idx_once UNIQUE (idx);
ALTER TABLE audit_entry ADD CONSTRAINT audit_entry_event_once UNIQUE (tenant_id, event_id);
ALTER TABLE audit_entry ALTER COLUMN leaf SET STORAGE EXTERNAL;
ALTER TABLE audit_inbox ADD CONSTRAINT audit_inbox_small CHECK (octet_length(body) <= 16384);
ALTER TABLE audit_inbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
"""
_ALLOW = """
DROP TRIGGER append_only ON audit_entry; DROP TRIGGER append_only ON audit_inbox;
DROP TRIGGER only_sequencer ON audit_inbox; DROP TRIGGER append_only ON audit_private;
DROP FUNCTION audit_refuse; DROP FUNCTION audit_refuse_unless_sequencer;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0001_initial")]
    operations: ClassVar = [
        TenantTable(
            "InboxEvent",
            grants={APP: "INSERT", STAFF: "INSERT", SEQUENCER: "SELECT, DELETE"},
            key=("tenant_id", "event_id"),
        ),
        TenantTable(
            "Entry",
            grants={APP: "SELECT", STAFF: "SELECT", SEQUENCER: "SELECT, INSERT", AUDITOR: "SELECT"},
            key=("tenant_id", "tseq"),
        ),
        TenantTable(
            "PrivateDetail",
            grants={APP: "SELECT, INSERT", STAFF: "SELECT, INSERT"},
            key=("tenant_id", "event_id"),
        ),
        TenantTable(
            "TenantHead",
            grants={APP: "SELECT", SEQUENCER: "SELECT, INSERT, UPDATE", AUDITOR: "SELECT"},
            key=("tenant_id",),
        ),
        migrations.RunSQL(_REFUSE, _ALLOW),
    ]
