"""How long the reminder sweep takes over many keys, and how much memory: on a PostgreSQL of its own with fsync on.

`first`: nothing was ever said, so every deadline of the coming weeks is. `a day`: what one day brings after that.
`idle`: the sweep again, with nothing to say. The floors are those of 1,000,000 keys.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.audit_log import prepare, report  # noqa: E402
from byok_portal.quickstart import state  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402

FLOOR_SECONDS, FLOOR_MEGABYTES = 30, 200

# Deadlines spread as in life: a key ends within the year, a proof within its 90 days, a grant within half a year.
SEED = """
SET session_replication_role = replica;
INSERT INTO tenants_tenant (id, slug, name, state, contract_ends_on, created_at)
SELECT gen_random_uuid(), 'tenant-' || n, 'Tenant ' || n, 'active', current_date + (random() * 365)::int, now()
FROM generate_series(1, %(tenants)s) n;
INSERT INTO tenants_user (id, password, is_superuser, email, name, is_staff, is_active, date_joined)
SELECT gen_random_uuid(), '', false, 'person-' || n || '@tenant.example', '', false, true, now()
FROM generate_series(1, %(tenants)s * 3) n;
INSERT INTO tenants_membership (id, tenant_id, user_id, role, is_active, created_at)
SELECT gen_random_uuid(), t.id, u.id, 'owner', true, now()
FROM (SELECT id, row_number() OVER () AS n FROM tenants_tenant) t
JOIN (SELECT id, row_number() OVER () AS n FROM tenants_user) u ON (u.n - 1) / 3 + 1 = t.n;
CREATE TEMP TABLE owners AS SELECT tenant_id, array_agg(user_id) AS people FROM tenants_membership GROUP BY tenant_id;
INSERT INTO tenants_consumer (id, tenant_id, slug, name, kind, environment, operated_by, contact, state, created_at)
SELECT gen_random_uuid(), id, 'reports', 'Reports', 'service', 'production', 'tenant', '', 'active', now()
FROM tenants_tenant;
INSERT INTO keys_key (id, tenant_id, slug, name, provider_id, endpoint, parameters, environment, custody, purpose,
  owner_id, backup_owner_id, ends_on, scopes, justification, state, account_id, account_label, registered_by_id,
  next_version, suspends_for, rotation_due_at, created_at)
SELECT gen_random_uuid(), o.tenant_id, 'key-' || n, 'Key ' || n, (SELECT id FROM keys_provider LIMIT 1), '', '{}',
  'production', 'sealed', 'Reports', o.people[1 + n %% 3], o.people[1 + (n + 1) %% 3],
  current_date + 2 + (random() * 363)::int, '{}', '', 'active', '', '', o.people[1], 2, '',
  now() + random() * interval '365 days', now()
FROM owners o, generate_series(1, %(each)s) n;
INSERT INTO keys_keyversion (id, tenant_id, key_id, number, state, hint, fingerprint, global_fingerprint, dek_version,
  expires_at, end_reason, was_compromised, exposure, upstream_status, upstream_note, revoke_evidence, created_at)
SELECT gen_random_uuid(), tenant_id, id, 1, 'active', '', uuid_send(id), uuid_send(id), 1,
  CASE WHEN random() < 0.5 THEN now() + interval '2 days' + random() * interval '363 days' END, '', false, 'none',
  'valid', '', '{}', now()
FROM keys_key;
INSERT INTO keys_proof (id, tenant_id, key_id, version_id, challenge, method, account_id, account_label, evidence,
  missing, excess, expires_at, created_at)
SELECT gen_random_uuid(), tenant_id, key_id, id, '', 'token', '', '', '{}', '{}', '[]',
  now() + interval '2 days' + random() * interval '88 days', now()
FROM keys_keyversion;
INSERT INTO keys_grant (id, tenant_id, key_id, consumer_id, scopes, deliveries, networks, starts_at, expires_at, state,
  reason, granted_by_id, end_reason, created_at)
SELECT gen_random_uuid(), k.tenant_id, k.id, c.id, '{}', '{}', '{}', now(),
  now() + interval '2 days' + random() * interval '180 days', 'active', '', k.owner_id, '', now()
FROM keys_key k JOIN tenants_consumer c ON c.tenant_id = k.tenant_id;
"""
SWEEP = "import sys; from bench import reminders; reminders.sweep(sys.argv[1])"


def main() -> None:
    """Set up, measure, print one line per figure; exit code 1 when a floor is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    arguments = parser.parse_args()
    cluster = Cluster(state.state_folder("bench"), durable=True)
    cluster.start()
    try:
        admin_url = prepare(cluster.admin_url())
        missed = measure(admin_url, arguments.keys, arguments.tenants)
    finally:
        cluster.stop()
    sys.exit(1 if missed else 0)


def measure(admin_url: str, keys: int, tenants: int) -> int:
    """Seed and sweep. Returns how many floors were missed."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for statement in SEED.split(";\n"):
            text = statement.replace("%(tenants)s", str(tenants)).replace("%(each)s", str(keys // tenants))
            if text.strip():
                admin.execute(text.replace("%%", "%"))
        admin.execute("RESET session_replication_role")
        admin.execute("VACUUM ANALYZE")
        today = datetime.now(UTC).date()
        missed = 0
        for what, day in (("first", today), ("a day", today + timedelta(days=1)), ("idle", today + timedelta(days=1))):
            seconds, said, megabytes = run(str(day))
            admin.execute("VACUUM ANALYZE tenants_reminder")
            print(f"{what}: {said:,} deadlines spoken of", flush=True)  # noqa: T201
            limit = FLOOR_SECONDS if what != "first" else 3600
            missed += report(f"{what}: sweep over {keys:,} keys", seconds, limit, "s", at_most=True)
            missed += report(f"{what}: memory", megabytes, FLOOR_MEGABYTES, "MB", at_most=True)
    return missed


def run(day: str) -> tuple[float, int, float]:
    """(seconds, deadlines, megabytes) of one sweep in a process of its own, as a worker's would be."""
    done = subprocess.run([sys.executable, "-c", SWEEP, day], cwd=ROOT, check=True, capture_output=True, text=True)
    seconds, said, megabytes = done.stdout.split()
    return float(seconds), int(said), float(megabytes)


def sweep(day: str) -> None:
    """In the child: one sweep, timed."""
    import django  # noqa: PLC0415

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "byok_portal.settings")
    django.setup()
    from keys import tasks  # noqa: PLC0415

    started = time.perf_counter()
    said = tasks.remind_on(datetime.fromisoformat(day).date())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.2f} {said} {peak:.0f}")  # noqa: T201


if __name__ == "__main__":
    main()
