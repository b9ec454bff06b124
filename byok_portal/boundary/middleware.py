"""Middleware: one log line per request, portal errors as pages, and the staff door's read-only login."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from csp.constants import HEADER
from csp.middleware import CSPMiddleware
from csp.utils import build_policy
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.shortcuts import render
from django.utils.functional import cached_property

from byok_portal import errors
from byok_portal.boundary import binding, logs
from byok_portal.boundary.identifiers import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

    GetResponse = Callable[[HttpRequest], HttpResponse]

log = structlog.get_logger("byok.request")
PROGRAMS: Final = "/api/v1/tenants/"
"""Below it there is no page for people."""


class RequestLog:
    """Gives each request an id and logs method, route, status and time. Never a path, query string, header or body.

    The route is the pattern that matched: a path may hold a secret, such as an invitation's token.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = str(new_id())
        request.META["byok.request_id"] = request_id
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            route = logs.route_of(request)
            log.info("request", method=request.method, route=route, status=response.status_code, ms=milliseconds)
        response["X-Request-Id"] = request_id
        return response


class _ForPages:
    """Steps aside for programs: their calls have no session, no messages and no person, only a token."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(PROGRAMS):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]  # of the class that this is mixed into


class Sessions(_ForPages, SessionMiddleware):
    """Django's, for pages."""


class SignedIn(_ForPages, AuthenticationMiddleware):
    """Django's, for pages."""


class Messages(_ForPages, MessageMiddleware):
    """Django's, for pages."""


class Policy(CSPMiddleware):
    """The content security policy; programs get the one of the settings, made once."""

    def __call__(self, request: HttpRequest) -> Any:
        if not request.path_info.startswith(PROGRAMS):
            return super().__call__(request)
        response: Any = self.get_response(request)
        response.headers.setdefault(HEADER, self._policy)
        return response

    @cached_property
    def _policy(self) -> str:
        return build_policy()


class StaffDoor:
    """Django admin reads as `byok_staff`: every tenant's metadata, no ciphertext, no write."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/staff/"):
            return self.get_response(request)
        with binding.use_alias(binding.STAFF):
            return self.get_response(request)


class PortalErrors:
    """Turns a portal error that left a page into that page's answer. The API has its own handler (`problems`)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Missing and forbidden look alike to a stranger: both come out of the same template as Django's own 404."""
        if isinstance(exception, errors.NotFound):
            return render(request, "404.html", status=404)
        if isinstance(exception, errors.PortalError) and exception.status < 500:  # noqa: PLR2004
            status = exception.status
            template = "403.html" if status == 403 else "400.html"  # noqa: PLR2004
            return render(request, template, {"error": exception}, status=status)
        return None
