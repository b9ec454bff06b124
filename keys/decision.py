"""Decides one use of a key from facts read in one statement. Must never do I/O, raise or allow by default.

The checks run in the order of DESIGN.md section 7; the first that fails gives the code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from keys.facts import (
    ConsumerFacts,
    GrantFacts,
    KeyFacts,
    RateFacts,
    UseContext,
    UseRequest,
    VersionFacts,
)
from keys.restrictions import NetworkMatch, as_utc, has_come, match_networks
from keys.states import Custody, DataKeyState, Delivery, GrantState, KeyState, VersionState
from tenants.states import TenantState

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = [
    "Code",
    "ConsumerFacts",
    "Decision",
    "GrantFacts",
    "KeyFacts",
    "RateFacts",
    "UseContext",
    "UseRequest",
    "VersionFacts",
    "decide",
]


class Code(StrEnum):
    """The stable answer codes of a use."""

    ALLOWED = "allowed"
    CONSUMER_UNKNOWN = "consumer_unknown"
    NOT_FOUND = "not_found"
    TENANT_NOT_ACTIVE = "tenant_not_active"
    KEY_NOT_ACTIVE = "key_not_active"
    KEY_SUSPENDED = "key_suspended"
    KEY_REVOKED = "key_revoked"
    KEY_COMPROMISED = "key_compromised"
    NO_USABLE_VERSION = "no_usable_version"
    VERSION_BROWNOUT = "version_brownout"
    DATA_KEY_UNAVAILABLE = "data_key_unavailable"
    KEY_EXPIRED = "key_expired"
    GRANT_NOT_STARTED = "grant_not_started"
    GRANT_EXPIRED = "grant_expired"
    GRANT_ENDED = "grant_ended"
    SCOPE_NOT_GRANTED = "scope_not_granted"
    CALL_NOT_ALLOWED = "call_not_allowed"
    ENVIRONMENT_MISMATCH = "environment_mismatch"
    NETWORK_NOT_ALLOWED = "network_not_allowed"
    OUTSIDE_WINDOW = "outside_window"
    RATE_EXCEEDED = "rate_exceeded"
    DELIVERY_NOT_PERMITTED = "delivery_not_permitted"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `version` is the number used or refused, `network` the CIDR that admitted the caller."""

    allowed: bool
    code: Code
    status: int
    detail: str
    version: int | None = None
    missing_scope: str | None = None
    network: str | None = None
    retry_after: int | None = None


@dataclass(slots=True)  # not frozen: one is made for every use, and nobody else sees it
class _Case:
    tenant_state: TenantState
    consumer: ConsumerFacts
    key: KeyFacts
    grant: GrantFacts
    rate: RateFacts | None
    version: VersionFacts | None
    network: NetworkMatch
    request: UseRequest
    now: datetime


_ANSWERS: Final[dict[Code, tuple[int, str]]] = {
    Code.ALLOWED: (200, "The use is allowed."),
    Code.CONSUMER_UNKNOWN: (401, "The caller is not a known consumer."),
    Code.NOT_FOUND: (404, "Not found."),
    Code.TENANT_NOT_ACTIVE: (403, "The tenant is not active, so none of its keys can be used."),
    Code.KEY_NOT_ACTIVE: (403, "The key is not active yet."),
    Code.KEY_SUSPENDED: (403, "The key is suspended."),
    Code.KEY_REVOKED: (403, "The key is revoked."),
    Code.KEY_COMPROMISED: (403, "The key is compromised and can never be used again."),
    Code.NO_USABLE_VERSION: (403, "The key has no version that can be used."),
    Code.VERSION_BROWNOUT: (403, "This version is off for a rehearsal of its end. Move to the current version."),
    Code.DATA_KEY_UNAVAILABLE: (403, "The data key that seals this version is revoked or shredded."),
    Code.KEY_EXPIRED: (403, "The key has expired."),
    Code.GRANT_NOT_STARTED: (403, "The grant has not started."),
    Code.GRANT_EXPIRED: (403, "The grant has expired."),
    Code.GRANT_ENDED: (403, "The grant was ended."),
    Code.SCOPE_NOT_GRANTED: (403, "The scope is not granted to this consumer on this key."),
    Code.CALL_NOT_ALLOWED: (403, "No scope allows this call."),
    Code.ENVIRONMENT_MISMATCH: (403, "The key, the consumer and the request are not of one environment."),
    Code.NETWORK_NOT_ALLOWED: (403, "The caller's address is in no network that the key and the grant allow."),
    Code.OUTSIDE_WINDOW: (403, "The key cannot be used at this time of the week."),
    Code.RATE_EXCEEDED: (429, "The grant's rate is used up for now."),
    Code.DELIVERY_NOT_PERMITTED: (403, "This way of delivery is not permitted."),
}

