"""How fast keys are used: the gate, the web's own door and peers, driven by wrk in turns; PostgreSQL with fsync on.

Ratios within one run are what counts; absolute figures move with the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.audit_log import prepare  # noqa: E402
from byok_portal.quickstart import state  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402

HOT_TENANTS, HOT_KEYS = 100, 10

# Tenants, each with a consumer, and keys that nobody uses: what the look-ups have to find their way through.
SEED = """
SET session_replication_role = replica;
INSERT INTO tenants_tenant (id, slug, name, state, created_at, ends_automatically)
SELECT uuidv7(), 'tenant-' || n, 'Tenant ' || n, 'active', now(), false FROM generate_series(1, %(tenants)s) n;
INSERT INTO tenants_user (id, password, is_superuser, email, name, is_staff, is_active, date_joined)
SELECT uuidv7(), '', false, 'person-' || n || '@tenant.example', '', false, true, now()
FROM generate_series(1, 2) n;
INSERT INTO tenants_consumer (id, tenant_id, slug, name, kind, environment, operated_by, contact, state, created_at)
SELECT uuidv7(), id, 'reports', 'Reports', 'service', 'production', 'tenant', '', 'active', now() FROM tenants_tenant;
INSERT INTO keys_key (id, tenant_id, slug, name, provider_id, endpoint, parameters, environment, custody, purpose,
  owner_id, backup_owner_id, ends_on, scopes, justification, state, account_id, account_label, registered_by_id,
  next_version, suspends_for, created_at, is_canary)
SELECT uuidv7(), t.id, 'key-' || n, 'Key ' || n, (SELECT id FROM keys_provider WHERE slug = 'openbao'),
  'http://127.0.0.1:8200', '{}', 'production', 'sealed', 'Reports', (SELECT min(id::text)::uuid FROM tenants_user),
  (SELECT max(id::text)::uuid FROM tenants_user), current_date + 300, '{secrets:read}', '', 'active', '', '',
  (SELECT min(id::text)::uuid FROM tenants_user), 2, '', now(), false
FROM tenants_tenant t, generate_series(1, %(each)s) n;
INSERT INTO keys_keyversion (id, tenant_id, key_id, number, state, hint, fingerprint, global_fingerprint, dek_version,
  end_reason, was_compromised, exposure, upstream_status, upstream_note, revoke_evidence, created_at)
SELECT uuidv7(), tenant_id, id, 1, 'active', '', uuid_send(id), uuid_send(id), 1, '', false, 'none', 'valid', '', '{}',
  now() FROM keys_key;
INSERT INTO keys_grant (id, tenant_id, key_id, consumer_id, scopes, deliveries, networks, starts_at, expires_at, state,
  reason, granted_by_id, end_reason, created_at)
SELECT uuidv7(), k.tenant_id, k.id, c.id, '{secrets:read}', '{decision,lease,broker}', '{}', now(),
  now() + interval '180 days', 'active', '', k.owner_id, '', now()
FROM keys_key k JOIN tenants_consumer c ON c.tenant_id = k.tenant_id;
"""

LUA = """
local uses = {}
for line in io.lines("%(uses)s") do
  local path, token = line:match("(%%S+) (%%S+)")
  uses[#uses + 1] = wrk.format("POST", path, {["Authorization"] = "Bearer " .. token,
    ["Content-Type"] = "application/json", ["Host"] = "localhost"}, '%(body)s')
