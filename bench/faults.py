"""An hour of mixed load with faults in turn: nothing lost, no leak, and how long each part takes to be well again.

A PostgreSQL with fsync on and a synchronous standby; two gates, a web, worker, sequencer and readers; on one machine.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import audit_log, outcomes, seeding, standing, tables, watching  # noqa: E402
from bench.breaking import Breaker, Provider, Recovery  # noqa: E402
from bench.mixing import Cast, Ledger, flows  # noqa: E402
from bench.outcomes import Result  # noqa: E402
from bench.standing import Keeper, Ports, Servers  # noqa: E402
from bench.watching import Watch  # noqa: E402
from byok_portal import environment  # noqa: E402
from byok_portal.quickstart import roles, state  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402
from byok_portal.quickstart.postgres import _find_programs as find_programs  # noqa: E402

if TYPE_CHECKING:
    import psycopg

BACKEND: Final = "allauth.account.auth_backends.AuthenticationBackend"
OPERATOR: Final = ["key:read", "key:suspend", "key:resume", "consumer:read", "audit:read", "credential:introspect"]
ORIGIN: Final = "bench.example/audit/cell-1"
TENANTS, KEYS = 10, 300


def main() -> None:
    """Set up, run, print the tables and keep them in bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=90, help="Seconds between faults.")
    parser.add_argument("--once", action="store_true", help="Each fault once, however long that takes.")
    parser.add_argument("--only", default="", help="Names of the faults begin so.")
    parser.add_argument("--json", type=Path, help="Write the result there instead of bench/results/.")
    parser.add_argument("--dump", type=Path, help="A dump of a migrated database, which saves its migration.")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    machine, folder = tables.machine(), state.state_folder(f"bench-faults-{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(state.remove_tree, folder)
        primary = Cluster(folder / "one", durable=True)
        stack.callback(primary.stop)
        primary.start()
        prepare(primary, arguments.dump)
        collect_static()
        ports = Ports()
        cast = seed(primary, ports)
        servers = Servers(folder, primary)
        stack.callback(servers.stop)
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keeper = Keeper(logs)
        stack.callback(keeper.stop)
        standing.start_all(keeper, ports, servers, worker=("--every", "1", "--silence", "60"))
        run = Run(servers, keeper, ports, cast)
        progress = stack.enter_context(
            Progress(*Progress.get_default_columns()[:2], TimeElapsedColumn(), TextColumn("{task.fields[now]}"))
        )
        result = asyncio.run(
            run.go(arguments.minutes * 60, arguments.every, progress, once=arguments.once, only=arguments.only)
        )
        if any(what.startswith("500") for counter in result.faults.values() for what in counter):
            progress.console.print(keeper.log_ends(), markup=False)
    if arguments.json:
        arguments.json.write_text(json.dumps(dataclasses.asdict(result)))
    else:
        tables.write("faults", outcomes.report(result, machine))


def prepare(primary: Cluster, dump: Path | None) -> None:
    """A database with the portal's schema, and the settings that every process reads."""
    if dump is None:
        audit_log.prepare(primary.admin_url())
        return
    passwords = {short: secrets.token_urlsafe(16) for short in roles.LOGINS}
    roles.set_up(primary.admin_url(), name=standing.DATABASE, passwords=passwords)
    made = environment.throwaway(primary.admin_url(), name=standing.DATABASE, passwords=passwords, origin=ORIGIN)
    os.environ.update({**made, "DJANGO_SETTINGS_MODULE": "byok_portal.settings", "LOG_LEVEL": "WARNING"})
    words = ["--clean", "--if-exists", "--exit-on-error", "--single-transaction"]
    program = find_programs() / "bin" / "pg_restore"
    subprocess.run([program, *words, "-d", primary.admin_url(standing.DATABASE), dump], check=True)


def collect_static() -> None:
    """Pages name their files by what is in them."""
    if "STATIC_ROOT" in os.environ:
        return
    os.environ["STATIC_ROOT"] = str(state.state_folder("bench-static"))
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, check=True)


def seed(primary: Cluster, ports: Ports) -> Cast:
    """A few tenants with keys of a provider on this machine, operators, and somebody who is signed in."""
    import django  # noqa: PLC0415

    django.setup()
    from django.db import connections, transaction  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from byok_portal.boundary import binding  # noqa: PLC0415
    from tenants.models import Tenant, User  # noqa: PLC0415

    admin_url = primary.admin_url(standing.DATABASE)
    seeding.seed(admin_url, seeding.Sizes(TENANTS, KEYS), note=lambda _: None)
    uses = seeding.seal_hot()
    operators = {}
    for slug in dict.fromkeys(tenant for tenant, _, _ in uses):
        tenant_id = _find_tenant(admin_url, slug)
        with binding.bind_tenant(tenant_id), transaction.atomic():
            operators[slug] = seeding.issue_token(tenant_id, OPERATOR)
            assert Tenant.objects.get().slug == slug
    client, tenant = Client(), uses[0][0]
    client.force_login(User.objects.get(email=f"owner-1@{tenant}.example"), backend=BACKEND)
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    connections.close_all()
    _point_at(admin_url, ports.upstream)
    return Cast(uses, operators, tenant, cookie)


