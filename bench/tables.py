"""Results as Markdown, with the machine that they are of; one file for each run in bench/results/."""

from __future__ import annotations

import os
import re
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.driving import ROOT, Load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Figures = dict[str, dict[int, list[Load]]]
"""Loads by name and connections, one per round."""


def rate_of(figures: Figures, name: str, connections: int) -> float | None:
    """The median rate of the rounds; None for what was not driven."""
    loads = figures.get(name, {}).get(connections)
    return statistics.median([load.rate for load in loads]) if loads else None


def latency_of(figures: Figures, name: str, connections: int, part: str) -> float | None:
    """The median of the rounds' `p50` or `p99`."""
    loads = figures.get(name, {}).get(connections)
    return statistics.median([float(getattr(load, part)) for load in loads]) if loads else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, figures to the right of their columns' first."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rates(figures: Figures, against: str) -> str:
    """Medians with their spread, and the rate of `against` over each."""
    head = ("", "connections", "per second", "lowest", "highest", "p50 ms", "p99 ms", "not 2xx", "gate's rate over it")
    rows = []
    for name, by_count in figures.items():
        for connections, loads in by_count.items():
            if loads:
                own, rate = rate_of(figures, against, connections), rate_of(figures, name, connections)
                rows.append((name, str(connections), *_row(loads), f"{own / rate:.2f}" if own and rate else "-"))
    return table(head, rows)


def _row(loads: Sequence[Load]) -> tuple[str, ...]:
    each = [load.rate for load in loads]
    p50, p99 = (statistics.median([getattr(load, part) for load in loads]) for part in ("p50", "p99"))
    errors = str(sum(load.errors for load in loads))
    return (*(f"{rate:,.0f}" for rate in (statistics.median(each), min(each), max(each))), *ms(p50, p99), errors)


def ms(*values: float) -> tuple[str, ...]:
    """Milliseconds."""
    return tuple(f"{value:.2f}" if value < 10 else f"{value:,.0f}" for value in values)


def machine() -> str:
    """What the figures are of."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) / 1024**2
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores shared by everything ({found[1] if found else 'unknown processor'}), {memory:.0f} GB; "
        f"PostgreSQL with fsync on; load when it began: {load:.1f}."
    )


def write(name: str, text: str) -> Path:
    """Print and keep a result."""
    print(text)  # noqa: T201
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M')}.md"
    path.write_text(text, encoding="utf-8")
    return path
