"""What every provider adapter promises. Results never hold the secret, and `unknown` is said whenever it is
true.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from keys.upstream.http import CALL_LIMITS, PROBE_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue import ProviderEntry
    from keys.catalogue.entries import Json
    from keys.upstream.http import Request


NO_SUCCESSOR: Final = "no_successor"
"""Code of the Refused of a provider that surely made none."""


class UpstreamStatus(StrEnum):
    """What is known of the credential at the provider. Only a definite answer is more than unknown."""

    UNKNOWN = "unknown"
    VALID = "valid"
    INVALID = "invalid"
    UNREACHABLE = "unreachable"
    REVOKED_CONFIRMED = "revoked_confirmed"


class RotationWay(StrEnum):
    """How a successor comes about: the provider makes it when the portal asks, or people follow the guide."""

    ASSISTED = "assisted"
    GUIDED = "guided"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a key's calls go: `base_url` from `validate_endpoint`, `parameters` from `check_parameters`.

    `limits` are those of probes and revocations; brokered calls have longer ones of their own.
    """

    entry: ProviderEntry
    base_url: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    allow_private: bool = False
    limits: Limits = PROBE_LIMITS


@dataclass(frozen=True, slots=True)
class Account:
    """The upstream account. Equal ids are the same account; `label` is for people."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Excess:
    """A right that nobody chose, in plain words. `scope` is empty when it belongs to no scope of the
    catalogue.
    """

    scope: str
    says: str
    risk: int


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one look showed. `code` and `reason` say why, for people and programs; empty for a plain valid.

    `effective_scopes` None: the provider cannot tell. `partial_scopes` are held in part only: not enough to
    use,
    enough to be excess. `excess` here holds rights outside all scopes; `compare` gives the complete list.
    """

    status: UpstreamStatus
    account: Account | None = None
    expires_at: datetime | None = None
    effective_scopes: frozenset[str] | None = None
    partial_scopes: frozenset[str] = frozenset()
    excess: tuple[Excess, ...] = ()
    evidence: Mapping[str, Json] = field(default_factory=dict)
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallResult:
    """A brokered answer. Headers are an allow-list, and the secret has been taken out of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RevokeResult:
    """`done`: the provider said so. `supported` False: only people can do it. `evidence` is for `confirm`."""

    done: bool
    supported: bool
    note: str
    evidence: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuccessorPlan:
    """What a successor shall be, read from the credential that it replaces. `terms` are the adapter's own words.

    `born_seconds`: how long one lives at first, whatever is asked for; 0 where the provider does as asked.
    """

    terms: Mapping[str, Json]
    born_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Successor:
    """A credential that the provider has just made. `evidence` is for `confirm`, should it have to go again."""

    plaintext: Secret = field(repr=False)
    evidence: Mapping[str, Json] = field(default_factory=dict)


class Adapter(Protocol):
    """One provider's doors. No method changes anything upstream except `revoke` and what `call` is told to
    send.

    `probe`, `revoke` and `confirm` never raise for an upstream that is down: they answer unreachable or not
    done.
    A refused endpoint raises InvalidInput in all of them. One whose `rotation` is assisted is a `Succession` too.
    """

    rotation: RotationWay

    def probe(self, upstream: Upstream, plaintext: Secret, nonce: str) -> ProbeResult:
        """Looks, read-only. The nonce travels in the User-Agent so that the customer finds the look in his
        own log.
        """
        ...

    def call(
        self,
        upstream: Upstream,
        plaintext: Secret,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> CallResult:
        """Makes a call that `calls.find_scopes` has already allowed. Raises UpstreamUnavailable,
        InvalidInput.
        """
        ...

    def prepare(
        self,
        upstream: Upstream,
        plaintext: Secret,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        limits: Limits = CALL_LIMITS,
    ) -> Request:
        """The request of such a call, for whoever streams it. Raises InvalidInput."""
        ...

    def revoke(self, upstream: Upstream, plaintext: Secret) -> RevokeResult:
        """Asks the provider to kill the credential. Doing it twice is harmless."""
        ...

    def confirm(
        self, upstream: Upstream, plaintext: Secret, *, evidence: Mapping[str, Json] | None = None
    ) -> UpstreamStatus:
        """Looks again. REVOKED_CONFIRMED only when nothing but a dead credential explains the answer.

        `evidence` is what the last good probe, and the revocation, left behind (both merged).
        """
        ...

    def rotation_guide(self, upstream: Upstream) -> list[str]:
        """Steps for people, in order."""
        ...


class Succession(Protocol):
    """What an adapter does besides when its provider makes successors, asked with the customer's own credential.

    All but `foresee` may raise Refused (with what is missing) and UpstreamUnavailable.
    """

    def plan(self, upstream: Upstream, plaintext: Secret) -> SuccessorPlan:
        """Looks, read-only, whether the credential may have a successor, and which."""
        ...

    def create(
        self, upstream: Upstream, plaintext: Secret, plan: SuccessorPlan, *, mark: Mapping[str, str], seconds: int
    ) -> Successor:
        """Has it made, to live only so many seconds: one that is lost on the way dies by itself.

        `mark` lets the customer see in the provider what it is for. UpstreamUnavailable: it may exist all the same.
        """
        ...

    def keep(self, upstream: Upstream, plaintext: Secret, plan: SuccessorPlan) -> None:
        """Gives the successor (`plaintext`) the life that was planned."""
        ...

    def find_widening(self, plan: SuccessorPlan, evidence: Mapping[str, Json]) -> str:
        """What a probed successor may that the old one may not, in words; empty when it is no wider."""
        ...

    def foresee(self, evidence: Mapping[str, Json]) -> str:
        """Why, by the evidence of its last proof, a credential will have no successor; empty when nothing is known."""
        ...
