"""What is wrong or risky about a key, judged from plain facts. Must never do I/O.

Each finding says what was seen, how bad it is, who should act and which change mends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

CRITICAL_RISK: Final = 4


class Severity(IntEnum):
    """How much it matters; the worst first in lists."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Kind(StrEnum):
    """What can be found."""

    SHARED_SECRET = "shared_secret"  # noqa: S105  # the name of a finding
    NO_BACKUP_OWNER = "no_backup_owner"
    OVERDUE = "overdue"
    ROTATION_WANTED = "rotation_wanted"
    PROOF_EXPIRED = "proof_expired"
    EXCESS_PRIVILEGE = "excess_privilege"
    DORMANT = "dormant"
    UNUSED_SCOPES = "unused_scopes"
    SEVERAL_CONSUMERS = "several_consumers"
    NOT_RECERTIFIED = "not_recertified"
    LIVE_OUTSIDE_PRODUCTION = "live_outside_production"
    DRILL_OVERDUE = "drill_overdue"
    DRILL_FAILED = "drill_failed"
    END_PASSED = "end_passed"


class Remedy(StrEnum):
    """The change that mends a finding."""

    HAND_OVER = "hand_over"
    ROTATE = "rotate"
    PROVE = "prove"
    REVOKE = "revoke"
    RIGHT_SIZE = "right_size"
    SPLIT = "split"
    CONFIRM = "confirm"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one key that has not ended. `unused`: granted scopes that nobody used inside the window.

    `window_days`: how far back uses were looked at; `observed_days`: since when the key could be used.
    """

    key_id: UUID
    is_active: bool
    has_backup_owner: bool
    rotation_due_at: datetime | None
    rotation_wanted_at: datetime | None
    proof_expires_at: datetime | None
    excess_risk: int
    excess: int
    unused: tuple[str, ...]
    last_used_at: datetime | None
    idle_days: int
    observed_days: int
    window_days: int
    consumers: int
    is_shared_elsewhere: bool
    unconfirmed_since: datetime | None = None
    is_live_outside_production: bool = False
    outlives: str = ""
    outlives_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should be looked at. `evidence`: numbers and words that the sentence of its kind is made of."""

    key_id: UUID
    kind: Kind
    severity: Severity
    remedy: Remedy
    evidence: dict[str, object]


def judge(facts: Facts, now: datetime) -> list[Finding]:
    """Everything to say about one key, the worst first."""
    return sorted(_judge(facts, now), key=lambda finding: (-finding.severity, finding.kind))


def _judge(facts: Facts, now: datetime) -> Iterator[Finding]:
    if facts.is_shared_elsewhere:
        yield _found(facts, Kind.SHARED_SECRET, Severity.CRITICAL, Remedy.ROTATE)
    if not facts.has_backup_owner:
        yield _found(facts, Kind.NO_BACKUP_OWNER, Severity.HIGH, Remedy.HAND_OVER)
    if facts.rotation_due_at is not None and facts.rotation_due_at <= now:
        yield _found(facts, Kind.OVERDUE, Severity.HIGH, Remedy.ROTATE, since=facts.rotation_due_at)
    if facts.unconfirmed_since is not None and facts.unconfirmed_since <= now:
        yield _found(facts, Kind.NOT_RECERTIFIED, Severity.HIGH, Remedy.CONFIRM, since=facts.unconfirmed_since)
    if facts.is_live_outside_production:
        yield _found(facts, Kind.LIVE_OUTSIDE_PRODUCTION, Severity.HIGH, Remedy.ROTATE)
    if facts.rotation_wanted_at is not None:
        yield _found(facts, Kind.ROTATION_WANTED, Severity.MEDIUM, Remedy.ROTATE, since=facts.rotation_wanted_at)
    if facts.outlives_since is not None:
        yield _found(
            facts, Kind.END_PASSED, Severity.HIGH, Remedy.REVOKE, what=facts.outlives, since=facts.outlives_since
        )
    if facts.proof_expires_at is not None and facts.proof_expires_at <= now:
        yield _found(facts, Kind.PROOF_EXPIRED, Severity.MEDIUM, Remedy.PROVE, since=facts.proof_expires_at)
    if facts.excess:
        severity = Severity.HIGH if facts.excess_risk >= CRITICAL_RISK else Severity.MEDIUM
        yield _found(facts, Kind.EXCESS_PRIVILEGE, severity, Remedy.ROTATE, rights=facts.excess)
    yield from _judge_use(facts)


def _judge_use(facts: Facts) -> Iterator[Finding]:
    """A key that nobody could have used for long enough says nothing."""
    days = facts.window_days
    idle = facts.last_used_at is None or facts.idle_days >= days
    if facts.is_active and facts.observed_days >= days and idle:
        yield _found(facts, Kind.DORMANT, Severity.MEDIUM, Remedy.REVOKE, days=days, since=facts.last_used_at)
    elif facts.unused:
        scopes = ", ".join(facts.unused)
        yield _found(facts, Kind.UNUSED_SCOPES, Severity.LOW, Remedy.RIGHT_SIZE, scopes=scopes, days=days)
    if facts.consumers > 1:
        yield _found(facts, Kind.SEVERAL_CONSUMERS, Severity.LOW, Remedy.SPLIT, consumers=facts.consumers)


def _found(facts: Facts, kind: Kind, severity: Severity, remedy: Remedy, **evidence: object) -> Finding:
    return Finding(facts.key_id, kind, severity, remedy, evidence)
