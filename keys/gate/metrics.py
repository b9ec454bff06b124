"""What the gate counts, in Prometheus form, on an address of its own that the public does not reach."""

from __future__ import annotations

import functools
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SECONDS: Final = Histogram(
    "byok_gate_seconds",
    "From the request's arrival to the last byte of its answer.",
    ["route"],
    buckets=(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
ANSWERS: Final = Counter("byok_gate_answers_total", "Answers by route and code.", ["route", "code"])
BATCH: Final = Histogram(
    "byok_gate_batch_size", "Uses that were decided and recorded together.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
WAITING: Final = Gauge("byok_gate_waiting", "Uses that wait for a lane to the database.")
DRAFTS: Final = Counter(
    "byok_gate_drafts_total", "Uses decided on remembered facts that the database confirmed, or read anew.", ["found"]
)
_HELD: Final = DRAFTS.labels("held")
_READ: Final = DRAFTS.labels("read")
PASSED: Final = Counter("byok_gate_passed_total", "Requests that the web answered.")


@functools.lru_cache(maxsize=256)
def _answers(route: str, status: int) -> Counter:
    return ANSWERS.labels(route, status)


@functools.cache
def _seconds(route: str) -> Histogram:
    return SECONDS.labels(route)


def count_answer(route: str, status: int) -> None:
    """One more answer."""
    _answers(route, status).inc()


def observe(route: str, seconds: float) -> None:
    """How long one took."""
    _seconds(route).observe(seconds)


def count_drafts(*, held: int, read: int) -> None:
    """How a batch went."""
    if held:
        _HELD.inc(held)
    if read:
        _READ.inc(read)
