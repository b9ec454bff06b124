"""Whether a credential is a live key right now. Must never do I/O; refuses in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keys.restrictions import has_come
from keys.states import KeyState, VersionState
from tenants.states import ProjectState, TenantState

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """One version with its key, project and tenant. `…_is_over`: an agreed last day has passed, which ends it."""

    tenant_state: str
    tenant_is_over: bool
    project_state: str | None
    project_is_over: bool
    key_state: str
    suspends_at: datetime | None
    key_ends_at: datetime | None
    version_state: str
    expires_at: datetime | None
    drain_until: datetime | None
    dark_from: datetime | None
    dark_until: datetime | None

    @property
    def ends_at(self) -> datetime | None:
        """When the clock ends it at the latest."""
        return min((end for end in (self.expires_at, self.key_ends_at) if end is not None), default=None)


def is_live(facts: CredentialFacts, now: datetime) -> bool:
    """Whether a use of this version, with a grant that allows it, could be allowed now."""
    return (
        facts.tenant_state == TenantState.ACTIVE
        and not facts.tenant_is_over
        and facts.project_state in {None, ProjectState.ACTIVE.value}
        and not facts.project_is_over
        and facts.key_state == KeyState.ACTIVE
        and not has_come(facts.suspends_at, now)
        and _is_usable(facts, now)
        and not has_come(facts.ends_at, now)
    )


def _is_usable(facts: CredentialFacts, now: datetime) -> bool:
    if facts.version_state == VersionState.ACTIVE:
        return True
    drains = facts.version_state == VersionState.SUPERSEDED and facts.drain_until is not None
    is_dark = has_come(facts.dark_from, now) and not has_come(facts.dark_until, now)
    return drains and not has_come(facts.drain_until, now) and not is_dark
