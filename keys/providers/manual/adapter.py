"""Providers that the portal does not call. Every answer is an honest "cannot tell", and people get the
steps.
"""
# the contract's parameters; this adapter uses none of them

from __future__ import annotations

from typing import TYPE_CHECKING

from byok_portal.errors import Refused
from keys.providers import messages
from keys.providers.contract import ProbeResult, RevokeResult, RotationWay, Upstream, UpstreamStatus
from keys.upstream.http import CALL_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue.entries import Json
    from keys.upstream.http import Limits, Request


class ManualAdapter(messages.Broker):
    """Knows nothing of the provider, so claims nothing."""

    rotation = RotationWay.GUIDED

    def probe(self, upstream: Upstream, plaintext: Secret, nonce: str) -> ProbeResult:
        """Always unknown."""
        name = upstream.entry.name
        return ProbeResult(UpstreamStatus.UNKNOWN, code="no_probe", reason=f"The portal cannot ask {name} about a key")

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
        """Raises Refused `broker_unsupported`."""
        msg = f"The portal cannot make calls to {upstream.entry.name}"
        raise Refused(msg, code="broker_unsupported")

    def revoke(self, upstream: Upstream, plaintext: Secret) -> RevokeResult:
        """Only people can."""
        return RevokeResult(done=False, supported=False, note=upstream.entry.revoke_note)

    def confirm(
        self, upstream: Upstream, plaintext: Secret, *, evidence: Mapping[str, Json] | None = None
    ) -> UpstreamStatus:
        """Always unknown."""
        return UpstreamStatus.UNKNOWN

    def rotation_guide(self, upstream: Upstream) -> list[str]:
        """The catalogue's steps."""
        return list(upstream.entry.rotation_steps)
