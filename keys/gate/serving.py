"""uvicorn's HTTP protocol with a short way for uses: no task, no messages, one write. Must never serve anything else.

Whatever is not plainly a use on a connection with nothing under way goes to the application by uvicorn's own cycle.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from keys.gate import asking, metrics
from keys.gate.replies import block_of

if TYPE_CHECKING:
    from keys.gate.app import Gate
    from keys.gate.replies import Reply

_END: Final = b"/use/"
_LENGTH_DIGITS: Final = 5
_Headers = list[tuple[bytes, bytes]]


class ShortCycle:
    """One use, in the place where uvicorn's protocol keeps the request that is under way."""

    __slots__ = (
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "path",
        "place",
        "protocol",
        "response_complete",
        "scope",
        "started",
    )

    def __init__(self, protocol: GateProtocol, place: asking.Place, path: str) -> None:
        self.protocol, self.place, self.path = protocol, place, path
        self.scope = protocol.scope
        self.message_event = _NOBODY_WAITS
        self.body = b""
        self.keep_alive: bool = protocol.parser.should_keep_alive()
        self.disconnected = self.response_complete = False
        self.started = time.perf_counter()

    @property
    def client(self) -> str:
        """The address that the connection came from."""
        return (self.protocol.client or ("",))[0]

    @property
    def headers(self) -> _Headers:
        """As they came, names in small letters."""
        headers: _Headers = self.scope["headers"]
        return headers

    def answer(self, reply: Reply) -> None:
        """Write the whole answer."""
        metrics.count_answer("use", reply.status, reply.code)
        protocol = self.protocol
        self.response_complete = True
        if self.disconnected or protocol.transport.is_closing():
            return
        protocol.transport.write(_block(reply, protocol.server_state.default_headers, keep_alive=self.keep_alive))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
        metrics.observe("use", time.perf_counter() - self.started)

    def hand_on(self) -> None:
        """Have the application serve it from the beginning: nothing was recorded of it."""
        self.protocol.serve_long(self)


class GateProtocol(HttpToolsProtocol):
    """One connection."""

    cycle: Any  # uvicorn's, or a short one
    scope: Any

    def on_headers_complete(self) -> None:
        """The request's head is here."""
        place = self._find_use()
        if place is None:
            super().on_headers_complete()
        else:
            self.cycle = ShortCycle(self, place, self.url.decode("ascii"))

    def on_body(self, body: bytes) -> None:
        """A piece of the body is here."""
        if type(self.cycle) is ShortCycle:
            self.cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here."""
        if type(self.cycle) is ShortCycle:
            gate: Gate = self.config.app  # type: ignore[assignment]  # the only application it serves
            gate.serve_use(self.cycle)
        else:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        gate: Gate = self.config.app  # type: ignore[assignment]
        self.transport.write(_block(gate.refuse_malformed(), self.server_state.default_headers, keep_alive=False))
        self.transport.close()

    def serve_long(self, short: ShortCycle) -> None:
        """Go on with uvicorn's own cycle, as if the short one had not begun."""
        if short.disconnected or self.transport.is_closing():
            return
        cycle = RequestResponseCycle(
            scope=short.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=short.keep_alive,
            on_response=self.on_response_complete,
        )
        raw = short.path.encode("ascii")
        short.scope.update(method="POST", path=short.path, raw_path=raw, query_string=b"")
        cycle.body += short.body
        cycle.more_body = False
        cycle.message_event.set()
        if self.cycle is short:
            self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    def _find_use(self) -> asking.Place | None:
        parser, url = self.parser, self.url
        if not url.endswith(_END) or parser.get_method() != b"POST" or b"%" in url or b"?" in url:
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # sent before the answer to another: uvicorn keeps their order
        if self.expect_100_continue or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return None
        return asking.find_use(url.decode("ascii")) if url.isascii() and _is_small(self.headers) else None


def _block(reply: Reply, more: _Headers, *, keep_alive: bool) -> bytes:
    """A whole answer as it goes over the wire. Every header is of our own making: none holds a caller's text."""
    end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
    return b"".join(
        (STATUS_LINE[reply.status], block_of(more), block_of(reply.own), reply.shared.block, end, reply.body)
    )


class _Nobody:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Nothing to do."""


_NOBODY_WAITS: Final = _Nobody()


def _is_small(headers: _Headers) -> bool:
    """Whether the body is said to be small enough to be read as a whole."""
    for name, value in headers:
        if name == b"content-length":
            return len(value) <= _LENGTH_DIGITS and value.isdigit() and int(value) <= asking.BODY_MAX
    return False
