"""What is looked at while a portal stands under faults: memory, open files, connections; and its log at the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg

from bench.driving import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.mixing import Ledger
    from bench.standing import Keeper, Servers

DRAIN_SECONDS: Final = 120.0
_LOGINS: Final = "SELECT usename, count(*) FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1"


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment; `life` counts its starts."""

    moment: float
    life: int
    memory: float
    files: int


@dataclass(slots=True)
class Watch:
    """All samples of a run."""

    every: float
    warm: float
    """Seconds from a start until a process has its size: what it loads with its first requests is no leak."""
    processes: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    connections: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    async def run(self, keeper: Keeper, servers: Servers) -> None:
        """Until cancelled."""
        while True:
            now = time.monotonic()
            for name, kept in keeper.kept.items():
                if kept.process is not None and now - kept.began >= self.warm:
                    self.processes[name].append(Sample(now, kept.lives, *kept.figures()))
            with suppress(psycopg.Error, OSError):
                self.connections.append((now, await asyncio.to_thread(_count, servers)))
            await asyncio.sleep(self.every)

    def total(self, *, last: bool) -> int:
        """Connections of all logins: the median of the first or of the last five looks."""
        looks = self.connections[-5:] if last else self.connections[:5]
        totals = sorted(sum(found.values()) for _, found in looks)
        return totals[len(totals) // 2]


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one figure of one process."""

    first: float
    last: float
    per_hour: float


def growth_of(samples: Sequence[Sample], figure: str) -> Growth:
    """First, last, and the slope within lives: a new process begins anew, which is no growth."""
    lives: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        lives[sample.life].append((sample.moment, float(getattr(sample, figure))))
    above = below = 0.0
    for points in lives.values():
        middle = sum(moment for moment, _ in points) / len(points)
        mean = sum(value for _, value in points) / len(points)
        above += sum((moment - middle) * (value - mean) for moment, value in points)
        below += sum((moment - middle) ** 2 for moment, _ in points)
    first, last = (float(getattr(samples[place], figure)) for place in (0, -1))
    return Growth(first, last, above / below * 3600 if below else 0.0)


def _count(servers: Servers) -> dict[str, int]:
    with servers.admin() as admin:
        return {name: count for name, count in admin.execute(_LOGINS) if name and name.startswith("byok_")}


@dataclass(frozen=True, slots=True)
class Findings:
    """The log after a run."""

    entries: int
    missing: list[str]
    """Acknowledged, but without an entry."""
    twice: int
    without_outcome: int
    """Brokered calls that were answered, but whose end is not on record."""
    waiting: int
    """Events without a number."""
    verified: bool


def inspect(servers: Servers, ledger: Ledger) -> Findings:
    """Compare what was acknowledged with what is on record, once everything has its number."""
    with servers.admin() as admin:
        deadline = time.monotonic() + DRAIN_SECONDS
        while (waiting := _first(admin, "SELECT count(*) FROM audit_inbox")) and time.monotonic() < deadline:
            time.sleep(0.2)
        entries = [row[0].bytes for row in admin.execute("SELECT event_id FROM audit_entry")]
        entries += [row[0].bytes for row in admin.execute("SELECT event_id FROM audit_inbox")]
        found = set(entries)
        called = {
            UUID(row[0]).bytes
            for row in admin.execute(
                "SELECT leaf::jsonb->'body'->'detail'->>'use' FROM audit_entry WHERE leaf LIKE '%\"key.called\"%'"
            )
        }
    missing = [str(UUID(bytes=each)) for each in ledger.acknowledged if each not in found]
    calls = {each for each, is_call in ledger.acknowledged.items() if is_call}
    return Findings(
        entries=len(found),
        missing=missing,
        twice=len(entries) - len(found),
        without_outcome=len(calls - called),
        waiting=waiting,
        verified=_verify(servers),
    )


def _first(admin: psycopg.Connection, query: str) -> int:
    row = admin.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _verify(servers: Servers) -> bool:
    """Whether the whole log, its tree and its signatures hold, as `manage.py verify_audit_log` says."""
    import os  # noqa: PLC0415

    urls = {name: servers.url(url) for name, url in os.environ.items() if name.startswith("DATABASE_URL")}
    command = [sys.executable, "manage.py", "verify_audit_log"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **urls}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode == 0
