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
    "VERSION_TRANSITIONS",
    "ClockReason",
    "Custody",
    "DataKeyState",
    "Delivery",
    "Environment",
    "GrantState",
    "HandOverState",
    "KeyState",
    "RevocationReason",
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

GRANT_TRANSITIONS: Final[Mapping[GrantState, frozenset[GrantState]]] = MappingProxyType(
    {
        GrantState.REQUESTED: frozenset({GrantState.ACTIVE}),
        GrantState.ACTIVE: frozenset({GrantState.EXPIRED, GrantState.REVOKED}),
        GrantState.EXPIRED: frozenset(),
        GrantState.REVOKED: frozenset(),
    }
)
