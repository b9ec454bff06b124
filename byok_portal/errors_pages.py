"""Answers for addresses that no view takes, and for failures: as pages, or as problems under /api/."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def server_error(request: HttpRequest) -> HttpResponse:
    """Says that it failed, and under which request id the log knows more."""
    if request.path.startswith("/api/"):
        return problems.answer(request, errors.PortalError("The portal failed to answer."))
    return render(request, "500.html", {"request_id": request.META.get("byok.request_id", "")}, status=500)
