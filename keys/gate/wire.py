"""Reading requests and writing answers in ASGI's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from byok_portal.boundary.requests import address_behind
from keys.gate.asking import BODY_MAX
from keys.gate.relay import CallerGoneError

if TYPE_CHECKING:
    from keys.gate.relay import Receive, Scope, Send
    from keys.gate.replies import Reply

_JSON: Final = b"application/json"


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    await send({"type": "http.response.body", "body": reply.body})


def address_of(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """The caller's address, as the web would say it."""
    forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
    return address_behind(forwarded, (scope["client"] or ("",))[0])


def is_json(headers: dict[bytes, bytes]) -> bool:
    """Whether a body of JSON came, and one may go back."""
    kind = headers.get(b"content-type", b"").split(b";")[0].strip()
    accept = headers.get(b"accept", b"*/*")
    return kind == _JSON and (b"*/*" in accept or _JSON in accept)


async def read_body(receive: Receive) -> tuple[bytes, bool, bool]:
    """(body so far, whether it is small enough to be read here, whether there is more of it to come)."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise CallerGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if not more or size > BODY_MAX:
            return b"".join(parts), size <= BODY_MAX, more
