"""Bearer tokens are the only way into the API. Must never accept a cookie, a password or a query parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.authentication import BaseAuthentication

from byok_portal.boundary import directory
from byok_portal.boundary.requests import origin_of

if TYPE_CHECKING:
    from rest_framework.request import Request

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.directory import Bearer


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer byok_live_…` and nothing else: no cookie, no basic, no query parameter."""

    def authenticate(self, request: Request) -> tuple[Actor, Bearer]:
        bearer = directory.get().get_bearer(request.META.get("HTTP_AUTHORIZATION"), origin_of(request))
        return bearer.actor, bearer

    def authenticate_header(self, request: Request) -> str:  # DRF's signature
        return 'Bearer realm="byok-portal"'
