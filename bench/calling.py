"""A small client for much traffic: connections that are kept, one request at a time on each, times of one clock.

Must never send a request twice: what became of one whose connection broke is for the caller to find out.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
HOST = "localhost"


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; `started` and `ended` are of `time.monotonic`, the first before a byte was sent."""

    started: float
    ended: float
    status: int
    head: bytes
    body: bytes

    @property
    def audit_id(self) -> str:
        """The id of its entry; empty where it has none."""
        return self.header(b"audit-id")

    @property
    def code(self) -> str:
        """The stable word of a decision or a problem; empty for other answers."""
        with suppress(ValueError):
            document: Any = json.loads(self.body)
            return str(document.get("code", "")) if isinstance(document, dict) else ""
        return ""

    def header(self, name: bytes) -> str:
        """A header's value; `name` in small letters."""
        return _value(self.head, name).decode("latin-1")


class Caller:
    """One connection, opened when it is needed and again when it broke."""

    def __init__(self, port: int, *, patience: float = 30) -> None:
        self._port, self._patience = port, patience
        self._line: _Line | None = None

    async def ask(self, request: bytes) -> Answer:
        """The answer. Raises OSError when the connection broke or was refused, or nothing came for `patience`."""
        if self._line is None or self._line.is_closed:
            loop = asyncio.get_running_loop()
            _, self._line = await loop.create_connection(_Line, "127.0.0.1", self._port)
        try:
            async with asyncio.timeout(self._patience):
                return await self._line.ask(request)
        except TimeoutError:  # which is an OSError
            self.close()
            raise

    def close(self) -> None:
        """Leave."""
        if self._line is not None:
            self._line.close()


class _Line(asyncio.Protocol):
    def __init__(self) -> None:
        self.is_closed = False
        self._buffer = b""
        self._started = 0.0
        self._waiting: asyncio.Future[Answer] | None = None

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        self._waiting = asyncio.get_running_loop().create_future()
        self._buffer, self._started = b"", time.monotonic()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        self.is_closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(_END)
        if not found or not _is_whole(head, body):
            return
        if _value(head, b"connection").lower() == b"close":
            self.is_closed = True
            self._transport.close()
        answer = Answer(self._started, time.monotonic(), int(head[9:12]), head, body)
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("The connection broke before the answer was whole."))


def request(
    method: str, path: str, *, token: str = "", document: object = None, more: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a request, for any of the portal's processes."""
    body = b"" if document is None else json.dumps(document).encode()
    headers = {"Host": HOST, **(more or {})}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if document is not None:
        headers["Content-Type"] = "application/json"
    if method != "GET":
        headers["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + _END + body


def _is_whole(head: bytes, body: bytes) -> bool:
    length = _value(head, b"content-length")
    return len(body) >= int(length) if length else body.endswith(_LAST_CHUNK)


def _value(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""
