"""What a decision is made from: plain facts. Must never hold plaintext or a database row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from keys.restrictions import Window
    from keys.states import Custody, DataKeyState, Delivery, Environment, GrantState, KeyState, VersionState
    from tenants.states import TenantState


@dataclass(frozen=True, slots=True)
class ConsumerFacts:
    """The workload that asks; once suspended or offboarded it is not active, which means not known."""

    id: UUID
    environment: Environment
    is_active: bool


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The key and its policy. Empty `networks`, no `window`: no restriction. Empty sets permit nothing."""

    id: UUID
    state: KeyState
    environment: Environment
    custody: Custody
    scopes: frozenset[str]
    deliveries: frozenset[Delivery]
    networks: tuple[str, ...] = ()
    window: Window | None = None
    ends_at: datetime | None = None
    suspends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version. `data_key` is the state of the data key that seals it; None when no data key does.

    From `dark_from` until `dark_until` a draining version is refused, so that whoever still uses it is found.
    """

    number: int
    state: VersionState
    data_key: DataKeyState | None
    expires_at: datetime | None = None
    drain_until: datetime | None = None
    dark_from: datetime | None = None
    dark_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class GrantFacts:
    """The consumer's right on the key; it narrows the key's policy and can never widen it."""

    key_id: UUID
    consumer_id: UUID
    state: GrantState
    scopes: frozenset[str]
    deliveries: frozenset[Delivery]
    networks: tuple[str, ...] = ()
    window: Window | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RateFacts:
    """Allowed uses in the present period, without this one, and when the period ends."""

    limit: int
    used: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class UseContext:
    """All that a decision needs. `rate` is None when the grant has no limit."""

    consumer: ConsumerFacts | None
    tenant_state: TenantState
    key: KeyFacts | None
    versions: tuple[VersionFacts, ...]
    grant: GrantFacts | None
    rate: RateFacts | None


@dataclass(frozen=True, slots=True)
class UseRequest:
    """What the consumer asks. `scope` is None for a brokered call that no scope's patterns match."""

    scope: str | None
    purpose: str
    environment: Environment | None
    delivery: Delivery
    address: str | None
    version: int | None = None
