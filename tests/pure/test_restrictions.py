"""Networks and windows: what is in, what is out, and that nothing makes them raise."""

# ruff: noqa: FBT001, FBT003  # wrong types are passed on purpose; expected answers are booleans

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.restrictions import NetworkMatch, Window, match_networks

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "network", "named"),
    [
        ("10.1.2.3", "10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.1.2.3", "10.0.0.0/8", "10.0.0.0/8"),
        ("::FFFF:0a01:0203", "10.1.2.3/32", "10.1.2.3/32"),
        ("10.1.2.3", "::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("10.1.2.3", "::ffff:0:0/96", "0.0.0.0/0"),
        ("2001:db8::1", "2001:db8::/32", "2001:db8::/32"),
        ("10.1.2.3", "0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_an_address_in_a_network_is_admitted_and_the_network_named(address: str, network: str, named: str) -> None:
    assert match_networks(address, ["192.0.2.0/24", network]) == NetworkMatch(True, named)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("11.0.0.1", "10.0.0.0/8"),
        ("2001:db9::1", "2001:db8::/32"),
        ("10.1.2.3", "::/0"),
        ("2001:db8::1", "0.0.0.0/0"),
        ("10.1.2.3", "10.1.2.3/8"),  # host bits set: which network was meant is not clear
        ("10.1.2.3", "nonsense"),
        ("10.1.2.3", ""),
        ("fe80::1%eth0", "fe80::/10"),
        ("010.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3, 10.1.2.4", "10.0.0.0/8"),
        ("10.1.2.3:443", "10.0.0.0/8"),
        (" 10.1.2.3", "10.0.0.0/8"),
        ("", "0.0.0.0/0"),
        (None, "0.0.0.0/0"),
        (167837955, "0.0.0.0/0"),
    ],
)
def test_an_address_outside_or_unclear_is_refused(address: Any, network: str) -> None:
    assert match_networks(address, [network]) == NetworkMatch(False)


def test_empty_lists_restrict_nothing() -> None:
    for address in ("10.1.2.3", "nonsense", None):
        assert match_networks(address, [], ()) == NetworkMatch(True)


def test_every_list_that_is_not_empty_must_hold_the_address() -> None:
    assert match_networks("10.1.2.3", ["10.0.0.0/8"], ["10.1.0.0/16"]).network == "10.1.0.0/16"
    assert match_networks("10.1.2.3", ["10.0.0.0/8"], []).network == "10.0.0.0/8"
    assert not match_networks("10.1.2.3", ["10.0.0.0/8"], ["10.2.0.0/16"]).admitted
    assert not match_networks("10.1.2.3", ["10.2.0.0/16"], ["10.0.0.0/8"]).admitted


@given(st.none() | st.text(max_size=20) | st.ip_addresses().map(str), st.lists(st.text(max_size=20)))
def test_no_text_makes_it_raise(address: str | None, networks: list[str]) -> None:
    assert match_networks(address, networks).admitted in (True, False)


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_in_each_network_around_it_in_both_spellings(address: Any, prefix: int) -> None:
    mask = (2**32 - 1) << (32 - prefix) & (2**32 - 1)
    base = type(address)(int(address) & mask)
    for written in (str(address), f"::ffff:{address}"):
        assert match_networks(written, [f"{base}/{prefix}"]).admitted


@pytest.mark.parametrize(
    ("minute", "is_open"), [(-1, False), (0, False), (539, False), (540, True), (1019, True), (1020, False)]
)
def test_a_window_is_open_from_its_start_to_before_its_end(minute: int, is_open: bool) -> None:
    window = Window(frozenset({0}), 9 * 60, 17 * 60)
    assert window.contains(MONDAY + timedelta(minutes=minute)) is is_open
    assert not window.contains(MONDAY + timedelta(days=1, minutes=minute))


@pytest.mark.parametrize(
    ("day", "hour", "is_open"),
    [(4, 21, False), (4, 22, True), (4, 23, True), (5, 0, True), (5, 5, True), (5, 6, False), (4, 3, False)],
)
def test_a_window_past_midnight_belongs_to_the_day_it_opens(day: int, hour: int, is_open: bool) -> None:
    fridays = Window(frozenset({4}), 22 * 60, 6 * 60)
    assert fridays.contains(MONDAY + timedelta(days=day, hours=hour)) is is_open


def test_a_sunday_window_runs_into_monday() -> None:
    assert Window(frozenset({6}), 22 * 60, 60).contains(MONDAY + timedelta(minutes=59))
    assert not Window(frozenset({6}), 22 * 60, 60).contains(MONDAY + timedelta(minutes=60))


@given(st.integers(0, 7 * 24 * 60 - 1), st.integers(0, 1439))
def test_whole_days_are_always_open_and_equal_ends_never(minute: int, start: int) -> None:
    moment = MONDAY + timedelta(minutes=minute)
    assert Window(frozenset(range(7)), 0, 1440).contains(moment)
    assert not Window(frozenset(range(7)), start, start).contains(moment)
    assert not Window(frozenset(), 0, 1440).contains(moment)


@given(st.integers(0, 7 * 24 * 60 - 1), st.integers(0, 1439), st.integers(0, 1439))
def test_a_window_and_its_opposite_share_no_moment_and_leave_none_out(minute: int, start: int, end: int) -> None:
    moment, every_day = MONDAY + timedelta(minutes=minute), frozenset(range(7))
    if start != end:
        one, other = Window(every_day, start, end), Window(every_day, end, start)
        assert one.contains(moment) is not other.contains(moment)
