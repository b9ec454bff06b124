"""Seals the personal data beside audit entries under each tenant's audit data key. Must never log what it opens.

Blob: 01, u32 data key version, 12-byte nonce, ciphertext, 16-byte tag (AES-256-GCM; integers big endian).
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.models import DataKey
from audit.sealing import SealedDetail
from byok_portal.boundary import binding
from byok_portal.errors import IntegrityError, Unavailable
from keys.services import custody

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from audit.sealing import Row
    from keys.services.custody import AuditKey

_FORMAT: Final = 1
_HEADER: Final = struct.Struct(">BI")
_NONCE_BYTES: Final = 12
_DOMAIN: Final = b"byok/audit/v1\0"


class KeyCache:
    """Unwrapped audit data keys of the tenants that were busy last: unwrapping for every event would cost too much.

    Holding a key never means that it may be used: the statement that stores or reads a row asks the database.
    """

    def __init__(self, *, most: int = 1024, seconds: float = 60) -> None:
        self._most, self._seconds = most, seconds
        self._kept: OrderedDict[UUID, tuple[float, AuditKey]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, tenant_id: UUID) -> AuditKey | None:
        """The key that was put last, for as long as it is fresh."""
        with self._lock:
            until, key = self._kept.get(tenant_id, (0.0, None))
            if until < time.monotonic():
                self._kept.pop(tenant_id, None)
                return None
            self._kept.move_to_end(tenant_id)
            return key

    def put(self, tenant_id: UUID, key: AuditKey) -> None:
        """Keep a key; the one unused for longest goes."""
        with self._lock:
            self._kept[tenant_id] = (time.monotonic() + self._seconds, key)
            self._kept.move_to_end(tenant_id)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def drop(self, tenant_id: UUID) -> None:
        """Forget a tenant's key."""
        with self._lock:
            self._kept.pop(tenant_id, None)


class AuditSealer:
    """What `audit.sealing` asks for."""

    def __init__(self) -> None:
        self._cache = KeyCache()

    def seal(self, detail: bytes, *, event_id: UUID, again: bool) -> SealedDetail | None:
        """Seal under the tenant's key, made on first use. None when it is shredded, or without a key file."""
        key = None if again else self._cache.find(binding.get_tenant())
        key = key or self._find_key(create=True)
        return None if key is None else seal_under(key, detail, tenant_id=binding.get_tenant(), event_id=event_id)

    def open_each(self, rows: Iterable[Row]) -> Iterator[tuple[UUID, bytes]]:
        """Open every row with the key as the database holds it now. Raises IntegrityError for any difference."""
        rows = list(rows)
        key = self._find_key(create=False) if rows else None
        if key is None:
            return
        cipher = AESGCM(key.material.reveal())
        for event_id, blob in rows:
            yield event_id, _open(cipher, bytes(blob), event_id=event_id, version=key.version)

    def _find_key(self, *, create: bool) -> AuditKey | None:
        tenant_id = binding.get_tenant()
        row = DataKey.objects.filter(tenant_id=tenant_id).first()
        try:
            if row is None and create:
                row = _create()
            if row is None or row.wrapped is None:
                self._cache.drop(tenant_id)
                return None
            kept = self._cache.find(tenant_id)
            if kept is not None and (kept.version, kept.kcv) == (row.version, bytes(row.kcv)):
                return kept
            key = custody.unwrap_audit_key(row)
        except Unavailable:
            return None  # no key file: what happened is recorded all the same, without personal data
        self._cache.put(tenant_id, key)
        return key


def seal_under(key: AuditKey, detail: bytes, *, tenant_id: UUID, event_id: UUID) -> SealedDetail:
    """Seal the personal data of one event under this key of its tenant."""
    nonce, header = os.urandom(_NONCE_BYTES), _HEADER.pack(_FORMAT, key.version)
    sealed = key.cipher.encrypt(nonce, detail, _aad(tenant_id, event_id, key.version))
    return SealedDetail(header + nonce + sealed, key.version, key.kcv)


def _create() -> DataKey | None:
    # Two first events at once: the second waits for the first one's commit here, and takes its key.
    DataKey.objects.bulk_create([custody.make_audit_key()], ignore_conflicts=True)
    return DataKey.objects.filter(tenant_id=binding.get_tenant()).first()


def _open(cipher: AESGCM, blob: bytes, *, event_id: UUID, version: int) -> bytes:
    header, nonce = _HEADER.pack(_FORMAT, version), blob[_HEADER.size :][:_NONCE_BYTES]
    if not blob.startswith(header):
        message = "the sealed personal data has an unknown format or names another data key"
        raise IntegrityError(message)
    try:
        aad = _aad(binding.get_tenant(), event_id, version)
        return cipher.decrypt(nonce, blob[len(header) + _NONCE_BYTES :], aad)
    except (InvalidTag, ValueError):  # ValueError: a nonce cut too short
        message = "the sealed personal data does not verify at this event"
        raise IntegrityError(message) from None


def _aad(tenant_id: UUID, event_id: UUID, version: int) -> bytes:
    return _DOMAIN + tenant_id.bytes + event_id.bytes + struct.pack(">I", version)