_KEY_CODES: Final[dict[KeyState, Code]] = {
    KeyState.SUSPENDED: Code.KEY_SUSPENDED,
    KeyState.REVOKED: Code.KEY_REVOKED,
    KeyState.COMPROMISED: Code.KEY_COMPROMISED,
}

_OPENING_DATA_KEYS: Final = frozenset({DataKeyState.ACTIVE, DataKeyState.RETIRED})
_NEVER_CURRENT: Final = frozenset({VersionState.REGISTERED, VersionState.VERIFIED})


def decide(context: UseContext, request: UseRequest, now: datetime) -> Decision:
    """One use, allowed, or denied with the first failing check's code. Never raises."""
    consumer, key, grant = context.consumer, context.key, context.grant
    if consumer is None or not consumer.is_active:
        return _answer(Code.CONSUMER_UNKNOWN)
    # The ids are compared although the statement joined on them: a forgotten join must not lend a grant out.
    if key is None or grant is None or (grant.key_id, grant.consumer_id) != (key.id, consumer.id):
        return _answer(Code.NOT_FOUND)
    case = _Case(
        tenant_state=context.tenant_state,
        consumer=consumer,
        key=key,
        grant=grant,
        rate=context.rate,
        version=_choose_version(context.versions, asked=request.version, now=now),
        network=match_networks(request.address, key.networks, grant.networks),
        request=request,
        now=now,
    )
    for check in _CHECKS:
        code = check(case)
        if code is not None:
            return _answer(code, case)
    return _answer(Code.ALLOWED, case)


def _choose_version(versions: tuple[VersionFacts, ...], *, asked: int | None, now: datetime) -> VersionFacts | None:
    if len(versions) == 1 and asked is None and versions[0].state == VersionState.ACTIVE:
        return versions[0]  # as below, for nearly every key
    offered = [version for version in versions if asked is None or version.number == asked]
    usable = [
        version
        for version in offered
        if version.state == VersionState.ACTIVE or (asked is not None and _is_draining(version, now))
    ]
    if usable:
        return max(usable, key=lambda version: version.number)
    # A version that a job has marked expired is chosen, to be refused as expired: the code stays the same.
    started = [version for version in offered if version.state not in _NEVER_CURRENT]
    newest = max(started, key=lambda version: version.number, default=None)
    return newest if newest is not None and newest.state == VersionState.EXPIRED else None


def _is_draining(version: VersionFacts, now: datetime) -> bool:
    drains = version.state == VersionState.SUPERSEDED and version.drain_until is not None
    return drains and not has_come(version.drain_until, now)


def _is_dark(version: VersionFacts, now: datetime) -> bool:
    """Of a draining version only: one that is current again is never dark."""
    draining = version.state == VersionState.SUPERSEDED
    return draining and has_come(version.dark_from, now) and not has_come(version.dark_until, now)


def _check_tenant(case: _Case) -> Code | None:
    return None if case.tenant_state == TenantState.ACTIVE else Code.TENANT_NOT_ACTIVE


def _check_key_state(case: _Case) -> Code | None:
    if case.key.state == KeyState.ACTIVE:
        return Code.KEY_SUSPENDED if has_come(case.key.suspends_at, case.now) else None
    return _KEY_CODES.get(case.key.state, Code.KEY_NOT_ACTIVE)