end
math.randomseed(os.time())
request = function() return uses[math.random(#uses)] end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests a second, milliseconds at the median and at 99 %, answers that were not 2xx."""

    rate: float
    p50: float
    p99: float
    errors: int


def drive(url: str, script: Path, *, connections: int, seconds: int) -> Load:
    """One run of wrk."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Load(
        rate=float(_find(r"Requests/sec:\s+([\d.]+)", out)),
        p50=_milliseconds(_find(r"50%\s+(\S+)", out)),
        p99=_milliseconds(_find(r"99%\s+(\S+)", out)),
        errors=int(match[1]) if (match := re.search(r"Non-2xx or 3xx responses: (\d+)", out)) else 0,
    )


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


def seed(admin_url: str, *, tenants: int, keys: int) -> None:
    """Rows of every kind that a use looks through."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for statement in SEED.split(";\n"):
            text = statement.replace("%(tenants)s", str(tenants)).replace(
                "%(each)s", str(max(HOT_KEYS, keys // tenants))
            )
            if text.strip():
                admin.execute(text)
        admin.execute("RESET session_replication_role")


def seal_hot() -> list[tuple[str, str, str]]:
    """Tokens and real sealed credentials for the keys that are used: (tenant, key, token) for each."""
    from django.db import transaction  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from byok_portal.boundary import binding  # noqa: PLC0415
    from byok_portal.boundary.secrets import Secret  # noqa: PLC0415
    from keys.models import Key, KeyVersion, Material  # noqa: PLC0415
    from keys.services import custody  # noqa: PLC0415
    from tenants import tokens  # noqa: PLC0415
    from tenants.models import Consumer, ConsumerToken  # noqa: PLC0415

    with psycopg.connect(os.environ["DATABASE_URL_OWNER"].replace("postgres://", "postgresql://")) as owner:
        owner.execute("SET app.maintenance = 'on'")
        rows = owner.execute("SELECT id, slug FROM tenants_tenant ORDER BY random() LIMIT %s", [HOT_TENANTS]).fetchall()
    uses = []
    for tenant_id, slug in rows:
        with binding.bind_tenant(tenant_id), transaction.atomic():
            issued = tokens.issue()
            ConsumerToken.objects.create(
                tenant_id=tenant_id,
                consumer=Consumer.objects.get(),
                digest=issued.digest,
                prefix=issued.prefix,
                last_four=issued.last_four,
                scopes=["key:use"],
                expires_at=timezone.now() + timezone.timedelta(days=30),
            )
            custody.make_audit_key().save(force_insert=True)
            for key in Key.objects.order_by("slug")[:HOT_KEYS]:
                number = 1
                dek, blob = custody.seal_version(Secret("hvs." + "x" * 90), key_id=key.id, number=number)
                version = KeyVersion.objects.get(key_id=key.id)
                assert dek == 1
                Material.objects.create(tenant_id=tenant_id, version_id=version.id, blob=blob)
                uses.append((slug, key.slug, issued.plaintext.reveal_text()))
    return uses


def main() -> None:
    """Set up, measure, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--connections", default="1,8,32")
    arguments = parser.parse_args()
    cluster = Cluster(state.state_folder("bench-uses"), durable=True)
    cluster.start()
    try:
        admin_url = prepare(cluster.admin_url())
        import django  # noqa: PLC0415

        django.setup()
        started = time.perf_counter()
        seed(admin_url, tenants=arguments.tenants, keys=arguments.keys)
        folder = Path(tempfile.mkdtemp())
        uses = seal_hot()
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
            admin.execute("CHECKPOINT")
        print(f"seeded in {time.perf_counter() - started:.0f} s", flush=True)  # noqa: T201
        (folder / "uses.txt").write_text(
            "".join(f"/api/v1/tenants/{t}/keys/{k}/use/ {token}\n" for t, k, token in uses)
        )
        scripts = {}
        for name, body in (("decision", {}), ("lease", {"delivery": "lease"})):
            scripts[name] = folder / f"{name}.lua"
            text = json.dumps({"scope": "secrets:read", "purpose": "report", **body})
            scripts[name].write_text(LUA % {"uses": folder / "uses.txt", "body": text})
        settings = {**os.environ, "DATABASE_URL": os.environ["DATABASE_URL_GATE"], "ALLOWED_HOSTS": "localhost"}
        gate = subprocess.Popen(
            [sys.executable, os.environ.get("GATE_SCRIPT", "manage.py"), "gate", "--port", "8765"],
            cwd=ROOT,
            env=settings,
        )
        time.sleep(3)
        try:
            for name, script in scripts.items():
                for connections in map(int, arguments.connections.split(",")):
                    load = drive("http://127.0.0.1:8765", script, connections=connections, seconds=arguments.seconds)
                    print(name, connections, load, flush=True)  # noqa: T201
            rss = Path(f"/proc/{gate.pid}/status").read_text()
            print(re.search(r"VmRSS.*", rss)[0])  # noqa: T201
        finally:
            gate.terminate()
            gate.wait()
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
