"""The one outgoing HTTP client. Must never follow a redirect, use a proxy, retry, or connect to an unchecked address.

The name is resolved once; every address is judged; the connection goes to a judged address while TLS verifies the
name. Errors never carry a header, a body or a query string.
"""

from __future__ import annotations

import atexit
import ipaddress
import os
import re
import socket
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_match_hostname import CertificateError

from byok_portal.errors import InvalidInput, UpstreamUnavailable
from keys.calls import METHODS
from keys.upstream.addresses import Address, is_private
from keys.upstream.connections import Pool, PoolKey
from keys.upstream.deadline import Deadline
from keys.upstream.endpoints import Target, check_address, check_scheme, parse_target, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from urllib3.response import BaseHTTPResponse

PROBE_BYTES: Final = 1024 * 1024
CALL_BYTES: Final = 10 * 1024 * 1024
STREAM_BYTES: Final = 1024 * 1024 * 1024
_CHUNK: Final = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_POOL: Final = Pool()
atexit.register(_POOL.clear)
os.register_at_fork(after_in_child=_POOL.forget)


def _version() -> str:
    try:
        return version("byok-portal")
    except PackageNotFoundError:
        return "0.1"


USER_AGENT: Final = f"byok-portal/{_version()}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes. `total` counts from the first connection attempt to the last byte."""

    connect: float = 5.0
    read: float = 10.0
    total: float = 20.0
    max_bytes: int = PROBE_BYTES


PROBE_LIMITS: Final = Limits()
CALL_LIMITS: Final = Limits(connect=5.0, read=60.0, total=120.0, max_bytes=CALL_BYTES)
STREAM_LIMITS: Final = Limits(connect=5.0, read=60.0, total=600.0, max_bytes=STREAM_BYTES)


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `headers` and `body` may hold a secret, so neither is shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Iterable[bytes] | None = field(default=None, repr=False)
    allow_private: bool = False
    limits: Limits = PROBE_LIMITS


@dataclass(frozen=True, slots=True)
class Response:
    """Header names are lower case; a repeated header is joined with a comma."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body is still coming. `pieces` may be read once, inside the block that opened it."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    pieces: Iterator[bytes] = field(repr=False)
    length: int | None = None
    """What the provider says its body is long; None where it does not say."""


def send(request: Request) -> Response:
    """Makes the call and reads the whole answer, any status.

    Raises InvalidInput on field `endpoint` for a refused target, `header` for a header that cannot be sent;
    UpstreamUnavailable (`upstream_unavailable`, `upstream_timeout`, `response_too_large`) when there is no
    answer.
    """
    with stream(request) as opened:
        return Response(opened.status, opened.headers, b"".join(opened.pieces))


@contextmanager
def stream(request: Request) -> Iterator[Opened]:
    """As `send`, but the body comes in pieces while the block runs; reading them raises UpstreamUnavailable too."""
    target = parse_target(request.url)
    check_scheme(target, allow_private=request.allow_private)
    headers = _headers(request, target)
    addresses = _resolve(target, allow_private=request.allow_private)
    with Deadline(request.limits.total) as deadline:
        with _translated(deadline):
            key = _connect(deadline, target, request.limits, addresses)
            answer = _ask(deadline.connection, request, target, headers)
        fields = {name.lower(): value for name, value in answer.headers.items()}
        body = _Body(answer, request.limits.max_bytes, deadline)
        declared = fields.get("content-length", "")
        try:
            yield Opened(answer.status, fields, iter(body), int(declared) if declared.isdigit() else None)
        finally:
            if not body.is_whole:
                answer.close()
        if body.is_whole:
            _POOL.release(key, deadline.take())


@contextmanager
def _translated(deadline: Deadline) -> Iterator[None]:
    """Errors of the libraries as a sentence of our own: their text may quote what was sent, so it goes no further."""
    try:
        yield
    # ValueError: urllib3's CertificateError is one. HTTPException: an answer that is not HTTP, such as an echo of
    # our own request.
    except (OSError, ValueError, HTTPException, urllib3.exceptions.HTTPError) as error:
        raise _unavailable(error, overdue=deadline.passed) from None
    # Cut off, an answer without a length looks complete.
    if deadline.passed:
        raise _unavailable(TimeoutError())


def _resolve(target: Target, *, allow_private: bool) -> list[Address]:
    """Every address of the host, each one judged: one bad address refuses the name (a rebinding trick)."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UpstreamUnavailable("The host name of the provider could not be resolved") from None
    addresses = list(dict.fromkeys(ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found))
    for address in addresses:
        check_address(address, allow_private=allow_private)
        if target.scheme == "http" and not is_private(address):
            raise refuse("scheme", "Plain http is for private networks only")
    return addresses


