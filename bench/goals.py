"""The goals for the use of keys, each with what was measured of it in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.peers import DIRECT, DRF, GATE, LEASE, PGBENCH, PLAIN, PROXY, STOCK, TUNED
from bench.tables import latency_of, rate_of, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.tables import Figures

GATE_MEMORY, WEB_MEMORY, SEQUENCER_MEMORY = "memory of the gate", "memory of a web worker", "memory of the sequencer"
START = "start of the gate to its first answer"
_RATES: Final = (
    ("decision over OpenBao stock", GATE, STOCK, {1: 1.25, 8: 2.0, 32: 4.0}),
    ("decision over OpenBao tuned", GATE, TUNED, {1: 0.7, 8: 1.15, 32: 1.6}),
    ("decision over a plain Django view", GATE, PLAIN, {1: 2.5, 8: 3.5, 32: 5.0}),
    ("lease over decision", LEASE, GATE, {1: 0.9, 8: 0.9, 32: 0.9}),
    ("decision over pgbench of the same statement", GATE, PGBENCH, {1: 0.65, 8: 0.75, 32: 1.3}),
    ("DRF use over OpenBao stock", DRF, STOCK, {8: 0.8}),
)
_LIMITS: Final = (
    (GATE_MEMORY, 150.0, "MB"),
    (WEB_MEMORY, 200.0, "MB"),
    (SEQUENCER_MEMORY, 120.0, "MB"),
    (START, 2.0, "s"),
)
_OVERHEAD_MS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Goal:
    """One line: what, at least or below what, and what it came to (None: not measured)."""

    what: str
    wanted: float
    measured: float | None
    unit: str
    at_least: bool

    @property
    def is_missed(self) -> bool:
        """Whether it was measured and not reached."""
        if self.measured is None:
            return False
        return self.measured < self.wanted if self.at_least else self.measured >= self.wanted

    def row(self) -> tuple[str, ...]:
        """As a line of the table."""
        wanted = f"{'at least' if self.at_least else 'below'} {self.wanted:.4g} {self.unit}"
        if self.measured is None:
            return self.what, wanted, "-", "not measured"
        return self.what, wanted, f"{self.measured:.3g} {self.unit}", "MISSED" if self.is_missed else "met"


def list_goals(figures: Figures, found: Mapping[str, float]) -> list[Goal]:
    """Every goal; `found` are the figures that no load is needed for."""
    return [
        *_rate_goals(figures),
        Goal(
            "p99 of decisions over tuned OpenBao's, 32 connections",
            0.5,
            _over(latency_of(figures, GATE, 32, "p99"), latency_of(figures, TUNED, 32, "p99")),
            "x",
            at_least=False,
        ),
        Goal(
            "proxy over calling upstream directly, p50, 8 connections",
            _OVERHEAD_MS,
            _less(latency_of(figures, PROXY, 8, "p50"), latency_of(figures, DIRECT, 8, "p50")),
            "ms",
            at_least=False,
        ),
        *(Goal(what, limit, found.get(what), unit, at_least=False) for what, limit, unit in _LIMITS),
    ]


def _rate_goals(figures: Figures) -> Iterator[Goal]:
    for what, ours, theirs, wanted in _RATES:
        for connections, ratio in wanted.items():
            measured = _over(rate_of(figures, ours, connections), rate_of(figures, theirs, connections))
            plural = "connection" if connections == 1 else "connections"
            yield Goal(f"{what}, {connections} {plural}", ratio, measured, "x", at_least=True)


def _over(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _less(ours: float | None, theirs: float | None) -> float | None:
    return ours - theirs if ours is not None and theirs is not None else None


def as_table(goals: list[Goal]) -> str:
    """All of them."""
    return table(("goal", "wanted", "measured", ""), [goal.row() for goal in goals])
