"""What came of a run with faults: the figures, and their tables as Markdown."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.breaking import Recovery
    from bench.watching import Findings, Growth


@dataclass(slots=True)
class Result:
    """Everything that is said about a run; as JSON for the suite."""

    seconds: float
    findings: Findings
    recoveries: list[Recovery]
    memory: dict[str, Growth]
    files: dict[str, Growth]
    connections: tuple[int, int]
    latencies: dict[str, tuple[int, float, float]]
    faults: dict[str, dict[str, int]]
    acknowledged: int


def report(result: Result, machine: str) -> str:
    """Markdown."""
    found = result.findings
    parts = list(result.recoveries[0].seconds) if result.recoveries else []
    return "\n".join(
        [
            f"# Mixed load with faults, {time.strftime('%Y-%m-%d %H:%M')}",
            "",
            (
                f"{result.seconds / 60:.0f} minutes. {machine} "
                "A synchronous standby; web, two gates, worker, sequencer, readers."
            ),
            "",
            (
                f"{result.acknowledged:,} answers named their entry: {len(found.missing)} entries are missing, "
                f"{found.twice} are there twice, {found.without_outcome} answered calls have no outcome on record. "
                f"{found.entries:,} entries; {found.waiting} without a number; the log "
                f"{'verifies' if found.verified else 'DOES NOT VERIFY'}."
            ),
            "",
            "Seconds from the fault to the first good answer of each part: median (longest).",
            "",
            tables.table(("fault", "times", *parts), list(_recovery_rows(result.recoveries, parts))),
            "",
            f"Connections to the database, first and last: {result.connections[0]}, {result.connections[1]}.",
            "",
            tables.table(
                ("process", "MB first", "MB last", "MB per hour", "files first", "files last", "files per hour"),
                [(name, *_grown(result.memory[name]), *_grown(result.files[name])) for name in result.memory],
            ),
            "",
            "Slopes are within the life of a process, not over its restarts.",
            "",
            tables.table(
                ("load", "good answers", "p50 ms", "p99 ms", "other answers"),
                [
                    (kind, f"{n:,}", *tables.ms(p50, p99), _others(result, kind))
                    for kind, (n, p50, p99) in sorted(result.latencies.items())
                ],
            ),
            "",
        ]
    )


def _recovery_rows(recoveries: Sequence[Recovery], parts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for name in dict.fromkeys(each.fault for each in recoveries):
        own = [each for each in recoveries if each.fault == name]
        yield name, str(len(own)), *(_seconds([each.seconds[part] for each in own]) for part in parts)


def _seconds(found: Sequence[float | None]) -> str:
    known = [each for each in found if each is not None]
    return f"{statistics.median(known):.1f} ({max(known):.1f})" if len(known) == len(found) else "NEVER"


def _grown(growth: Growth) -> tuple[str, str, str]:
    return f"{growth.first:,.0f}", f"{growth.last:,.0f}", f"{growth.per_hour:+,.1f}"


def _load_rows(result: Result) -> list[tuple[str, ...]]:
    found = sorted(result.latencies.items())
    return [(kind, f"{n:,}", *tables.ms(p50, p99), _others(result, kind)) for kind, (n, p50, p99) in found]


def _others(result: Result, kind: str) -> str:
    return ", ".join(f"{count:,} of {what}" for what, count in sorted(result.faults.get(kind, {}).items())) or "none"