def _connect(deadline: Deadline, target: Target, limits: Limits, addresses: list[Address]) -> PoolKey:
    """Watches an idle connection to one of the addresses, else a new one to the first that accepts."""
    keys = [PoolKey(target.scheme, str(address), target.port, target.host) for address in addresses]
    for key in keys:
        idle = _POOL.find(key)
        if idle is not None:
            deadline.watch(idle)
            return key
    until = time.monotonic() + limits.connect
    failure: Exception = OSError()
    for key in keys:
        connection = deadline.watch(_open(key, max(0.1, until - time.monotonic())))
        try:
            connection.connect()
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            failure = error
        else:
            return key
    raise failure


def _open(key: PoolKey, timeout: float) -> HTTPConnection:
    if key.scheme == "http":
        return HTTPConnection(key.address, key.port, timeout=timeout)
    # The certificate must be for the name although the socket goes to the address.
    return HTTPSConnection(
        key.address,
        key.port,
        timeout=timeout,
        cert_reqs="CERT_REQUIRED",
        server_hostname=key.host,
        assert_hostname=key.host,
    )


def _ask(connection: HTTPConnection, request: Request, target: Target, headers: dict[str, str]) -> BaseHTTPResponse:
    # urllib3 sets the socket's timeout from this attribute again, before sending and before reading.
    connection.timeout = request.limits.read
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    connection.request(
        request.method, path, body=request.body, headers=headers, preload_content=False, decode_content=False
    )
    answer = connection.getresponse()
    if not 200 <= answer.status < 600:  # noqa: PLR2004  # anything else is no final answer of HTTP
        raise HTTPException
    return answer


class _Body:
    """The body as it comes, never more than the limit."""

    def __init__(self, answer: BaseHTTPResponse, max_bytes: int, deadline: Deadline) -> None:
        self._answer, self._max_bytes, self._deadline = answer, max_bytes, deadline
        self.is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        declared = self._answer.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise _too_large()
        size = 0
        while piece := self._read(min(_CHUNK, self._max_bytes + 1 - size)):
            size += len(piece)
            if size > self._max_bytes:
                raise _too_large()
            yield piece
        self.is_whole = True

    def _read(self, most: int) -> bytes:
        with _translated(self._deadline):
            # What is there, rather than as much as was asked for: a stream of events must not wait to be 64 KiB.
            return self._answer.read1(most)


def _headers(request: Request, target: Target) -> dict[str, str]:
    """Checked here, because http.client would quote the offending value (perhaps the secret) in its error."""
    headers = {
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        **request.headers,
        "Host": target.authority,
    }
    sendable = request.method in METHODS and all(
        _NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in headers.items()
    )
    if not sendable:
        raise InvalidInput("A header holds characters that cannot be sent", code="unsafe_header", field="header")
    return headers


def _too_large() -> UpstreamUnavailable:
    return UpstreamUnavailable("The provider's answer is too large", code="response_too_large")


def _unavailable(error: BaseException, *, overdue: bool = False) -> UpstreamUnavailable:
    """A sentence of our own: library errors quote URLs and headers."""
    # A connection that was refused is a timeout to urllib3; to people it is not.
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    if overdue or (isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError) and not refused):
        return UpstreamUnavailable("The provider did not answer in time", code="upstream_timeout")
    if isinstance(error, urllib3.exceptions.SSLError | ssl.SSLError | CertificateError):
        return UpstreamUnavailable("The provider's TLS certificate could not be verified", code="upstream_tls")
    return UpstreamUnavailable("The connection to the provider failed")
