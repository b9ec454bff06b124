"""RFC 9457 problem details: every error of the API in one shape, with a stable `code`. Never shows internals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DataError, Error, InterfaceError, InternalError, OperationalError
from django.db.transaction import TransactionManagementError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from byok_portal import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_TYPE = "application/problem+json"
log = structlog.get_logger("byok.api")

_CODES = {
    400: "malformed_request",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def handle(exception: Exception, context: dict[str, Any]) -> Response:
    """DRF's exception handler: portal errors, DRF's own, and anything else as a bare 500."""
    error = exception if isinstance(exception, errors.PortalError) else _convert(exception)
    request = context.get("request")
    response = Response(
        document(error, instance=request.META.get("byok.request_id", "") if request else ""),
        status=error.status,
        content_type=CONTENT_TYPE,
    )
    for name, value in headers_of(error):
        response[name] = value
    return response


def document(error: errors.PortalError, *, instance: str) -> dict[str, Any]:
    """The problem document. `errors` lists fields and rules when the input was bad."""
    body: dict[str, Any] = {
        "type": f"urn:byok:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "instance": instance,
    }
    problems = error.problems if isinstance(error, errors.InvalidInputs) else [error] if error.field else []
    if problems:
        body["errors"] = [{"field": p.field, "code": p.code, "detail": p.detail} for p in problems]
    return body


def headers_of(error: errors.PortalError) -> Iterator[tuple[str, str]]:
    """The headers that the status asks for."""
    if error.status == 401:  # noqa: PLR2004
        yield "WWW-Authenticate", 'Bearer realm="byok-portal"'
    if isinstance(error, errors.RateLimited):
        yield "Retry-After", str(error.retry_after)
    if error.status == 503:  # noqa: PLR2004
        yield "Retry-After", "5"


def _convert(exception: Exception) -> errors.PortalError:
    if isinstance(exception, exceptions.ValidationError):
        return errors.InvalidInputs(list(_problems(exception.detail))) if exception.detail else errors.InvalidInput()
    if isinstance(exception, exceptions.APIException):
        code = _CODES.get(exception.status_code, "error")
        return _problem(exception.status_code, code, str(exception.detail))
    for kinds, error in _KNOWN:
        if isinstance(exception, kinds):
            return error
    if is_database_away(exception):
        log.warning("database_unavailable", error=type(exception).__name__)
        return errors.Unavailable("The database does not answer.", code="database_unavailable")
    # The type and the stack, never the text: it may quote what the caller sent.
    log.error("unhandled", error=type(exception).__name__, exc_info=exception)
    return errors.PortalError("The portal failed to answer. The request id names this failure in its log.")


def is_database_away(exception: BaseException) -> bool:
    """Whether the connection failed, a server or pooler ended it, or takes no writes now: trying again later is right.

    Of an exception of psycopg, or of Django with psycopg's behind it.
    """
    error = _behind(exception)
    if isinstance(error, Error) and isinstance(error.__cause__, psycopg.Error):
        error = error.__cause__
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate[:2] in _AWAY or error.sqlstate in _AWAY_NOW
    # PostgreSQL always names a state. Without one libpq or psycopg found that the conversation broke off: InternalError
    # is two answers to one COMMIT, as when the server and then the pooler say goodbye; a bare DatabaseError is none.
    return isinstance(error, _BROKEN) or type(error) is psycopg.DatabaseError


def _behind(exception: BaseException) -> BaseException | None:
    """What broke where Django tells of the consequence: a session not saved, a transaction that cannot go on."""
    error: BaseException | None = exception
    while isinstance(error, (SessionInterrupted, UpdateError, TransactionManagementError)):
        error = error.__cause__ if error.__suppress_context__ else error.__context__
    return error


def _problem(status: int, code: str, detail: str) -> errors.PortalError:
    error = errors.PortalError(detail, code=code)
    error.status, error.title = status, code.replace("_", " ").capitalize()
    return error


_AWAY: Final = frozenset({"08", "53", "57"})
"""Classes of SQLSTATE: connection exception, insufficient resources, operator intervention."""
_AWAY_NOW: Final = frozenset({"25006", "25P03", "25P04", "55000"})
"""Read-only (a standby, or about to become one), ended as it took too long (two of them), still in recovery."""
_BROKEN: Final = (
    *(OperationalError, InterfaceError, InternalError),
    *(psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError),
)
_KNOWN: Final[tuple[tuple[type[Exception], errors.PortalError], ...]] = (
    (Http404, errors.NotFound()),
    (PermissionDenied, errors.Forbidden()),
    (DataError, errors.InvalidInput("A value cannot be stored: it is out of range.", code="out_of_range")),
    (RequestDataTooBig, _problem(413, "body_too_large", "The request's body is too large: 1 MiB at most.")),
    (RecursionError, _problem(400, "malformed_request", "The request's body is nested too deeply.")),
)


def _problems(detail: Any, field: str = "") -> Iterator[errors.InvalidInput]:
    if isinstance(detail, dict):
        for name, value in detail.items():
            yield from _problems(value, f"{field}.{name}" if field else str(name))
    elif isinstance(detail, list):
        for item in detail:
            yield from _problems(item, field)
    else:
        yield errors.InvalidInput(str(detail), code=getattr(detail, "code", None) or "invalid", field=field or None)


def answer(request: HttpRequest, error: errors.PortalError) -> JsonResponse:
    """A problem outside DRF, such as an unknown address under /api/."""
    body = document(error, instance=request.META.get("byok.request_id", ""))
    return JsonResponse(body, status=error.status, content_type=CONTENT_TYPE, headers=dict(headers_of(error)))
