from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byok_portal.errors import InvalidInput, InvalidInputs
from keys.policies import (
    BOUNDS,
    Deadlines,
    Edition,
    Overdue,
    Policy,
    deadlines,
    effective,
    find_first,
    find_laxer,
    in_force,
    list_stages,
    parse_policy,
    require_no_laxer,
    strictest,
    to_document,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
MOMENTS = [field.name for field in fields(Deadlines)]

numbers = {name: st.none() | st.integers(least, most) for name, (least, most) in BOUNDS.items()}
days = st.lists(st.integers(1, 365), min_size=1, max_size=4, unique=True)
policies = st.builds(
    Policy,
    **numbers,
    reminder_days=st.none() | days.map(lambda found: tuple(sorted(found, reverse=True))),
    overdue=st.none() | st.sampled_from(Overdue),
)
ages = st.integers(0, 2000).map(lambda age: NOW - timedelta(days=age))
starts = st.integers(-50, 400).map(lambda day: NOW + timedelta(days=day))
layers = st.lists(st.tuples(starts, policies), max_size=4).map(
    lambda rows: tuple(Edition(number, start, policy) for number, (start, policy) in enumerate(rows, start=1))
)


def moment(found: Deadlines, name: str) -> datetime:
    return getattr(found, name) or FOREVER


@given(st.lists(policies, max_size=4), ages)
def test_layers_together_are_never_laxer_than_any_of_them(given_layers: list[Policy], activated_at: datetime) -> None:
    whole = strictest(given_layers)
    for layer in given_layers:
        # Where both speak, the whole says at least as much; where the layer speaks, the whole does too.
        assert find_laxer(whole, layer) == []
        silent = [field.name for field in fields(Policy) if getattr(whole, field.name) is None]
        assert all(getattr(layer, name) is None for name in silent)
        for name in MOMENTS:
            assert moment(deadlines(whole, activated_at), name) <= moment(deadlines(layer, activated_at), name)


@given(policies, policies)
def test_what_is_not_laxer_holds_as_it_was_set(own: Policy, floor: Policy) -> None:
    whole = strictest([own, floor])
    changed = {
        field.name
        for field in fields(Policy)
        if getattr(own, field.name) is not None and getattr(whole, field.name) != getattr(own, field.name)
    }
    assert {name for name, _rule in find_laxer(own, floor)} == changed


@given(policies)
def test_one_layer_alone_is_itself_and_comes_back_from_its_document(policy: Policy) -> None:
    assert strictest([policy, Policy(), policy]) == policy
    if not (policy.rotation_days and policy.max_lifetime_days and policy.rotation_days > policy.max_lifetime_days):
        assert parse_policy(to_document(policy)) == policy


@given(st.tuples(layers, layers, layers), ages, st.sampled_from(MOMENTS))
def test_the_first_moment_is_when_the_policy_of_that_moment_says_so_and_no_earlier(
    stack: tuple[tuple[Edition, ...], ...], activated_at: datetime, name: str
) -> None:
    found = find_first(list_stages(stack, NOW), activated_at, lambda each: getattr(each, name))
    changes = [edition.starts_at for layer in stack for edition in layer]
    probes = [NOW, *changes, *(each + timedelta(days=1) for each in changes), NOW + timedelta(days=3000)]
    for at in probes if found is None else [*probes, found, found - timedelta(seconds=1)]:
        if at < NOW:
            continue
        said = getattr(deadlines(effective(stack, at), activated_at), name)
        has_come = said is not None and said <= at
        if found is None or at < found:
            assert not has_come
        elif at == found:
            assert has_come


@given(st.tuples(layers, layers), ages)
def test_a_further_layer_only_brings_a_suspension_forward(
    stack: tuple[tuple[Edition, ...], ...], activated_at: datetime
) -> None:
    def first(*given_layers: tuple[Edition, ...]) -> datetime:
        return find_first(list_stages(given_layers, NOW), activated_at, lambda each: each.suspends_at) or FOREVER

    assert first(*stack) <= min(first(stack[0]), first(stack[1]))


def test_the_newest_number_whose_start_has_come_is_in_force() -> None:
    old, soon, urgent = (Policy(rotation_days=days) for days in (90, 60, 30))
    editions = [
        Edition(1, NOW - timedelta(days=9), old),
        Edition(2, NOW + timedelta(days=9), soon),
        Edition(3, NOW + timedelta(days=3), urgent),
    ]
    assert in_force(editions, NOW - timedelta(days=10)) == Policy()
    assert in_force(editions, NOW) == old
    assert in_force(editions, NOW + timedelta(days=4)) == urgent
    assert in_force(editions, NOW + timedelta(days=10)) == urgent, "a newer one calls off what was scheduled"


def test_overdue_escalates_from_the_due_date_over_the_grace_to_the_suspension() -> None:
    policy = Policy(rotation_days=90, grace_days=14)
    due = NOW + timedelta(days=90)
    assert deadlines(replace(policy, overdue=Overdue.NOTIFY), NOW) == Deadlines(rotation_due_at=due)
    blocked = deadlines(replace(policy, overdue=Overdue.BLOCK_GRANTS), NOW)
    assert (blocked.blocks_grants_at, blocked.suspends_at) == (due, None)
    suspended = deadlines(replace(policy, overdue=Overdue.SUSPEND), NOW)
    assert (suspended.blocks_grants_at, suspended.suspends_at) == (due, due + timedelta(days=14))


def test_a_maximum_lifetime_is_hard_without_any_word_about_overdue() -> None:
    found = deadlines(Policy(max_lifetime_days=100, grace_days=30), NOW)
    end = NOW + timedelta(days=100)
    assert (found.lifetime_ends_at, found.suspends_at, found.due_at) == (end, end, end)


def test_a_relaxation_in_time_is_honoured_and_one_that_comes_late_is_not() -> None:
    strict = Edition(1, NOW - timedelta(days=1), Policy(max_lifetime_days=100))
    activated_at = NOW - timedelta(days=90)
    for day, expected in ((5, activated_at + timedelta(days=300)), (15, activated_at + timedelta(days=100))):
        relaxed = Edition(2, NOW + timedelta(days=day), Policy(max_lifetime_days=300))
        stages = list_stages([[strict, relaxed]], NOW)
        assert find_first(stages, activated_at, lambda each: each.suspends_at) == expected


@pytest.mark.parametrize(
    ("document", "field", "code"),
    [
        ([], "rules", "not_an_object"),
        ({"rotation": 9}, "rules", "unknown_field"),
        ({"rotation_days": 0}, "rotation_days", "out_of_range"),
        ({"rotation_days": True}, "rotation_days", "out_of_range"),
        ({"rotation_days": "90"}, "rotation_days", "out_of_range"),
        ({"rotation_days": 1.5}, "rotation_days", "out_of_range"),
        ({"max_drain_hours": 721}, "max_drain_hours", "out_of_range"),
        ({"grace_days": 31}, "grace_days", "out_of_range"),
        ({"reminder_days": []}, "reminder_days", "out_of_range"),
        ({"reminder_days": [0]}, "reminder_days", "out_of_range"),
        ({"reminder_days": list(range(1, 12))}, "reminder_days", "out_of_range"),
        ({"overdue": "explode"}, "overdue", "unknown_choice"),
        ({"overdue": ["suspend"]}, "overdue", "unknown_choice"),
        ({"rotation_days": 90, "max_lifetime_days": 30}, "rotation_days", "after_lifetime"),
    ],
)
def test_a_broken_policy_names_the_field_and_the_rule(document: Any, field: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_policy(document)
    assert (refusal.value.field, refusal.value.code) == (field, code)


def test_several_laxer_fields_are_named_at_once() -> None:
    floor = Policy(rotation_days=90, overdue=Overdue.SUSPEND, reminder_days=(30, 7))
    own = Policy(rotation_days=91, overdue=Overdue.NOTIFY, reminder_days=(30,), max_drain_hours=720)
    with pytest.raises(InvalidInputs) as refusal:
        require_no_laxer(own, floor)
    assert {problem.field for problem in refusal.value.problems} == {"rotation_days", "overdue", "reminder_days"}
    assert {problem.code for problem in refusal.value.problems} == {"laxer"}
