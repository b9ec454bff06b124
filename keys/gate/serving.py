"""uvicorn's HTTP protocol with a short way for uses: no task, no messages, one write. Must never serve anything else.

Whatever is not plainly a use on a connection with nothing under way goes to the application by uvicorn's own cycle.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from keys.gate import asking, metrics
from keys.gate.replies import block_of

if TYPE_CHECKING:
    from keys.gate.app import Gate
    from keys.gate.heads import Head
    from keys.gate.replies import Reply

_END: Final = b"/use/"
_POST: Final = b"POST "
_LENGTH_DIGITS: Final = 5
_Headers = list[tuple[bytes, bytes]]


class ShortCycle:
    """One use, in the place where uvicorn's protocol keeps the request that is under way."""

    __slots__ = (
        "body",
        "disconnected",
        "head",
        "keep_alive",
        "message_event",
        "place",
        "protocol",
        "raw",
        "response_complete",
        "scope",
        "started",
        "url",
    )

    def __init__(self, protocol: GateProtocol, place: asking.Place, *, keep_alive: bool) -> None:
        self.protocol, self.place, self.keep_alive = protocol, place, keep_alive
        self.message_event = _NOBODY_WAITS
        self.body = self.raw = b""
        self.head: Head | None = None
        self.scope: Any = None
        self.url = b""
        self.disconnected = self.response_complete = False
        self.started = time.perf_counter()

    @classmethod
    def parsed(cls, protocol: GateProtocol, place: asking.Place) -> ShortCycle:
        """The request whose head was just parsed; its body is to come."""
        cycle = cls(protocol, place, keep_alive=protocol.parser.should_keep_alive())
        cycle.scope, cycle.url = protocol.scope, protocol.url
        return cycle

    @classmethod
    def known(cls, protocol: GateProtocol, head: Head, body: bytes, raw: bytes) -> ShortCycle:
        """A whole request whose head was parsed before."""
        cycle = cls(protocol, head.place, keep_alive=head.keep_alive)
        cycle.head, cycle.body, cycle.raw = head, body, raw
        return cycle

    def keep_head(self, client: str, data: bytes) -> None:
        """Remember the head of the request that `data` is, from its first byte to its last."""
        if self.head is not None:
            gate = self.protocol.gate
            gate.heads.keep(client, data, self.head, length=len(self.body), keep_alive=self.keep_alive)

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
    _between = True
    """Whether the parser has seen the last request's end and nothing of a next."""
    _begun = 0
    _quiet_since = 0.0
    _last: ShortCycle | None = None

    @property
    def gate(self) -> Gate:
        """The only application it serves."""
        gate: Gate = self.config.app  # type: ignore[assignment]
        return gate

    def data_received(self, data: bytes) -> None:
        """A whole use with a known head needs no parser; everything else goes through it."""
        if not (self._between and data.startswith(_POST) and (self.cycle is None or self.cycle.response_complete)):
            super().data_received(data)
            return
        client = (self.client or ("",))[0]
        known = self.gate.heads.find(client, data)
        if known is not None:
            self.cycle = ShortCycle.known(self, *known, data)
            self.gate.serve_use(self.cycle)
            return
        self._begun = 0
        super().data_received(data)
        last, self._last = self._last, None
        if last is not None and self._begun == 1 and self._between:
            last.keep_head(client, data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The request's head is here."""
        place = self._find_use()
        if place is None:
            super().on_headers_complete()
        else:
            self.cycle = ShortCycle.parsed(self, place)

    def on_body(self, body: bytes) -> None:
        """A piece of the body is here."""
        if type(self.cycle) is ShortCycle:
            self.cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here."""
        self._between = not self.parser.should_upgrade()  # what follows a call to change the protocol is not ours
        if type(self.cycle) is ShortCycle:
            self._last = self.cycle
            self.gate.serve_use(self.cycle)
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, with one timer for the connection instead of one for each answer."""
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._quiet_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close when nothing has come since; a request that is under way sets the timer anew at its end."""
        self.timeout_keep_alive_task = None
        if not self._between or not self.cycle.response_complete:
            return
        left = self._quiet_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self.transport.write(_block(self.gate.refuse_malformed(), self.server_state.default_headers, keep_alive=False))
        self.transport.close()

    def serve_long(self, short: ShortCycle) -> None:
        """Go on with uvicorn's own cycle, as if the short one had not begun."""
        if short.disconnected or self.transport.is_closing():
            return
        scope, url = (short.scope, short.url) if short.scope is not None else self._scope_again(short.raw)
        cycle = RequestResponseCycle(
            scope=scope,
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
        scope.update(method="POST", path=url.decode("ascii"), raw_path=url, query_string=b"")
        cycle.body += short.body
        cycle.more_body = False
        cycle.message_event.set()
        if self.cycle is short:
            self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    def _scope_again(self, raw: bytes) -> tuple[Any, bytes]:
        """(scope, address) of a request whose head was known, by a parser of its own: this one may be further on."""
        reader = _HeadReader()
        httptools.HttpRequestParser(reader).feed_data(raw)
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": reader.headers,
            "state": self.app_state.copy(),
        }
        return scope, reader.url

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


class _HeadReader:
    """What a parser says of a head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: _Headers = []

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.headers.append((name.lower(), value))


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
