"""The states, moves and closed lists of words about keys. Must never import Django."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tenants.states import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

# Environment lives with tenants, because consumers have one too and tenants may not import keys.
__all__ = [
    "GRANT_TRANSITIONS",
    "INCIDENT_TRANSITIONS",
    "SUCCESSION_TRANSITIONS",
    "TASK_TRANSITIONS",
    "VERSION_TRANSITIONS",
    "CampaignState",
    "ClockReason",
    "Custody",
    "DataKeyState",
    "Delivery",
    "DrillKind",
    "DrillState",
    "Environment",
    "GrantState",
    "HandOverState",
    "IncidentState",
    "ItemState",
    "KeyState",
    "RevocationReason",
    "SuccessionState",
    "TaskKind",
    "TaskState",
    "VersionState",
]


class KeyState(StrEnum):
    """The state of the stable identity, over all its versions."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    COMPROMISED = "compromised"


class VersionState(StrEnum):
    """The state of one piece of material (SP 800-57 words)."""

    REGISTERED = "registered"
    VERIFIED = "verified"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    EXPIRED = "expired"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


class GrantState(StrEnum):
    """The state of a consumer's right on one key."""

    REQUESTED = "requested"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ClockReason(StrEnum):
    """Why the clock suspends a key when nobody acts."""

    OVERDUE = "overdue"
    NO_OWNER = "no_owner"
    NOT_RECERTIFIED = "not_recertified"


class HandOverState(StrEnum):
    """Whether somebody still has to be named for a key whose owner left."""

    OPEN = "open"
    CLOSED = "closed"


class IncidentState(StrEnum):
    """How far the answer to an exposed key has come (OCSF's words for an incident)."""

    NEW = "new"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    RESOLVED = "resolved"
    CLOSED = "closed"


class TaskKind(StrEnum):
    """What has to be done about an exposed key."""

    REVOKE_UPSTREAM = "revoke_upstream"
    REPLACE = "replace"
    ROTATE = "rotate"
    REVIEW_USES = "review_uses"
    CHECK_KEY = "check_key"
    TELL = "tell"


class TaskState(StrEnum):
    """Whether a task of an incident still waits."""

    OPEN = "open"
    DONE = "done"
    NOT_NEEDED = "not_needed"


class CampaignState(StrEnum):
    """Whether owners are being asked. What a closed campaign got no answer to keeps its consequence."""

    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """What the people who answer for a key said in a campaign. Only a confirmation settles it."""

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    CHANGE_NEEDED = "change_needed"
    NOT_MINE = "not_mine"


class DrillKind(StrEnum):
    """What is rehearsed on a canary key."""

    REVOCATION = "revocation"
    ROTATION = "rotation"
    OFFBOARDING = "offboarding"


class DrillState(StrEnum):
    """Where a drill is. `confirming`: ended here, the provider has not confirmed yet."""

    PLANNED = "planned"
    RUNNING = "running"
    CONFIRMING = "confirming"
    PASSED = "passed"
    FAILED = "failed"


class SuccessionState(StrEnum):
    """How far the making of a successor by the provider is: asked for, here and sealed, current, or given up."""

    ASKED = "asked"
    MADE = "made"
    DONE = "done"
    GIVEN_UP = "given_up"


class DataKeyState(StrEnum):
    """The state of a tenant's data key: active seals and opens, retired only opens, the others do neither."""

    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"
    SHREDDED = "shredded"


class Custody(StrEnum):
    """Where the material lives: sealed here, in the customer's own manager, or nowhere but as a verifier."""

    SEALED = "sealed"
    REFERENCED = "referenced"
    VERIFIER = "verifier"


class Delivery(StrEnum):
    """How an allowed use reaches the consumer."""

    DECISION = "decision"
    LEASE = "lease"
    BROKER = "broker"


class RevocationReason(StrEnum):
    """Why a version, key or grant was revoked (RFC 5280 words first, then ours)."""

    KEY_COMPROMISE = "key_compromise"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"
    AFFILIATION_CHANGED = "affiliation_changed"
    HOLD = "hold"
    CONTRACT_ENDED = "contract_ended"
    LEAK_REPORT = "leak_report"
    POLICY_VIOLATION = "policy_violation"
    DORMANT = "dormant"


_V = VersionState
_AFTER_LIVE = frozenset({_V.SUPERSEDED, _V.EXPIRED, _V.REVOKED, _V.COMPROMISED})

VERSION_TRANSITIONS: Final[Mapping[VersionState, frozenset[VersionState]]] = MappingProxyType(
    {
        # Revoked before it was ever active: its material stays until the provider has confirmed the end as well.
        _V.REGISTERED: frozenset({_V.VERIFIED, _V.REVOKED, _V.COMPROMISED, _V.DESTROYED}),
        _V.VERIFIED: frozenset({_V.ACTIVE, _V.REVOKED, _V.COMPROMISED, _V.DESTROYED}),
        _V.ACTIVE: _AFTER_LIVE | {_V.SUSPENDED},
        _V.SUSPENDED: _AFTER_LIVE | {_V.ACTIVE},
        # Back to active: a rotation that is rolled back while the old version still drains.
        _V.SUPERSEDED: frozenset({_V.ACTIVE, _V.REVOKED, _V.COMPROMISED}),
        _V.REVOKED: frozenset({_V.COMPROMISED, _V.DESTROYED}),
        _V.EXPIRED: frozenset({_V.COMPROMISED, _V.DESTROYED}),
        _V.COMPROMISED: frozenset({_V.DESTROYED}),
        _V.DESTROYED: frozenset(),
    }
)

SUCCESSION_TRANSITIONS: Final[Mapping[SuccessionState, frozenset[SuccessionState]]] = MappingProxyType(
    {
        SuccessionState.ASKED: frozenset({SuccessionState.MADE, SuccessionState.GIVEN_UP}),
        SuccessionState.MADE: frozenset({SuccessionState.DONE, SuccessionState.GIVEN_UP}),
        SuccessionState.DONE: frozenset(),
        SuccessionState.GIVEN_UP: frozenset(),
    }
)

GRANT_TRANSITIONS: Final[Mapping[GrantState, frozenset[GrantState]]] = MappingProxyType(
    {
        GrantState.REQUESTED: frozenset({GrantState.ACTIVE}),
        GrantState.ACTIVE: frozenset({GrantState.EXPIRED, GrantState.REVOKED}),
        GrantState.EXPIRED: frozenset(),
        GrantState.REVOKED: frozenset(),
    }
)

_I = IncidentState
_AT_WORK = frozenset({_I.IN_PROGRESS, _I.ON_HOLD, _I.RESOLVED, _I.CLOSED})

INCIDENT_TRANSITIONS: Final[Mapping[IncidentState, frozenset[IncidentState]]] = MappingProxyType(
    {
        _I.NEW: _AT_WORK,
        _I.IN_PROGRESS: _AT_WORK - {_I.IN_PROGRESS},
        _I.ON_HOLD: _AT_WORK - {_I.ON_HOLD},
        # Taken up again when it turns out that it was not over.
        _I.RESOLVED: frozenset({_I.IN_PROGRESS, _I.CLOSED}),
        _I.CLOSED: frozenset(),
    }
)

TASK_TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = MappingProxyType(
    {
        TaskState.OPEN: frozenset({TaskState.DONE, TaskState.NOT_NEEDED}),
        TaskState.DONE: frozenset(),
        TaskState.NOT_NEEDED: frozenset(),
    }
)
