from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from byok_portal.ui.charts import HEIGHT, WIDTH, draw_sparkline, fill_ring


def test_a_rising_line_ends_at_the_top_right() -> None:
    chart = draw_sparkline([0, 5, 10])
    assert chart.line == "M0 25 L50 14 L100 3"
    assert chart.area == "M0 25 L50 14 L100 3 L100 28 L0 28 Z"
    assert (chart.x, chart.y, chart.flat) == ("100", "3", False)


def test_no_points_one_point_and_equal_points_are_a_flat_line_without_area() -> None:
    for points in ([], [7], [4, 4, 4]):
        chart = draw_sparkline(points)
        assert chart.flat
        assert chart.area == ""
        assert chart.line.startswith("M0 ")


@given(st.lists(st.integers(min_value=0, max_value=10**12), min_size=2, max_size=90))
def test_every_coordinate_lies_inside_the_box(points: list[int]) -> None:
    numbers = [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?", draw_sparkline(points).line)]
    assert all(0 <= x <= WIDTH for x in numbers[::2])
    assert all(0 <= y <= HEIGHT for y in numbers[1::2])


def test_a_ring_is_clamped_to_its_length() -> None:
    assert [fill_ring(percent) for percent in (-5, 0, 61.6, 100, 250)] == [
        "0 100",
        "0 100",
        "62 100",
        "100 100",
        "100 100",
    ]
