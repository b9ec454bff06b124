"""The provider catalogue's types. Frozen data only: what the portal knows of a provider, never anyone's
secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a credential looks like. `checksum` names an algorithm that the text must also satisfy."""

    pattern: str
    label: str
    mode: str = ""  # "live", "test", "admin" or nothing
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where calls go: one fixed URL for all, or a base URL that the customer gives."""

    kind: str
    url: str = ""
    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value of the key (not of the provider) that call patterns and capability paths refer to.

    Left empty it takes no room in a path (a prefix), or stands for any one segment when `any_when_empty`.
    """

    name: str
    label: str
    help: str
    pattern: str
    default: str = ""
    any_when_empty: bool = False


@dataclass(frozen=True, slots=True)
class Auth:
    """How the credential travels: `template` holds `{secret}` once."""

    header: str
    template: str


@dataclass(frozen=True, slots=True)
class PresetEntry:
    """A named choice of scopes."""

    id: str
    name: str
    description: str
    scopes: tuple[str, ...]
    suggested: bool = False


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """A heading for scopes; `icon` is a Lucide name."""

    id: str
    name: str
    icon: str


@dataclass(frozen=True, slots=True)
class Capability:
    """Rights on one OpenBao path that a scope needs. The scopes share out a path's rights, none twice."""

    path: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScopeEntry:
    """A named right: what it allows in words, what a thief could do, and the calls that it allows.

    `risk` is 1 (low) to 4 (critical). `inherent` rights come with any credential and never count as excess.
    """

    id: str
    group: str
    name: str
    can: str
    consequence: str
    risk: int
    calls: tuple[str, ...]
    minimum: bool = False
    inherent: bool = False
    capabilities: tuple[Capability, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A path that no honest key for this portal can reach; reaching it is excess, told with these words."""

    path: str
    says: str
    risk: int


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """A read-only question to the provider and how to read the answer. Sources are `json:a.b` or
    `header:name`.

    `limited` statuses mean: valid, but not permitted to ask. `dead_errors`, when given, are the only error
    codes
    that prove the credential dead; other refusals (an IP allow-list, say) answer with the same status.
    """

    method: str
    path: str
    body: str = ""
    valid: tuple[int, ...] = (200,)
    limited: tuple[int, ...] = ()
    invalid: tuple[int, ...] = (401,)
    ok: str = ""
    error: str = ""
    invalid_errors: tuple[str, ...] = ()
    dead_errors: tuple[str, ...] = ()
    account_id: tuple[str, ...] = ()
    account_label: str = ""
    expires: str = ""
    scopes: str = ""
    scope_map: tuple[tuple[str, tuple[str, ...]], ...] = ()
    evidence: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RevokeSpec:
    """How the provider kills the credential, asked with the credential itself.

    `accepted` statuses mean: heard, not yet done. A `body` may hold `{secret}`; without `authenticated` it
    must.
    """

    method: str
    path: str
    body: str = ""
    done: tuple[int, ...] = (200, 204)
    accepted: tuple[int, ...] = ()
    ok: str = ""
    authenticated: bool = True


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """One provider, complete. `rotation_class` is A to E as in the documentation; `revoke_note` says it in
    words.
    """

    slug: str
    name: str
    abbreviation: str
    tile: str
    summary: str
    docs: str
    adapter: str
    rotation_class: str
    revoke_note: str
    rotation_steps: tuple[str, ...]
    endpoint: Endpoint
    auth: Auth
    account_label: str
    shapes: tuple[Shape, ...]
    groups: tuple[GroupEntry, ...]
    scopes: tuple[ScopeEntry, ...]
    presets: tuple[PresetEntry, ...]
    private_networks: bool = False
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    forward_headers: tuple[str, ...] = ()
    return_headers: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ("application/json",)
    sentinels: tuple[Sentinel, ...] = ()
    probe: ProbeSpec | None = None
    revoke: RevokeSpec | None = None

    def scope(self, scope_id: str) -> ScopeEntry | None:
        """The scope of that id, if the provider has it."""
        return next((scope for scope in self.scopes if scope.id == scope_id), None)
