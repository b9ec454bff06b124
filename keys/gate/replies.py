"""What goes back over the wire, byte for byte as the web's own door says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

from byok_portal.boundary import problems
from keys.canaries import PROCESS_HEADER, name_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from byok_portal.errors import PortalError

    Headers = list[tuple[bytes, bytes]]

JSON: Final = b"application/json"
PROBLEM: Final = problems.CONTENT_TYPE.encode()
UNAUTHENTICATED: Final = 401
_DEFAULT_TYPE: Final = "text/html; charset=utf-8"  # Django's
USE_METHODS: Final = b"POST, OPTIONS"
PROXY_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_encode = msgspec.json.Encoder().encode
# As DRF: JSON for a script element too.
_SEPARATORS: Final = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))


@dataclass(frozen=True, slots=True)
class Shared:
    """Headers that many answers have, also as they go over the wire."""

    headers: Headers
    block: bytes

    @classmethod
    def of(cls, headers: Headers) -> Shared:
        """These."""
        return cls(headers, block_of(headers))


@dataclass(slots=True)
class Reply:
    """A whole answer; `code` is the stable word of a refusal."""

    status: int
    own: Headers
    shared: Shared
    body: bytes
    code: str = ""

    @property
    def headers(self) -> Headers:
        """All of them."""
        return [*self.own, *self.shared.headers]


def block_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they go over the wire. Only for those of our own making: nothing is looked for in them."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


class _Secure(HttpRequest):
    """A request that came over TLS: the headers of one that did not are a redirect, which the web answers."""

    def _get_scheme(self) -> str:
        return "https"


def fixed_headers() -> Headers:
    """The headers that Django's middleware gives to every answer, with the settings of this process."""
    request = _Secure()
    response: Any = HttpResponse()
    for middleware in (XFrameOptionsMiddleware, CSPMiddleware, SecurityMiddleware):
        # Only what it does to an answer: asked as a whole, one would redirect.
        response = middleware(HttpResponse).process_response(request, response)
    del response["Content-Type"]
    return [(name.lower().encode(), value.encode()) for name, value in response.items()]


class Writer:
    """Builds replies; made once, when the settings are known."""

    def __init__(self) -> None:
        self._common = [*fixed_headers(), (b"cache-control", b"no-store")]
        self._shared = {allow: Shared.of([*self._common, (b"allow", allow)]) for allow in (USE_METHODS, PROXY_METHODS)}
        self._process = (PROCESS_HEADER.lower().encode(), name_process().encode())

    def document(
        self,
        status: int,
        body: dict[str, Any],
        *,
        request_id: UUID,
        kind: bytes = JSON,
        audit_id: UUID | None = None,
        allow: bytes = USE_METHODS,
        more: Iterable[tuple[str, str]] = (),
        code: str = "",
    ) -> Reply:
        """A JSON body with its receipt."""
        data = _encode(body)
        for separator, escaped in _SEPARATORS:
            if separator in data:
                data = data.replace(separator, escaped)
        identifier = str(request_id).encode()
        own = [(b"content-type", kind), (b"content-length", b"%d" % len(data)), (b"x-request-id", identifier)]
        if audit_id is not None:
            own.append((b"audit-id", identifier if audit_id == request_id else str(audit_id).encode()))
        own += [(name.lower().encode(), value.encode()) for name, value in more]
        return Reply(status, own, self._shared[allow], data, code)

    def brokered(self, headers: Mapping[str, str], *, request_id: UUID, audit_id: UUID, length: int | None) -> Headers:
        """The headers of a provider's answer, as they were allowed through, and ours."""
        given = {"content-type": _DEFAULT_TYPE, **headers}
        found = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
        found += [*self._common, (b"allow", PROXY_METHODS), (b"x-request-id", str(request_id).encode())]
        found.append((b"audit-id", str(audit_id).encode()))
        if length is not None:
            found.append((b"content-length", str(length).encode()))
        return found

    def problem(
        self,
        error: PortalError,
        *,
        request_id: UUID,
        audit_id: UUID | None = None,
        allow: bytes = USE_METHODS,
        is_use: bool = False,
    ) -> Reply:
        """An error as the API tells it. A refused token names no key, so of a use the process names itself (drills)."""
        body = problems.document(error, instance=str(request_id))
        reply = self.document(
            error.status,
            body,
            request_id=request_id,
            kind=PROBLEM,
            audit_id=audit_id,
            allow=allow,
            more=problems.headers_of(error),
            code=error.code,
        )
        if is_use and error.status == UNAUTHENTICATED:
            reply.own.append(self._process)
        return reply
