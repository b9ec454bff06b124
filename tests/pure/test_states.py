"""The transition tables hold what DESIGN.md section 3 promises."""

# wrong types are passed on purpose; expected answers are booleans

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keys.states import GRANT_TRANSITIONS, VERSION_TRANSITIONS, GrantState, RevocationReason, VersionState
from tenants.states import TENANT_TRANSITIONS, TenantState

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLES: list[tuple[Any, Mapping[Any, frozenset[Any]]]] = [
    (VersionState, VERSION_TRANSITIONS),
    (TenantState, TENANT_TRANSITIONS),
    (GrantState, GRANT_TRANSITIONS),
]


def reachable(table: Mapping[Any, frozenset[Any]], start: Any) -> set[Any]:
    seen: set[Any] = set()
    todo = [start]
    while todo:
        for state in table[todo.pop()] - seen:
            seen.add(state)
            todo.append(state)
    return seen


@pytest.mark.parametrize(("states", "table"), TABLES, ids=["version", "tenant", "grant"])
def test_every_state_has_a_row_and_none_leads_to_itself(states: Any, table: Any) -> None:
    assert set(table) == set(states)
    assert all(state not in following for state, following in table.items())


@pytest.mark.parametrize(("states", "table"), TABLES, ids=["version", "tenant", "grant"])
def test_every_state_can_be_reached_from_the_first(states: Any, table: Any) -> None:
    first = next(iter(states))
    assert reachable(table, first) | {first} == set(states)


def test_compromised_leads_only_to_destroyed_and_destroyed_to_nothing() -> None:
    assert reachable(VERSION_TRANSITIONS, VersionState.COMPROMISED) == {VersionState.DESTROYED}
    assert VERSION_TRANSITIONS[VersionState.DESTROYED] == frozenset()


def test_every_version_that_still_exists_can_be_reported_compromised() -> None:
    gone = {VersionState.COMPROMISED, VersionState.DESTROYED}
    for state in set(VersionState) - gone:
        assert VersionState.COMPROMISED in VERSION_TRANSITIONS[state]


@pytest.mark.parametrize("state", ["revoked", "expired", "compromised", "destroyed"])
def test_no_ended_version_becomes_usable_again(state: str) -> None:
    after = reachable(VERSION_TRANSITIONS, VersionState(state))
    assert not after & {VersionState.ACTIVE, VersionState.SUSPENDED, VersionState.SUPERSEDED}


def test_a_version_is_active_only_after_proof() -> None:
    before = {state for state, following in VERSION_TRANSITIONS.items() if VersionState.ACTIVE in following}
    # Superseded: a rotation that is rolled back while the old version still drains.
    assert before == {VersionState.VERIFIED, VersionState.SUSPENDED, VersionState.SUPERSEDED}


def test_live_versions_are_never_destroyed_without_an_end() -> None:
    for state in (VersionState.ACTIVE, VersionState.SUSPENDED, VersionState.SUPERSEDED):
        assert VersionState.DESTROYED not in VERSION_TRANSITIONS[state]


def test_an_offboarding_tenant_never_comes_back() -> None:
    assert reachable(TENANT_TRANSITIONS, TenantState.OFFBOARDING) == {TenantState.OFFBOARDED}


def test_an_ended_grant_never_comes_back() -> None:
    assert not GRANT_TRANSITIONS[GrantState.EXPIRED] | GRANT_TRANSITIONS[GrantState.REVOKED]


def test_the_reasons_for_revocation_are_those_of_the_design() -> None:
    assert [reason.value for reason in RevocationReason] == [
        "key_compromise",
        "superseded",
        "cessation_of_operation",
        "privilege_withdrawn",
        "affiliation_changed",
        "hold",
        "contract_ended",
        "leak_report",
        "policy_violation",
        "dormant",
    ]
