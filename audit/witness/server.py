"""The witness's HTTP side: limits, deadlines, routes. Must never decide: `service` does, and never log a request."""

from __future__ import annotations

import re
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final

import structlog

from audit.witness.service import PLAIN, REQUEST_MAX_BYTES, Answer, Witness
from byok_portal.errors import InvalidInput

log = structlog.get_logger("byok.witness")

REQUEST_SECONDS: Final = 20.0
"""From waiting for a request to its answer; a connection that is idle for so long is closed as well."""
CONNECTIONS_MAX: Final = 64

_MONITORING: Final = re.compile(r"/([0-9a-f]{64})/checkpoint")


class WitnessServer(ThreadingMixIn, TCPServer):
    """Serves one witness at an address. A thread per connection, and only so many of them."""

    allow_reuse_address = True
    daemon_threads = True  # a stop may cut an answer off: what was signed is stored, and the log asks again
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, host: str, port: int, witness: Witness, *, request_seconds: float = REQUEST_SECONDS) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.witness = witness
        self.request_seconds = request_seconds
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        """The port that is listened on, when 0 was asked for."""
        return int(self.socket.getsockname()[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._places.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("request_failed")  # noqa: LOG004  # called while the exception is handled; logs has no text of it


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WitnessServer

    def handle_one_request(self) -> None:
        """One request with a deadline, because a client that trickles is in time with each of its bytes."""
        timer = threading.Timer(self.server.request_seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            super().handle_one_request()
        except OSError:  # reset, or cut by the deadline
            self.close_connection = True
        finally:
            timer.cancel()

    def do_GET(self) -> None:
        """Who this is, or the last checkpoint of a log."""
        match = _MONITORING.fullmatch(self.path)
        if {"content-length", "transfer-encoding"} & {name.lower() for name in self.headers}:
            # A body that is left unread would be taken for the next request.
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif self.path == "/":
            self._answer(self.server.witness.status())
        elif match is not None:
            self._answer(self.server.witness.last_checkpoint(match[1]))
        elif self.path == "/add-checkpoint":
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """The protocol's add-checkpoint."""
        if self.path != "/add-checkpoint":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,9}", lengths[0]):
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif int(lengths[0]) > REQUEST_MAX_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            body = self.rfile.read(int(lengths[0]))
            if len(body) == int(lengths[0]):  # else the client went away, or its time is over
                self._answer(self.server.witness.add_checkpoint(body))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The base class's own refusals too: a sentence, no page, and the rest of the request is not read."""
        self.close_connection = True
        self._answer(Answer(int(code), f"{HTTPStatus(code).phrase}\n", PLAIN))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Quiet: the base class would write the request line."""

    def _answer(self, answer: Answer) -> None:
        body = answer.body.encode()
        # send_response would add the versions of this program and of Python.
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        log.debug("answered", status=answer.status)

    def _cut(self) -> None:
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has gone by itself


def parse_listen(text: str) -> tuple[str, int]:
    """`host:port`, IPv6 in brackets. Raises InvalidInput."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or re.fullmatch(r"[0-9]{1,5}", port) is None or int(port) > 65535:  # noqa: PLR2004  # the last port
        raise InvalidInput("an address to listen on is `host:port`", field="listen")
    return host, int(port)
