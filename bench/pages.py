"""How long pages and API answers take with ten thousand tenants, and how each grows: the same at a tenth of the data.

Both portals run side by side and are asked in turns, so that what else the machine does slows both alike.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import driving, tables  # noqa: E402
from bench.cells import Cell  # noqa: E402
from bench.driving import Scripts, Servers, Target, drive, free_port  # noqa: E402
from bench.seeding import Sizes  # noqa: E402
from bench.visits import Browser, Visit, list_visits  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOW_MS, GROWS, USE_GROWS = 300, 1.5, 1.10
SCALE = 10
WARM = 5
SECONDS = 3
_USES_HEAD = ("", "p50 ms at a tenth", "p50 ms", "grows", "")

Taken = dict[tuple[str, str], tuple[list[float], list[float]]]
"""Milliseconds by name and tenant: at a tenth, and whole."""


def main() -> None:
    """Seed, visit, print a table and keep it; exit code 1 when an address fails or uses grow more than they may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--requests", type=int, default=100, help="Of each address, to each of both portals.")
    parser.add_argument("--rounds", type=int, default=7, help="Of uses through the gate, three seconds each.")
    parser.add_argument("--only", default="", help="Names of what is visited begin so, such as 'page: keys'.")
    parser.add_argument("--keep", action="store_true", help="Keep both databases for the next run (about 15 GB).")
    arguments = parser.parse_args()
    driving.require_wrk()
    whole = Sizes(arguments.tenants, arguments.keys, arguments.entries)
    tenth = Sizes(*(max(1, size // SCALE) for size in (whole.tenants, whole.keys, whole.entries)))
    cells = (
        Cell("bench-pages-tenth", tenth, keep=arguments.keep),
        Cell("bench-pages-whole", whole, keep=arguments.keep),
    )
    about = tables.machine()
    with contextlib.ExitStack() as stack:
        for cell in cells:
            stack.callback(cell.stop)
            cell.start()
        taken, growths = measure(cells, arguments)
    tables.write("pages", describe(taken, growths, whole, about, arguments.requests))
    failed = not all(after for _, after in taken.values())
    sys.exit(1 if failed or any(after > before * USE_GROWS for before, after in growths.values()) else 0)


def measure(cells: Sequence[Cell], arguments: argparse.Namespace) -> tuple[Taken, dict[int, tuple[float, float]]]:
    """Milliseconds of every visit, and of uses through the gate by connections, at both sizes."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as name, Progress(transient=True) as progress:
        browsers, visits, gates = [], [], []
        for number, cell in enumerate(cells):
            folder = Path(name) / str(number)
            folder.mkdir()
            servers = Servers({**cell.environment, "STATIC_ROOT": str(folder / "static")})
            stack.enter_context(servers.stack)
            collect_static(servers)
            web, gate = free_port(), free_port()
            servers.web(web)
            servers.gate(gate)
            browsers.append(Browser(web))
            visits.append([each for each in list_visits(cell.visitors()) if each.name.startswith(arguments.only)])
            gates.append(Target(f"http://127.0.0.1:{gate}", Scripts(folder, cell.uses).use("decision")))
        taken = visit_all(browsers, visits, arguments.requests, progress)
        return taken, {} if arguments.only else drive_both(gates, arguments.rounds, progress)


def collect_static(servers: Servers) -> None:
    """The pages' files, as an installation has them."""
    command = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(command, check=True, cwd=ROOT, env=servers.environment)


def visit_all(
    browsers: Sequence[Browser], visits: Sequence[Sequence[Visit]], requests: int, progress: Progress
) -> Taken:
    """Each address again and again, in turns at both sizes."""
    taken: Taken = {}
    visiting = progress.add_task("visiting", total=len(visits[0]))
    for pair in zip(*visits, strict=True):
        progress.update(visiting, description=f"{pair[0].name} ({pair[0].who})")
        try:
            taken[pair[0].name, pair[0].who] = visit_both(browsers, pair, requests)
        except RuntimeError as error:  # one address must not end hours of measuring
            progress.console.print(error)
            taken[pair[0].name, pair[0].who] = ([], [])
        progress.advance(visiting)
    return taken


def visit_both(browsers: Sequence[Browser], pair: Sequence[Visit], requests: int) -> tuple[list[float], list[float]]:
    """One address at both sizes. Raises RuntimeError when it does not answer well."""
    both: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM + requests):
        for browser, visit, times in zip(browsers, pair, both, strict=True):
            took = browser.time(visit)
            if number >= WARM:
                times.append(took)
    return both


def drive_both(gates: Sequence[Target], rounds: int, progress: Progress) -> dict[int, tuple[float, float]]:
    """Median milliseconds of a use through the gate, by connections: at a tenth, and whole."""
    driving_task = progress.add_task("uses", total=3 * rounds)
    found = {}
    for connections in (1, 8, 32):
        both: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for target, times in zip(gates, both, strict=True):
                times.append(drive(target, connections=connections, seconds=SECONDS).p50)
            progress.advance(driving_task)
        found[connections] = (statistics.median(both[0]), statistics.median(both[1]))
    return found


def describe(taken: Taken, growths: dict[int, tuple[float, float]], sizes: Sizes, about: str, requests: int) -> str:
    """Both tables."""
    head = ("", "tenant", "p50 ms at a tenth", "p99", "p50 ms", "p99", "grows", "")
    rows = [(name, who, *_row(*both)) for (name, who), both in taken.items()]
    uses = [
        (f"use through the gate, {connections} at once", *tables.ms(*both), _times(*both), _judge(*both))
        for connections, both in growths.items()
    ]
    much = f"{sizes.tenants:,} tenants, {sizes.keys:,} keys, {sizes.entries:,} entries"
    largest = f"the largest tenant has {sizes.largest:,} keys and {sizes.entries // 100:,} entries"
    parts: tuple[str, ...] = (
        f"# Pages and API answers, {time.strftime('%Y-%m-%d %H:%M')}",
        f"{much}; {largest}. {requests} requests each, one at a time. {about}",
        tables.table(head, rows),
    )
    if uses:
        parts += ("## Uses with ten times the tenants, keys and entries", tables.table(_USES_HEAD, uses))
    return "\n\n".join(parts) + "\n"


def _row(before: list[float], after: list[float]) -> tuple[str, ...]:
    if not after:
        return ("-", "-", "-", "-", "-", "FAILED")
    p50, grown = statistics.median(after), statistics.median(after) / statistics.median(before)
    flags = [flag for flag, is_so in (("SLOW", p50 > SLOW_MS), ("GROWS", grown > GROWS)) if is_so]
    figures = tables.ms(statistics.median(before), _p99(before), p50, _p99(after))
    return (*figures, f"{grown:.2f}x", " ".join(flags))


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[-1] if len(times) > 1 else times[0]


def _times(before: float, after: float) -> str:
    return f"{after / before:.2f}x"


def _judge(before: float, after: float) -> str:
    return "MISSED" if after > before * USE_GROWS else "met"


if __name__ == "__main__":
    main()
