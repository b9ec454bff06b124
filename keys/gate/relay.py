"""Hands a request to the web processes and their answer back, both as streams.

Must never read what it carries, add a header of its own, keep anything of one request for the next, or let a request
choose where it goes: only the path and the query are the caller's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpcore
from django.conf import settings

from byok_portal.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
    )
)
_OWN: Final = HOP_BY_HOP | {b"date", b"server"}
"""Of an answer: what belongs to one connection, and what this server says itself."""
CONNECTIONS: Final = 256
_TIMEOUTS: Final = {"connect": 5.0, "read": 150.0, "write": 60.0, "pool": 10.0}
_HELD: Final = 64 * 1024
"""So much of a body is read before a connection to the web is taken: who sends slowly holds none."""
_PIECE_SECONDS: Final = 30.0


class CallerGoneError(Exception):
    """Nobody is there any more who could be answered."""


class BrokenAnswerError(Exception):
    """The web's answer broke off after it had begun to go out."""


class Relay:
    """Connections to one origin. `origin`: such as `http://127.0.0.1:8001`; without one nothing can be passed on."""

    def __init__(self, origin: str) -> None:
        self._parts = urlsplit(origin) if origin else None
        # No connection is used twice: a web process may close one just when the next request is on its way.
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=CONNECTIONS, max_keepalive_connections=0, http1=True, http2=False, retries=0
        )

    async def close(self) -> None:
        """Leave."""
        await self._pool.aclose()

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, read: bytes = b"", more: bool = True) -> None:
        """Pass on a request of which `read` was read already; `more`: there is more to come.

        Raises InvalidInput for what is no request to an origin, Unavailable where the web cannot be reached,
        BrokenAnswerError when it stops in the middle of its answer.
        """
        if self._parts is None:
            raise Unavailable("Only uses are answered here: no web process is behind this gate.", code="no_web")
        body = _Body(receive, read, more=more)
        try:
            await body.fill(_HELD)
            request = self._request(scope, body)
            try:
                answer = await self._pool.handle_async_request(request)
            except httpcore.LocalProtocolError:
                raise malformed() from None
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
                raise Unavailable("The portal's web process does not answer.", code="web_unavailable") from None
            try:
                await _pass_back(answer, scope, send)
            finally:
                await answer.aclose()
        except CallerGoneError:
            return  # half a request is none, and there is nobody to tell

    def _request(self, scope: Scope, body: _Body) -> httpcore.Request:
        path: bytes = scope["raw_path"]
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if not path.startswith(b"/") or len(hosts) != 1 or self._parts is None:
            raise malformed()
        query: bytes = scope["query_string"]
        url = httpcore.URL(
            scheme=self._parts.scheme.encode(),
            host=(self._parts.hostname or "").encode(),
            port=self._parts.port,
            target=path + (b"?" + query if query else b""),
        )
        return httpcore.Request(
            scope["method"].encode(),
            url,
            headers=_onward(scope, body),
            content=body.pieces() if body.is_there else b"",
            extensions={"timeout": _TIMEOUTS},
        )


class _Body:
    """A request's body: what has been read of it, and what is still to come."""

    def __init__(self, receive: Receive, read: bytes, *, more: bool) -> None:
        self._receive, self._read, self._more = receive, bytearray(read), more

    @property
    def is_there(self) -> bool:
        """Whether there is any; known once it was filled."""
        return bool(self._read) or self._more

    @property
    def length(self) -> int | None:
        """Its length, when all of it is here."""
        return None if self._more else len(self._read)

    async def fill(self, size: int) -> None:
        """Read on until so much is here, or all."""
        while self._more and len(self._read) < size:
            self._read += await self._piece()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it."""
        if self._read:
            yield bytes(self._read)
        while self._more:
            piece = await self._piece()
            if piece:
                yield piece

    async def _piece(self) -> bytes:
        """Raises CallerGoneError, also for one who sends nothing for half a minute."""
        try:
            message = await asyncio.wait_for(self._receive(), _PIECE_SECONDS)
        except TimeoutError:
            raise CallerGoneError from None
        if message["type"] != "http.request":
            raise CallerGoneError
        self._more = message.get("more_body", False)
        return bytes(message.get("body", b""))


async def _pass_back(answer: httpcore.Response, scope: Scope, send: Send) -> None:
    headers = [(name.lower(), value) for name, value in answer.headers if name.lower() not in _OWN]
    pieces = answer.aiter_stream()
    if scope["http_version"] == "1.0" and not any(name == b"content-length" for name, _ in headers):
        # Such a caller does not know chunks.
        whole = b"".join([piece async for piece in _checked(pieces)])
        headers.append((b"content-length", str(len(whole)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": whole})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for piece in _checked(pieces):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _checked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield piece
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        raise BrokenAnswerError from None


def _onward(scope: Scope, body: _Body) -> list[tuple[bytes, bytes]]:
    """The headers, and one more address in `X-Forwarded-For`: the web trusts one proxy more than the gate does."""
    named = {
        name.strip().lower()
        for header, value in scope["headers"]
        if header == b"connection"
        for name in value.split(b",")
    }
    dropped = HOP_BY_HOP | named | {b"x-forwarded-for", b"x-forwarded-proto"}
    headers = [(name, value) for name, value in scope["headers"] if name not in dropped]
    earlier = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    peer = (scope["client"] or ("",))[0].encode()
    headers.append((b"x-forwarded-for", b", ".join([*earlier, peer])))
    headers.append((b"x-forwarded-proto", scheme_of(scope)))
    lengths = [value for name, value in headers if name == b"content-length"]
    if not lengths and body.is_there:
        length = body.length
        headers.append((b"transfer-encoding", b"chunked") if length is None else (b"content-length", b"%d" % length))
    return headers


def scheme_of(scope: Scope) -> bytes:
    """How the caller came: as the trusted proxies in front say; with none of them, what the caller says is nothing."""
    said = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    own: str = scope["scheme"]
    return said[-1] if said and settings.ALLAUTH_TRUSTED_PROXY_COUNT else own.encode()


def malformed() -> InvalidInput:
    """What is said of a request that HTTP does not know."""
    error = InvalidInput("This is not a request that the portal can answer.", code="malformed_request")
    error.status = 400
    return error
