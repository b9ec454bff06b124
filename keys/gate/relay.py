"""Hands a request to the web processes and their answer back, both as streams. Must never read what it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx

from byok_portal.errors import Unavailable

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
_PIECES: Final = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=4)
_PATIENCE: Final = httpx.Timeout(5, read=150, write=60, pool=10)


class Relay:
    """Connections to one origin. `origin`: such as `http://127.0.0.1:8001`; without one nothing can be passed on."""

    def __init__(self, origin: str) -> None:
        self._origin = origin.rstrip("/")
        self._client = httpx.AsyncClient(
            limits=_PIECES, timeout=_PATIENCE, follow_redirects=False, trust_env=False, http2=False
        )

    async def close(self) -> None:
        """Leave."""
        await self._client.aclose()

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, read: bytes = b"", more: bool = True) -> None:
        """Pass on a request of which `read` was read already; `more`: there is more to come.

        Raises Unavailable where the web cannot be reached and nothing was sent back yet.
        """
        if not self._origin:
            raise Unavailable("Only uses are answered here: no web process is behind this gate.", code="no_web")
        query = scope["query_string"]
        target = self._origin.encode() + scope["raw_path"] + (b"?" + query if query else b"")
        request = self._client.build_request(
            scope["method"],
            httpx.URL(target.decode("ascii")),
            headers=_onward(scope),
            content=_body(receive, read, more=more) if read or more else None,
        )
        try:
            answer = await self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Unavailable("The portal's web process does not answer.", code="web_unavailable") from None
        try:
            headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _OWN]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for piece in answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()


def _onward(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers, and one more address in `X-Forwarded-For`: the web trusts one proxy more than the gate does."""
    named = {
        name.strip().lower()
        for header, value in scope["headers"]
        if header == b"connection"
        for name in value.split(b",")
    }
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name not in HOP_BY_HOP and name not in named and name != b"x-forwarded-for"
    ]
    earlier = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    peer = (scope["client"] or ("",))[0].encode()
    headers.append((b"x-forwarded-for", b", ".join([*earlier, peer])))
    if not any(name == b"x-forwarded-proto" for name, _ in headers):
        headers.append((b"x-forwarded-proto", scope["scheme"].encode()))
    return headers


async def _body(receive: Receive, read: bytes, *, more: bool) -> AsyncIterator[bytes]:
    if read:
        yield read
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]
