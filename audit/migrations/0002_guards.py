"""The audit tables are append-only: by policy, by grant, and by triggers that fire for every role and in every mode.

Entries lie in partitions by position, made ahead of need by one narrow function that the sequencer may call.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from byok_portal.boundary.schema import APP, AUDITOR, READER, SEQUENCER, STAFF, TenantTable

_PARTITION = """
DROP TABLE audit_entry;
CREATE TABLE audit_entry (
  idx bigint NOT NULL, tseq bigint NOT NULL, tenant_id uuid NOT NULL, event_id uuid NOT NULL, leaf text NOT NULL,
  CONSTRAINT audit_entry_pkey PRIMARY KEY (idx)
) PARTITION BY RANGE (idx);
ALTER TABLE audit_entry ALTER COLUMN leaf SET STORAGE EXTERNAL;
CREATE INDEX audit_entry_event ON audit_entry (event_id);
INSERT INTO audit_logstate (id, size, waiting, beat_at, sequencer, lag_ms, fault, partition_rows, pruned_to)
VALUES (1, 0, 0, now(), '', 0, '', 10000000, 0);
"""
_UNPARTITION = """
DROP TABLE audit_entry;
CREATE TABLE audit_entry (idx bigint PRIMARY KEY, tenant_id uuid, tseq bigint, event_id uuid, leaf text);
DELETE FROM audit_logstate;
"""

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

CREATE FUNCTION audit_refuse_unless_app() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF current_user <> 'byok_app' THEN
    RAISE EXCEPTION '%: only an erasure may %', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION audit_refuse, audit_refuse_unless_sequencer, audit_refuse_unless_app FROM PUBLIC;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_tile
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoint
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON audit_inbox
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER only_sequencer BEFORE DELETE ON audit_inbox
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_unless_sequencer();
-- Personal data may go (erasure, by the web login), never change.
CREATE TRIGGER only_app BEFORE DELETE ON audit_private
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_unless_app();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON audit_private
  FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- ALWAYS: ordinary triggers are skipped in replica mode.
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_tile ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_inbox ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_inbox ENABLE ALWAYS TRIGGER only_sequencer;
ALTER TABLE audit_private ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_private ENABLE ALWAYS TRIGGER only_app;

ALTER TABLE audit_inbox ADD CONSTRAINT audit_inbox_small CHECK (octet_length(body) <= 16384);
-- What the sequencer takes from: without it every batch would sort the whole backlog.
CREATE INDEX audit_inbox_order ON audit_inbox (event_id, tenant_id);
ALTER TABLE audit_inbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE audit_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
ALTER TABLE audit_tile ADD CONSTRAINT audit_tile_full CHECK (octet_length(hashes) = 8192);

-- A partition of its own needs the triggers again: statement triggers are not inherited (measured.md 1.4). It is made
-- beside the log and attached, so that no reader of the log is locked out.
CREATE FUNCTION audit_add_partition(start bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = public, pg_temp AS $$
DECLARE
  width bigint := (SELECT partition_rows FROM audit_logstate WHERE id = 1);
  part text := 'audit_entry_' || lpad(start::text, 12, '0');
BEGIN
  IF start < 0 OR to_regclass('public.' || part) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE public.%I (LIKE public.audit_entry INCLUDING DEFAULTS INCLUDING STORAGE)', part);
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
  EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC', part);
  EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON public.%I '
                 'FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse()', part);
  EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER append_only', part);
  EXECUTE format('ALTER TABLE public.audit_entry ATTACH PARTITION public.%I FOR VALUES FROM (%s) TO (%s)',
                 part, start, start + width);
END $$;
REVOKE ALL ON FUNCTION audit_add_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_add_partition TO byok_sequencer;
SELECT audit_add_partition(0);
"""
_ALLOW = """
DROP FUNCTION audit_add_partition;
DROP TRIGGER append_only ON audit_tile; DROP TRIGGER append_only ON audit_checkpoint;
DROP TRIGGER append_only ON audit_inbox; DROP TRIGGER only_sequencer ON audit_inbox;
DROP TRIGGER append_only ON audit_private; DROP TRIGGER only_app ON audit_private;
DROP FUNCTION audit_refuse_unless_app;
DROP FUNCTION audit_refuse CASCADE; DROP FUNCTION audit_refuse_unless_sequencer;
"""
_HEADS = {SEQUENCER: "SELECT", AUDITOR: "SELECT", READER: "SELECT"}


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0001_initial")]
    operations: ClassVar = [
        migrations.RunSQL(_PARTITION, _UNPARTITION),
        TenantTable(
            "InboxEvent",
            grants={APP: "INSERT", STAFF: "INSERT", SEQUENCER: "SELECT, DELETE"},
            key=("tenant_id", "event_id"),
        ),
        TenantTable(
            "Entry",
            grants={APP: "SELECT", STAFF: "SELECT", SEQUENCER: "SELECT, INSERT", AUDITOR: "SELECT", READER: "SELECT"},
            key=("tenant_id", "tseq"),
            position="idx",
        ),
        TenantTable(
            "DataKey",
            grants={APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT, INSERT"},
            key=("tenant_id",),
        ),
        TenantTable(
            "PrivateDetail",
            grants={APP: "SELECT, INSERT, DELETE", STAFF: "SELECT, INSERT"},
            key=("tenant_id", "event_id"),
        ),
        TenantTable(
            "TenantHead",
            grants={APP: "SELECT", STAFF: "SELECT", **_HEADS, SEQUENCER: "SELECT, INSERT, UPDATE"},
            key=("tenant_id",),
        ),
        TenantTable("PrunedHead", grants={APP: "SELECT", **_HEADS}, key=("tenant_id",)),
        TenantTable(
            "UsageDay",
            grants={APP: "SELECT", STAFF: "SELECT", READER: "SELECT, INSERT, UPDATE, DELETE"},
            key=("tenant_id", "day", "key_id", "consumer_id", "scope"),
        ),
        TenantTable(
            "SearchBlock",
            grants={APP: "SELECT", STAFF: "SELECT", READER: "SELECT, INSERT, UPDATE, DELETE"},
            key=("tenant_id", "number"),
        ),
        migrations.RunSQL(_REFUSE, _ALLOW),
    ]
