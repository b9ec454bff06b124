"""The shape of API tokens: issue, check, digest. Must never keep a token; only its digest is stored.

`byok_live_<30 base62><6 base62>`: 178 random bits, then their CRC-32, so that scanners can tell a real one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Unauthenticated

TOKEN_PREFIX: Final = "byok_live_"  # noqa: S105  # the public start of every token, not a token

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BODY_LENGTH: Final = 30
_CHECKSUM_LENGTH: Final = 6
_TOKEN_LENGTH: Final = len(TOKEN_PREFIX) + _BODY_LENGTH + _CHECKSUM_LENGTH
_SHOWN_LENGTH: Final = len(TOKEN_PREFIX) + 4
_HEADER_MAX: Final = 256
_TOKEN: Final = re.compile(rf"{TOKEN_PREFIX}([0-9A-Za-z]{{{_BODY_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token: `plaintext` is shown once; store the 32-byte `digest`, list `prefix` and `last_four`."""

    plaintext: Secret
    digest: bytes
    prefix: str
    last_four: str


def issue() -> IssuedToken:
    """Make a new random token."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_BODY_LENGTH))
    text = TOKEN_PREFIX + body + _checksum(body)
    plaintext = Secret(text)
    return IssuedToken(plaintext, digest(plaintext), text[:_SHOWN_LENGTH], text[-4:])


def parse(text: str) -> Secret:
    """Return the token in `text`. Raises Unauthenticated unless shape and checksum hold."""
    # The length first: an oversized input costs nothing, whatever it holds.
    match = _TOKEN.fullmatch(text) if len(text) == _TOKEN_LENGTH else None
    if match is None or _checksum(match[1]) != match[2]:
        message = "The token is not one of ours, or it was not copied whole"
        raise Unauthenticated(message)
    return Secret(text)


def from_header(value: str | None) -> Secret:
    """Return the token in an `Authorization: Bearer` header (RFC 6750). Raises Unauthenticated."""
    if not value or len(value) > _HEADER_MAX:
        message = "Send the token as: Authorization: Bearer byok_live_…"
        raise Unauthenticated(message)
    scheme, _, credentials = value.partition(" ")
    if scheme.lower() != "bearer":
        message = "The Authorization scheme is Bearer"
        raise Unauthenticated(message)
    return parse(credentials.strip(" "))


def digest(plaintext: Secret) -> bytes:
    """SHA-256 of the token. No slow hash: 178 random bits cannot be guessed."""
    return hashlib.sha256(plaintext.reveal()).digest()


def _checksum(body: str) -> str:
    # Over the 30 characters alone, as GitHub does, so that scanners' `BODY | crc32 | base62: 6` agrees.
    number = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