def _check_version(case: _Case) -> Code | None:
    if case.version is None:
        return Code.NO_USABLE_VERSION
    if _is_dark(case.version, case.now):
        return Code.VERSION_BROWNOUT
    data_key = case.version.data_key
    # Material that is not sealed here needs no data key; one that is named must be able to open all the same.
    unsealed = data_key is None and case.key.custody in (Custody.REFERENCED, Custody.VERIFIER)
    return None if unsealed or data_key in _OPENING_DATA_KEYS else Code.DATA_KEY_UNAVAILABLE


def _check_expiry(case: _Case) -> Code | None:
    version = case.version
    expired = (
        version is None
        or version.state == VersionState.EXPIRED
        or has_come(version.expires_at, case.now)
        or has_come(case.key.ends_at, case.now)
    )
    return Code.KEY_EXPIRED if expired else None


def _check_grant(case: _Case) -> Code | None:
    grant = case.grant
    not_yet = grant.starts_at is not None and not has_come(grant.starts_at, case.now)
    if grant.state == GrantState.REQUESTED or not_yet:
        return Code.GRANT_NOT_STARTED
    if grant.state == GrantState.EXPIRED or has_come(grant.ends_at, case.now):
        return Code.GRANT_EXPIRED
    return None if grant.state == GrantState.ACTIVE else Code.GRANT_ENDED


def _check_scope(case: _Case) -> Code | None:
    scope = case.request.scope
    if scope is None and case.request.delivery == Delivery.BROKER:
        return Code.CALL_NOT_ALLOWED
    granted = scope in case.key.scopes and scope in case.grant.scopes
    return None if granted else Code.SCOPE_NOT_GRANTED


def _check_environment(case: _Case) -> Code | None:
    asked = case.request.environment
    same = case.key.environment == case.consumer.environment and asked in (None, case.key.environment)
    return None if same else Code.ENVIRONMENT_MISMATCH


def _check_network(case: _Case) -> Code | None:
    return None if case.network.admitted else Code.NETWORK_NOT_ALLOWED


def _check_window(case: _Case) -> Code | None:
    windows = (case.key.window, case.grant.window)
    is_open = all(window is None or window.contains(case.now) for window in windows)
    return None if is_open else Code.OUTSIDE_WINDOW


def _check_rate(case: _Case) -> Code | None:
    rate = case.rate
    return None if rate is None or rate.used < rate.limit else Code.RATE_EXCEEDED


def _check_delivery(case: _Case) -> Code | None:
    delivery = case.request.delivery
    # A verifier holds nothing that could be handed out or sent.
    possible = delivery == Delivery.DECISION or case.key.custody in (Custody.SEALED, Custody.REFERENCED)
    permitted = delivery in case.key.deliveries and delivery in case.grant.deliveries
    return None if possible and permitted else Code.DELIVERY_NOT_PERMITTED


_CHECKS: Final[tuple[Callable[[_Case], Code | None], ...]] = (
    _check_tenant,
    _check_key_state,
    _check_version,
    _check_expiry,
    _check_grant,
    _check_scope,
    _check_environment,
    _check_network,
    _check_window,
    _check_rate,
    _check_delivery,
)


def _answer(code: Code, case: _Case | None = None) -> Decision:
    if case is None:
        return _decision(code, None, None, None, None)
    return _decision(
        code,
        case.version.number if case.version is not None else None,
        case.request.scope if code is Code.SCOPE_NOT_GRANTED else None,
        case.network.network,
        _seconds_until_reset(case) if code is Code.RATE_EXCEEDED else None,
    )


@lru_cache(maxsize=1024)  # the same few answers all day
def _decision(
    code: Code, version: int | None, missing_scope: str | None, network: str | None, retry_after: int | None
) -> Decision:
    status, detail = _ANSWERS[code]
    return Decision(code is Code.ALLOWED, code, status, detail, version, missing_scope, network, retry_after)


def _seconds_until_reset(case: _Case) -> int | None:
    if case.rate is None:
        return None
    left = as_utc(case.rate.resets_at) - as_utc(case.now)
    return max(1, math.ceil(left.total_seconds()))