def _find_tenant(admin_url: str, slug: str) -> Any:
    with _admin(admin_url) as admin:
        row = admin.execute("SELECT id FROM tenants_tenant WHERE slug = %s", [slug]).fetchone()
    assert row
    return row[0]


def _point_at(admin_url: str, port: int) -> None:
    """Send every key's calls to the provider of this run."""
    with _admin(admin_url) as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("UPDATE keys_provider SET allow_private_networks = true WHERE slug = 'openbao'")
        admin.execute(
            'UPDATE keys_key SET endpoint = %s, parameters = \'{"mount": "secret", "prefix": "reports/"}\'',
            [f"http://127.0.0.1:{port}"],
        )


def _admin(url: str) -> psycopg.Connection:
    import psycopg  # noqa: PLC0415

    return psycopg.connect(url, autocommit=True)


class Run:
    """One run over a portal that has been started."""

    def __init__(self, servers: Servers, keeper: Keeper, ports: Ports, cast: Cast) -> None:
        self.servers, self.keeper, self.ports, self.cast = servers, keeper, ports, cast
        self.ledger, self.provider = Ledger(), Provider()
        self.breaker = Breaker(servers, keeper, ports, self.provider, cast, self.ledger)
        self.recoveries: list[Recovery] = []

    async def go(self, seconds: float, every: float, progress: Progress, *, once: bool, only: str) -> Result:
        """Load from the beginning to the end, faults in turn between."""
        watch = Watch(every=min(5.0, max(0.5, seconds / 200)), warm=min(60.0, seconds / 20))
        stopped, bar = asyncio.Event(), progress.add_task("faults", total=None if once else seconds, now="starting")
        async with AsyncExitStack() as stack:
            server = await self.provider.serve(self.ports.upstream)
            stack.callback(server.close)
            keeping = asyncio.create_task(self.keeper.keep())
            stack.callback(keeping.cancel)
            await self._wait_well(progress)
            loads = [flow.run(self.ledger, stopped) for flow in flows(self.cast, self.ports.gates, self.ports.web)]
            load = asyncio.gather(*loads)
            watching_them = asyncio.create_task(watch.run(self.keeper, self.servers))
            stack.callback(watching_them.cancel)
            began = time.monotonic()
            await self._break(began, seconds, every, progress, bar, once=once, only=only)
            stopped.set()
            await load
            progress.update(bar, now="comparing what was acknowledged with what is on record")
            findings = await asyncio.to_thread(watching.inspect, self.servers, self.ledger)
        return self._result(time.monotonic() - began, findings, watch)

    async def _wait_well(self, progress: Progress) -> None:
        """Until every part has answered once."""
        fault = self.breaker.start()
        first = await self.breaker.do(fault, time.monotonic())
        progress.console.print(first)
        assert None not in first.seconds.values(), f"{first}\n{self.keeper.log_ends()}"

    async def _break(
        self, began: float, seconds: float, every: float, progress: Progress, bar: TaskID, *, once: bool, only: str
    ) -> None:
        faults, turn = [fault for fault in self.breaker.faults() if fault.name.startswith(only)], 0
        while turn < len(faults) if once else time.monotonic() - began + every < seconds:
            fault = faults[turn % len(faults)]
            progress.update(bar, now=f"{fault.name} in {every:g} s")
            until = time.monotonic() + every
            while time.monotonic() < until:
                await asyncio.sleep(min(1.0, every))
                progress.update(bar, completed=time.monotonic() - began)
            progress.update(bar, now=fault.name)
            self.recoveries.append(await self.breaker.do(fault, began))
            progress.console.print(self.recoveries[-1])
            turn += 1
        await asyncio.sleep(every)

    def _result(self, seconds: float, findings: watching.Findings, watch: Watch) -> Result:
        samples = {name: found for name, found in watch.processes.items() if len(found) > 1}
        return Result(
            seconds=seconds,
            findings=findings,
            recoveries=self.recoveries,
            memory={name: watching.growth_of(found, "memory") for name, found in samples.items()},
            files={name: watching.growth_of(found, "files") for name, found in samples.items()},
            connections=(watch.total(last=False), watch.total(last=True)),
            latencies={kind: self.ledger.latency(kind) for kind in list(self.ledger.seconds)},
            faults={kind: dict(counter) for kind, counter in self.ledger.faults.items()},
            acknowledged=len(self.ledger.acknowledged),
        )


if __name__ == "__main__":
    main()
