"""The portal's errors: each has a stable code, an HTTP status and, for bad input, the field and the rule.

Must never carry plaintext: messages are shown to callers, logged and stored by the job queue.
"""

from __future__ import annotations


class PortalError(Exception):
    """Base of every error that a door turns into an answer (RFC 9457 `code`, `status`, `title`)."""

    code = "error"
    status = 500
    title = "Something went wrong"

    def __init__(self, detail: str = "", *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.field = field
        if code is not None:
            self.code = code


class InvalidInput(PortalError):
    """One field breaks one rule; both are named. `code` is the rule, such as `end_date_in_past`."""

    code = "invalid_input"
    status = 422
    title = "The input breaks a rule"


class InvalidInputs(PortalError):
    """Several fields break rules at once; `problems` lists each one."""

    code = "invalid_input"
    status = 422
    title = "Some fields break a rule"

    def __init__(self, problems: list[InvalidInput]) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.problems = problems


class Unauthenticated(PortalError):
    """The caller is not known: no credential, or one that does not verify."""

    code = "unauthenticated"
    status = 401
    title = "Authentication is required"


class Forbidden(PortalError):
    """The caller is known and may see the object, but lacks the permission. Recorded as a denial."""

    code = "permission_denied"
    status = 403
    title = "You do not have this permission"


class NotFound(PortalError):
    """Missing, or another tenant's: the two are never told apart."""

    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(PortalError):
    """The object's state does not allow the change (a revoked key cannot be rotated)."""

    code = "conflict"
    status = 409
    title = "The current state does not allow this"


class Refused(PortalError):
    """A policy or proof refuses the change; recorded as a denial with its code."""

    code = "refused"
    status = 422
    title = "Refused"


class RateLimited(PortalError):
    """Too many calls; `retry_after` is in whole seconds."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"

    def __init__(self, detail: str = "", *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class UpstreamUnavailable(PortalError):
    """The provider did not answer in time; nothing is known about the credential."""

    code = "upstream_unavailable"
    status = 502
    title = "The provider could not be reached"


class Unavailable(PortalError):
    """A part of the portal that is needed is down or full; trying again later is right."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"


class IntegrityError(PortalError):
    """Stored data does not verify: ciphertext, chain or key commitment. Never answered with a fallback."""

    code = "integrity_error"
    status = 500
    title = "Stored data failed verification"
