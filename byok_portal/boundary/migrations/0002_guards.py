"""Row-level security of the doors' own tables, the watchdog's look-up, and the shared cache table."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from byok_portal.boundary.schema import APP, STAFF, DirectoryFunction, TenantTable, Transitions

_CACHE = """
CREATE TABLE byok_cache (cache_key varchar(255) PRIMARY KEY, value text NOT NULL, expires timestamptz NOT NULL);
CREATE INDEX byok_cache_expires ON byok_cache (expires);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("boundary", "0001_initial")]
    operations: ClassVar = [
        TenantTable("Job", grants={APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"}),
        TenantTable("IdempotencyRecord", grants={APP: "SELECT, INSERT, UPDATE, DELETE"}),
        Transitions(
            "Job", allowed={"queued": ["running", "dead"], "running": ["queued", "done", "dead"], "dead": ["queued"]}
        ),
        DirectoryFunction(
            "directory_due_jobs",
            arguments="at_most integer",
            returns="TABLE (tenant_id uuid, id uuid)",
            query=(
                "SELECT j.tenant_id, j.id FROM boundary_job j WHERE (j.state = 'queued' AND j.run_after <= now()) "
                "OR (j.state = 'running' AND j.lease_until <= now()) ORDER BY j.run_after LIMIT at_most"
            ),
            reads={"boundary_job": "tenant_id, id, state, run_after, lease_until"},
        ),
        DirectoryFunction(
            name="directory_running_jobs",
            arguments="",
            returns="boolean",
            query=("SELECT EXISTS (SELECT 1 FROM boundary_job j WHERE j.state = 'running' AND j.lease_until > now())"),
            reads={"boundary_job": "tenant_id, id, state, run_after, lease_until"},
        ),
        # Django's cache table, made here so that the runtime role needs no right to create tables.
        migrations.RunSQL(_CACHE, "DROP TABLE byok_cache"),
    ]
