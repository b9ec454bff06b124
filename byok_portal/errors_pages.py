"""Answers for addresses that no view takes, and for failures: as pages, or as problems under /api/."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from django.core.exceptions import RequestDataTooBig
from django.shortcuts import render

from byok_portal import errors
from byok_portal.boundary import problems

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """The same bytes for a missing page, a missing tenant and another tenant's."""
    if request.path.startswith("/api/"):
        return problems.answer(request, errors.NotFound())
    return render(request, "404.html", status=404)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """A request that Django refuses to read. One that is too big is named: people paste whole files.

    A session that could not be saved comes here too: 503 when that was because the database is away.
    """
    if exception is not None and problems.is_database_away(exception):
        return _unavailable(request)
    error: errors.PortalError = errors.InvalidInput("The request could not be read.", code="malformed_request")
    error.status = 400
    if isinstance(exception, RequestDataTooBig):
        error = errors.InvalidInput(
            "What was sent is bigger than 1 MiB. A secret has at most 16 KiB.", code="too_large"
        )
        error.status, error.title = 413, "That is too much"
    if request.path.startswith("/api/"):
        return problems.answer(request, error)
    return render(request, "400.html", {"error": error} if error.status != 400 else {}, status=error.status)  # noqa: PLR2004


def server_error(request: HttpRequest) -> HttpResponse:
    """Says that it failed; 503 while the database is away. Django calls this while it handles the exception."""
    failure = sys.exc_info()[1]
    if failure is not None and problems.is_database_away(failure):
        return _unavailable(request)
    if request.path.startswith("/api/"):
        return problems.answer(request, errors.PortalError("The portal failed to answer."))
    return render(request, "500.html", {"request_id": request.META.get("byok.request_id", "")}, status=500)


def _unavailable(request: HttpRequest) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problems.answer(
            request, errors.Unavailable("The database does not answer.", code="database_unavailable")
        )
    answer = render(request, "503.html", status=503)
    answer["Retry-After"] = "5"
    return answer
