"""Personal data beside the log: what a leaf commits to, and its sealed form. Must never hold a data key.

The keys are the business of another app, which installs its sealer here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from audit.canonical import canonicalise, parse_canonical
from byok_portal.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

PRIVATE_DOMAIN: Final = b"byok-priv-v1\n"
SALT_BYTES: Final = 32

Row = tuple["UUID", "bytes | memoryview"]
"""Event id, sealed detail."""


class SealedDetail(NamedTuple):
    """A sealed row, and the data key (version, commitment) that must still be there when the row is stored."""

    blob: bytes
    version: int
    kcv: bytes


class Sealer(Protocol):
    """Seals under the bound tenant's audit data key, on the bound database alias."""

    def seal(self, detail: bytes, *, event_id: UUID, again: bool) -> SealedDetail | None:
        """Seal for one event; None without a key: shredded, or no key file. `again`: trust no key kept in memory."""

    def open_each(self, rows: Iterable[Row]) -> Iterator[tuple[UUID, bytes]]:
        """Open rows; nothing without a key. Raises IntegrityError for a row that was changed or moved."""


class Detail(NamedTuple):
    """The personal data of one event with the salt of its commitment."""

    salt: bytes
    data: dict[str, Any]
    text: bytes = b""
    """The data, canonical; made once."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Detail:
        """With a fresh salt."""
        return cls(secrets.token_bytes(SALT_BYTES), data, canonicalise(data))

    @property
    def commitment(self) -> str:
        """SHA-256(domain, salt, canonical data) as base64: hides the data, and cannot be opened to other data."""
        digest = hashlib.sha256(PRIVATE_DOMAIN + self.stored).digest()
        return base64.b64encode(digest).decode("ascii")

    @property
    def stored(self) -> bytes:
        """What is sealed: the salt, then the canonical data."""
        return self.salt + (self.text or canonicalise(self.data))


_sealer: list[Sealer] = []


def install(sealer: Sealer) -> None:
    """Called once by the app that keeps the data keys."""
    _sealer[:] = [sealer]


def seal(detail: Detail, *, event_id: UUID, again: bool = False) -> SealedDetail | None:
    """Seal the personal data of one event of the bound tenant, or None when there is no key to seal it under."""
    return _sealer[0].seal(detail.stored, event_id=event_id, again=again)


def open_details(rows: Iterable[Row]) -> dict[UUID, Detail]:
    """Data and salts of the bound tenant's rows (event id, sealed). Raises as `open_all`."""
    opened = _sealer[0].open_each(rows)
    return {event_id: Detail(text[:SALT_BYTES], parse_canonical(text[SALT_BYTES:])) for event_id, text in opened}


def open_all(rows: Iterable[Row]) -> dict[UUID, dict[str, Any]]:
    """Personal data of the bound tenant's rows (event id, sealed); nothing when the key is shredded.

    Raises IntegrityError for a row that was changed, or that belongs to another event or tenant.
    """
    return {event_id: detail.data for event_id, detail in open_details(rows).items()}


def verify_commitment(detail: Detail, commitment: str) -> None:
    """Raise IntegrityError unless `commitment`, a leaf's `priv`, was made from exactly this salt and data."""
    if not hmac.compare_digest(detail.commitment.encode(), commitment.encode()):
        message = "the personal data is not what the entry commits to"
        raise IntegrityError(message)
