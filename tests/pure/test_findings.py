"""What counts as a finding, and what does not yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from keys.findings import Facts, Kind, Remedy, Severity, judge

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
FINE = Facts(
    key_id=UUID(int=1),
    is_active=True,
    has_backup_owner=True,
    rotation_due_at=NOW + DAY,
    rotation_wanted_at=None,
    proof_expires_at=NOW + DAY,
    excess_risk=0,
    excess=0,
    unused=(),
    last_used_at=NOW - DAY,
    idle_days=1,
    observed_days=400,
    window_days=90,
    consumers=1,
    is_shared_elsewhere=False,
)


def test_a_key_that_is_fine_has_no_finding() -> None:
    assert judge(FINE, NOW) == []


@pytest.mark.parametrize(
    ("changes", "kind", "severity", "remedy"),
    [
        ({"is_shared_elsewhere": True}, Kind.SHARED_SECRET, Severity.CRITICAL, Remedy.ROTATE),
        ({"has_backup_owner": False}, Kind.NO_BACKUP_OWNER, Severity.HIGH, Remedy.HAND_OVER),
        ({"rotation_due_at": NOW}, Kind.OVERDUE, Severity.HIGH, Remedy.ROTATE),
        ({"rotation_wanted_at": NOW - DAY}, Kind.ROTATION_WANTED, Severity.MEDIUM, Remedy.ROTATE),
        ({"proof_expires_at": NOW}, Kind.PROOF_EXPIRED, Severity.MEDIUM, Remedy.PROVE),
        ({"excess": 2, "excess_risk": 2}, Kind.EXCESS_PRIVILEGE, Severity.MEDIUM, Remedy.ROTATE),
        ({"excess": 2, "excess_risk": 4}, Kind.EXCESS_PRIVILEGE, Severity.HIGH, Remedy.ROTATE),
        ({"idle_days": 90}, Kind.DORMANT, Severity.MEDIUM, Remedy.REVOKE),
        ({"last_used_at": None, "idle_days": 0}, Kind.DORMANT, Severity.MEDIUM, Remedy.REVOKE),
        ({"unused": ("write",)}, Kind.UNUSED_SCOPES, Severity.LOW, Remedy.RIGHT_SIZE),
        ({"consumers": 2}, Kind.SEVERAL_CONSUMERS, Severity.LOW, Remedy.SPLIT),
    ],
)
def test_each_kind_is_found(changes: dict[str, Any], kind: Kind, severity: Severity, remedy: Remedy) -> None:
    (found,) = judge(replace(FINE, **changes), NOW)
    assert (found.key_id, found.kind, found.severity, found.remedy) == (FINE.key_id, kind, severity, remedy)


@pytest.mark.parametrize("changes", [{"observed_days": 89}, {"is_active": False}])
def test_a_key_that_could_not_be_used_for_long_is_not_dormant(changes: dict[str, Any]) -> None:
    assert judge(replace(FINE, last_used_at=None, **changes), NOW) == []


def test_a_dormant_key_is_not_asked_for_smaller_grants_too() -> None:
    assert [found.kind for found in judge(replace(FINE, idle_days=99, unused=("a", "b")), NOW)] == [Kind.DORMANT]


def test_the_worst_comes_first() -> None:
    everything = replace(FINE, is_shared_elsewhere=True, has_backup_owner=False, consumers=3, proof_expires_at=NOW)
    severities = [found.severity for found in judge(everything, NOW)]
    assert severities == sorted(severities, reverse=True)
    assert len(severities) == 4
