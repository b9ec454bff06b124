"""The states of a tenant and the moves between them, and the environments. Must never import Django."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class TenantState(StrEnum):
    """Where a tenant is in its life with us; only an active tenant's keys can be used."""

    ONBOARDING = "onboarding"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    OFFBOARDING = "offboarding"
    OFFBOARDED = "offboarded"


class ProjectState(StrEnum):
    """Whether what belongs to a project is served; its end refuses all of it at once."""

    ACTIVE = "active"
    ENDED = "ended"


class SubjectKind(StrEnum):
    """What an offboarding ends. An owner is a member who leaves."""

    TENANT = "tenant"
    PROJECT = "project"
    CONSUMER = "consumer"
    OWNER = "owner"


class Environment(StrEnum):
    """Where a key and a consumer live; they meet only in the same one."""

    PRODUCTION = "production"
    STAGING = "staging"
    DEVELOPMENT = "development"


TENANT_TRANSITIONS: Final[Mapping[TenantState, frozenset[TenantState]]] = MappingProxyType(
    {
        # An invitation that nobody accepts must not keep a tenant open for ever.
        TenantState.ONBOARDING: frozenset({TenantState.ACTIVE, TenantState.OFFBOARDING}),
        TenantState.ACTIVE: frozenset({TenantState.SUSPENDED, TenantState.OFFBOARDING}),
        TenantState.SUSPENDED: frozenset({TenantState.ACTIVE, TenantState.OFFBOARDING}),
        TenantState.OFFBOARDING: frozenset({TenantState.OFFBOARDED}),
        TenantState.OFFBOARDED: frozenset(),
    }
)
