"""What the gate counts, in Prometheus form, on an address of its own that the public does not reach.

Counted in plain numbers by the one thread that serves, and put into Prometheus's words when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric


class Histogram:
    """How often each size came."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """(upper bound and how many were at most that, for each; their sum)"""
        buckets, total = [], 0
        for bound, count in zip([*map(str, map(float, self._bounds)), "+Inf"], list(self._counts), strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, self._sum


_SECONDS: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)
_seconds: Final[defaultdict[str, Histogram]] = defaultdict(lambda: Histogram(_SECONDS))
_answers: Final[Counter[tuple[str, int]]] = Counter()
_drafts: Final[Counter[str]] = Counter()
_passed: Final[Counter[str]] = Counter()
_denials: Final[Counter[tuple[str, str]]] = Counter()
BATCH: Final = Histogram((1, 2, 4, 8, 16, 32, 64))


def count_answer(route: str, status: int, code: str = "") -> None:
    """One more answer; `code` is the word of a refusal."""
    _answers[route, status] += 1
    if code:
        _denials[route, code] += 1


def observe(route: str, seconds: float) -> None:
    """How long one took."""
    _seconds[route].observe(seconds)


def count_passed() -> None:
    """One more request that the web answers."""
    _passed["web"] += 1


def count_drafts(*, held: int, read: int) -> None:
    """How a batch went."""
    _drafts["held"] += held
    _drafts["read"] += read


@dataclass(frozen=True, slots=True)
class Gauges:
    """How it is now."""

    waiting: int
    oldest: float
    links: int


_gauges: Final[list[Callable[[], Gauges]]] = []


def watch(ask: Callable[[], Gauges]) -> None:
    """Ask this when somebody wants to know."""
    _gauges[:] = [ask]


class _Figures(Collector):
    def collect(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "byok_gate_seconds", "From the request's arrival to the last byte of its answer.", labels=["route"]
        )
        for route, histogram in list(_seconds.items()):
            buckets, total = histogram.read()
            seconds.add_metric([route], buckets, total)
        yield seconds
        buckets, total = BATCH.read()
        said = "Uses that were decided and recorded together."
        yield HistogramMetricFamily("byok_gate_batch_size", said, buckets=buckets, sum_value=total)
        answers = CounterMetricFamily("byok_gate_answers", "Answers by route and code.", labels=["route", "code"])
        for (route, status), count in list(_answers.items()):
            answers.add_metric([route, str(status)], count)
        yield answers
        drafts = CounterMetricFamily(
            "byok_gate_drafts",
            "Uses decided on remembered facts that the database confirmed, or read anew.",
            labels=["found"],
        )
        for found, count in list(_drafts.items()):
            drafts.add_metric([found], count)
        yield drafts
        yield CounterMetricFamily("byok_gate_passed", "Requests that the web answered.", value=_passed["web"])
        denials = CounterMetricFamily("byok_gate_denials", "Refusals by route and word.", labels=["route", "code"])
        for (route, code), count in list(_denials.items()):
            denials.add_metric([route, code], count)
        yield denials
        for ask in _gauges:
            now = ask()
            yield GaugeMetricFamily("byok_gate_waiting", "Uses that wait for a lane to the database.", now.waiting)
            yield GaugeMetricFamily("byok_gate_lag_seconds", "How long the first of them has waited.", now.oldest)
            yield GaugeMetricFamily("byok_gate_links", "Links to the database that are open.", now.links)


REGISTRY.register(_Figures())
