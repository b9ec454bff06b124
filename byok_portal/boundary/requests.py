"""What a door takes from a request: where it came from. No header of it ever names an actor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from byok_portal.boundary.actors import Once, Origin

if TYPE_CHECKING:
    from django.http import HttpRequest


def origin_of(request: HttpRequest) -> Origin:
    """Address, user agent and request id. `X-Forwarded-For` counts only behind the configured number of proxies."""
    return Origin(
        address=address_of(request),
        user_agent=request.META.get("HTTP_USER_AGENT", "")[:200],
        request_id=request.META.get("byok.request_id", ""),
        # Kept with the request: several doors may each make an origin of it, and one id is one event.
        first_event=request.META.setdefault("byok.first_event", Once()),
    )


def address_of(request: HttpRequest) -> str:
    """The caller's address as the outermost trusted proxy saw it."""
    return address_behind(request.META.get("HTTP_X_FORWARDED_FOR", ""), str(request.META.get("REMOTE_ADDR", "")))


def address_behind(forwarded_for: str, peer: str) -> str:
    """The caller's address from the `X-Forwarded-For` header and the address of whoever opened the connection."""
    trusted: int = settings.ALLAUTH_TRUSTED_PROXY_COUNT
    if not trusted:
        return peer
    forwarded = [part.strip() for part in forwarded_for.split(",") if part.strip()]
    return forwarded[-trusted] if len(forwarded) >= trusted else peer
