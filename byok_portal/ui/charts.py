"""Geometry of the server-drawn charts: numbers in, SVG path data out. Must never emit markup or style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 100.0
HEIGHT = 28.0
PADDING = 3.0
FEWEST_POINTS = 2


@dataclass(frozen=True)
class Sparkline:
    """Path data in a 100 x 28 box; `x`, `y` is the last point. `flat` means there is no movement to draw."""

    line: str
    area: str
    x: str
    y: str
    flat: bool


def draw_sparkline(points: Sequence[float]) -> Sparkline:
    """Scale `points` (oldest first) to the box; the lowest lies at the bottom, the highest at the top."""
    values = [float(point) for point in points]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    if len(values) < FEWEST_POINTS or low == high:
        return _draw_flat()
    step = WIDTH / (len(values) - 1)
    dots = [(index * step, _height_of(value, low, high)) for index, value in enumerate(values)]
    line = "M" + " L".join(f"{_number(x)} {_number(y)}" for x, y in dots)
    last_x, last_y = dots[-1]
    return Sparkline(
        line=line,
        area=f"{line} L{_number(WIDTH)} {_number(HEIGHT)} L0 {_number(HEIGHT)} Z",
        x=_number(last_x),
        y=_number(last_y),
        flat=False,
    )


def fill_ring(percent: float) -> str:
    """Return the `stroke-dasharray` of a ring of path length 100; out-of-range input is clamped."""
    return f"{round(min(100.0, max(0.0, float(percent))))} 100"


def _draw_flat() -> Sparkline:
    middle = _number(HEIGHT - PADDING)
    return Sparkline(line=f"M0 {middle} L{_number(WIDTH)} {middle}", area="", x="", y="", flat=True)


def _height_of(value: float, low: float, high: float) -> float:
    return PADDING + (HEIGHT - 2 * PADDING) * (high - value) / (high - low)


def _number(value: float) -> str:
    """One decimal at most, without a trailing zero, and never in the reader's locale."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
