"""Light or dark, in the `theme` cookie and read by the server, so that no page flashes. Holds no state."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

COOKIE = "theme"
THEMES = frozenset({"light", "dark"})
ONE_YEAR = 365 * 24 * 3600


def read_theme(request: HttpRequest) -> str:
    """Return the chosen theme, or "" to follow the device; any other cookie value counts as none."""
    chosen = request.COOKIES.get(COOKIE, "")
    return chosen if chosen in THEMES else ""


def theme(request: HttpRequest) -> dict[str, str]:
    """Add `theme` to every context (a context processor)."""
    return {"theme": read_theme(request)}


@require_POST
def switch_theme(request: HttpRequest) -> HttpResponse:
    """Set the cookie and go back: the toggle without JavaScript."""
    response = HttpResponseRedirect(_safe_return(request))
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        # Not HttpOnly: app.js writes the same cookie, and it says nothing about the person.
        response.set_cookie(COOKIE, chosen, max_age=ONE_YEAR, samesite="Lax", secure=request.is_secure())
    return response


def _safe_return(request: HttpRequest) -> str:
    target = request.POST.get("next", "")
    same_site = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if same_site else "/"
