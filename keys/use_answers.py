"""The answers to a use, the same by whichever door: bodies, statuses, headers. Must never say more than the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byok_portal.boundary import problems
from byok_portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.secrets import Secret
    from keys.decision import Decision


class Denied(PortalError):
    """A denied use as a problem: the decision's own code and status."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.detail, code=decision.code.value)
        self.status, self.title, self.decision = decision.status, "The use is denied", decision


def allowed(
    decision: Decision,
    *,
    audit_id: UUID,
    key_id: UUID | None,
    plaintext: Secret | None = None,
    lease_expires_at: datetime | None = None,
) -> dict[str, Any]:
    """The body of an allowed use."""
    body: dict[str, Any] = {
        "allowed": True,
        "code": decision.code.value,
        "audit_id": audit_id,
        "key": key_id,
        "version": decision.version,
    }
    if plaintext is not None:
        body["lease"] = {"secret": plaintext.reveal_text(), "expires_at": lease_expires_at}
    return body


def denied(decision: Decision, *, audit_id: UUID, instance: str) -> dict[str, Any]:
    """The problem of a denied use, with its receipt. A missing key and a missing grant answer alike."""
    body = problems.document(Denied(decision), instance=instance)
    body["audit_id"] = str(audit_id)
    if decision.missing_scope:
        body["missing_scope"] = decision.missing_scope
    return body


def denial_headers(decision: Decision) -> Iterator[tuple[str, str]]:
    """What the status and the rate ask for."""
    yield from problems.headers_of(Denied(decision))
    if decision.retry_after is not None:
        yield "Retry-After", str(decision.retry_after)
        yield "RateLimit", f'"grant";r=0;t={decision.retry_after}'


def introspected(
    *,
    key_id: UUID | None = None,
    scopes: Sequence[str] = (),
    environment: str = "",
    ends_at: datetime | None = None,
) -> dict[str, Any]:
    """RFC 7662: nothing but `active` when the credential is not a live key of the tenant."""
    if key_id is None or ends_at is None:
        return {"active": False}
    return {
        "active": True,
        "key": key_id,
        "scope": " ".join(scopes),
        "environment": environment,
        "exp": int(ends_at.timestamp()),
    }
