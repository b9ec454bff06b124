"""How fast keys are used: the gate, the web's own door and peers, driven by wrk in turns; PostgreSQL with fsync on.

Ratios within one run are what counts; absolute figures move with the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from rich.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import driving, goals, seeding, tables  # noqa: E402
from bench.audit_log import prepare  # noqa: E402
from bench.driving import Servers, Target, ask_use, drive, family, free_port, megabytes  # noqa: E402
from bench.peers import GATE, NUMBERED, PGBENCH, Peers, Pgbench, forget_plain, rows_waiting  # noqa: E402
from byok_portal.quickstart import state  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402

if TYPE_CHECKING:
    from bench.tables import Figures

STARTS = 5
ALL_NUMBERED_SECONDS = 900


def main() -> None:
    """Set up, measure in turns, print both tables and keep them; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=5, help="Of each measurement.")
    parser.add_argument("--rounds", type=int, default=3, help="How often each is driven; the median counts.")
    parser.add_argument("--connections", default="1,8,32")
    parser.add_argument("--only", default="", help="Names of what is driven begin so.")
    arguments = parser.parse_args()
    driving.require_wrk()
    cluster = Cluster(state.state_folder("bench-uses"), durable=True)
    cluster.start()
    try:
        missed = run(prepare(cluster.admin_url()), arguments)
    finally:
        cluster.stop()
    sys.exit(1 if missed else 0)


def run(admin_url: str, arguments: argparse.Namespace) -> bool:
    """One run: seed, start everything, drive each in turns. Returns whether a goal was missed."""
    import django  # noqa: PLC0415

    django.setup()
    about = tables.machine()
    sizes = seeding.Sizes(arguments.tenants, arguments.keys)
    with Progress(transient=True) as progress, tempfile.TemporaryDirectory() as name:
        seeded = progress.add_task("seeding", total=None)
        seeding.seed(admin_url, sizes, note=lambda what: progress.update(seeded, description=f"seeding: {what}"))
        uses = seeding.seal_hot()
        seeding.tidy(admin_url)
        progress.remove_task(seeded)
        servers = Servers(driving.environment())
        with servers.stack:
            peers = Peers(admin_url, Path(name), uses, servers)
            figures = measure(peers, arguments, progress)
            found = measure_alone(peers, progress)
    reached = goals.list_goals(figures, found)
    tables.write("uses", describe(figures, reached, about, arguments))
    return any(goal.is_missed for goal in reached)


def measure(peers: Peers, arguments: argparse.Namespace, progress: Progress) -> Figures:
    """In turns, so that a slow minute slows all alike; last, what the running sequencer costs."""
    targets = peers.start(arguments.only)
    counts = [int(text) for text in arguments.connections.split(",")]
    figures: Figures = {name: {n: [] for n in counts} for name in targets}
    pgbench = None if arguments.only else Pgbench(peers.admin_url, peers.uses)
    if pgbench is not None:
        figures[PGBENCH] = {n: [] for n in counts}
    driven = progress.add_task("driving", total=arguments.rounds * len(counts) * len(figures))
    for target in targets.values():
        drive(target, connections=4, seconds=1)  # warm
    for _ in range(arguments.rounds):
        for connections in counts:
            for name, target in targets.items():
                progress.update(driven, description=f"{name}, {connections} connections")
                figures[name][connections].append(drive(target, connections=connections, seconds=arguments.seconds))
                progress.advance(driven)
            if pgbench is not None:
                progress.update(driven, description=f"pgbench, {connections} connections")
                figures[PGBENCH][connections].append(pgbench.run(connections, arguments.seconds))
                progress.advance(driven)
    if NUMBERED.startswith(arguments.only) and GATE in targets:
        figures[NUMBERED] = measure_numbered(peers, targets[GATE], counts, arguments, progress)
    return figures


def measure_numbered(
    peers: Peers, target: Target, counts: list[int], arguments: argparse.Namespace, progress: Progress
) -> dict[int, list[driving.Load]]:
    """The gate beside the sequencer, which takes its part of the cores. What waits is numbered before."""
    numbering = progress.add_task("numbering what waits", total=None)
    with psycopg.connect(peers.admin_url, autocommit=True) as admin:
        forget_plain(admin)
        peers.pids["sequencer"] = peers.servers.spawn("manage.py", "sequencer").pid
        deadline = time.monotonic() + ALL_NUMBERED_SECONDS
        while waiting := rows_waiting(admin):
            assert time.monotonic() < deadline, "the sequencer does not keep up"
            progress.update(numbering, description=f"numbering what waits: {waiting:,}")
            time.sleep(0.5)
    loads: dict[int, list[driving.Load]] = {n: [] for n in counts}
    for _ in range(arguments.rounds):
        for connections in counts:
            progress.update(numbering, description=f"{NUMBERED}, {connections} connections")
            loads[connections].append(drive(target, connections=connections, seconds=arguments.seconds))
    progress.remove_task(numbering)
    return loads


def measure_alone(peers: Peers, progress: Progress) -> dict[str, float]:
    """What needs no load: memory of the processes after theirs, and how soon a gate answers."""
    found = {goals.GATE_MEMORY: megabytes(peers.pids["gate"])}
    if "web" in peers.pids:
        found[goals.WEB_MEMORY] = max(megabytes(pid) for pid in family(peers.pids["web"])[1:])
    if "sequencer" in peers.pids:
        found[goals.SEQUENCER_MEMORY] = megabytes(peers.pids["sequencer"])
    starting = progress.add_task("starting gates", total=STARTS)
    times = []
    for _ in range(STARTS):
        times.append(time_start(peers))
        progress.advance(starting)
    found[goals.START] = statistics.median(times)
    return found


def time_start(peers: Peers) -> float:
    """Seconds from the start of a gate to its first allowed use."""
    port, began = free_port(), time.perf_counter()
    process = peers.servers.gate(port)
    status = ask_use(port, peers.uses[0])
    took = time.perf_counter() - began
    driving.stop(process)
    assert status == 200, f"a fresh gate answered {status}"
    return took


def describe(figures: Figures, reached: list[goals.Goal], about: str, arguments: argparse.Namespace) -> str:
    """Both tables."""
    missed = sum(goal.is_missed for goal in reached)
    spent = f"{arguments.rounds} rounds of {arguments.seconds} s"
    parts = (
        f"# Uses per second, {time.strftime('%Y-%m-%d %H:%M')}",
        f"{arguments.keys:,} keys, {arguments.tenants:,} tenants; {spent}. {about}",
        tables.rates(figures, GATE),
        f"## Goals: {missed or 'none'} missed",
        goals.as_table(reached),
    )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
