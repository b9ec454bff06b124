"""What the head of a use says. A head that was read before means the same; its bytes, which hold a token, are not kept.

A workload sends the same few heads all day. Only heads of plain uses are kept, under their SHA-256 and the address that
they came from; whatever differs by one byte is parsed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from byok_portal.errors import PortalError
from keys.gate.asking import digest_of
from keys.gate.relay import scheme_of
from keys.gate.remembering import make_room
from keys.gate.wire import address_of, is_json

if TYPE_CHECKING:
    from keys.gate.asking import Place
    from keys.gate.relay import Scope

_END: Final = b"\r\n\r\n"


@dataclass(slots=True)
class Head:
    """What the head of a use says."""

    place: Place
    digest: bytes
    """Of the bearer token."""
    refusal: PortalError | None
    """Said of a token that is none of ours, once the body is known to be plain."""
    address: str
    agent: str
    keep_alive: bool = True
    length: int = 0
    """Bytes of the body."""


class Heads:
    """Reads heads, and remembers them by their bytes."""

    def __init__(self, most: int = 8192) -> None:
        self._most = most
        self._kept: dict[tuple[str, bytes], Head] = {}
        self._redirects: bool = settings.SECURE_SSL_REDIRECT
        self._hosts: set[bytes] = set()

    def read(self, scope: Scope, place: Place) -> Head | None:
        """What it says; None when the web shall answer."""
        headers = dict(scope["headers"])
        if not (is_json(headers) and self.is_plain(scope, headers)):
            return None
        digest, refusal = b"", None
        try:
            digest = digest_of(headers.get(b"authorization", b"").decode("latin-1"))
        except PortalError as error:
            refusal = error
        agent = headers.get(b"user-agent", b"").decode("latin-1")[:200]
        return Head(place, digest, refusal, address_of(scope, headers), agent)

    def find(self, client: str, data: bytes) -> tuple[Head, bytes] | None:
        """(head, body) of a whole request, and nothing more, whose head is known."""
        end = data.find(_END)
        if end < 0:
            return None
        head = self._kept.get((client, hashlib.sha256(data[: end + 4]).digest()))
        if head is None or len(data) - end - 4 != head.length:
            return None
        return head, data[end + 4 :]

    def keep(self, client: str, data: bytes, head: Head, *, length: int, keep_alive: bool) -> None:
        """Remember the head of a whole request whose body has this length, as it was just parsed."""
        end = len(data) - length
        if data.find(_END) + 4 != end:
            return  # lines that end otherwise
        make_room(self._kept, self._most)
        head.length, head.keep_alive = length, keep_alive
        self._kept[client, hashlib.sha256(data[:end]).digest()] = head

    def is_plain(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether nothing about the request wants more than the gate knows: each header once, a host of ours."""
        if len(headers) != len(scope["headers"]):
            return False  # a header that came twice
        if self._redirects and scheme_of(scope) != b"https":
            return False
        return self._is_ours(headers.get(b"host", b""))

    def _is_ours(self, host: bytes) -> bool:
        if host in self._hosts:
            return True
        domain, _port = split_domain_port(host.decode("latin-1"))
        allowed = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
        if not domain or not validate_host(domain, allowed):
            return False
        self._hosts.add(host)  # few: only those that are allowed
        return True
