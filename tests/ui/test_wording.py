from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from byok_portal.ui.templatetags.ui import ago, fact, moment, risk
from byok_portal.ui.wording import machine_time, shorten_number, take_initials, word_distance, word_moment

NOW = datetime(2026, 11, 23, 10, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "short"),
    [(0, "0"), (999, "999"), (4120, "4,120"), (10_000, "10k"), (88_412, "88.4k"), (1_240_000, "1.24M")],
)
def test_large_numbers_are_shortened(value: int, short: str) -> None:
    assert shorten_number(value) == short


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Acme Robotics", "AR"),
        ("acme", "AC"),
        ("owner@acme.example", "OA"),
        ("", "?"),
        ("-- !", "?"),
        ("x", "X"),
    ],
)
def test_initials_are_two_letters_at_most(name: str, letters: str) -> None:
    assert take_initials(name) == letters


def test_distances_are_worded_on_both_sides_of_now() -> None:
    assert word_distance(NOW - timedelta(seconds=10), NOW) == "just now"
    assert word_distance(NOW - timedelta(days=3), NOW) == "3 days ago"
    assert word_distance(NOW + timedelta(hours=2), NOW) == "in 2 hours"
    assert word_distance(NOW - timedelta(days=90), NOW) == "25 Aug 2026"
    assert word_distance(NOW + timedelta(days=12), NOW) == "in 12 days"
    assert word_distance(date(2026, 11, 23), NOW) == "today"
    assert word_distance(date(2026, 11, 27), NOW) == "in 4 days"


def test_absolute_times_name_their_zone() -> None:
    assert word_moment(NOW) == "23 Nov 2026, 10:31 UTC"
    assert word_moment(date(2026, 11, 23)) == "23 Nov 2026"
    assert machine_time(NOW) == "2026-11-23T10:31:00Z"


def test_an_absent_time_is_a_dash_and_not_an_error() -> None:
    assert [ago(None), moment(None), fact(None), fact("")] == ["\N{EN DASH}"] * 4
    assert fact(0) == 0
    assert "<time" in str(fact(date(2026, 11, 23)))


def test_risk_takes_a_number_a_mapping_or_nothing() -> None:
    assert risk(3)["bars"] == [True, True, True, False]
    assert str(risk(3)["label"]) == "High"
    assert risk({"n": 1, "level": "low", "label": "Little"})["label"] == "Little"
    assert risk(None)["level"] == "none"
