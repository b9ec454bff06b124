"""Seals and opens one credential under a tenant's data key. Must never return plaintext that did not verify.

Blob: 01, u32 data key version, 12-byte nonce, ciphertext, 16-byte tag (AES-256-GCM; integers big endian).
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from uuid import UUID

DATA_KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

_FORMAT: Final = 1
_HEADER: Final = struct.Struct(">BI")
_SECRET_DOMAIN: Final = b"byok/secret/v1\0"
_DATA_KEY_DOMAIN: Final = b"byok/dek/v1\0"
_COMMITMENT_LABEL: Final = b"byok/key-commitment/v1"
_VERSION_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class DataKey:
    """One version of a tenant's data key. `material` is 32 bytes, unprintable."""

    version: int
    material: Secret
    cipher: AESGCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_version(self.version, field="dek_version")
        if len(self.material) != DATA_KEY_BYTES:
            message = "the data key does not have 32 bytes"
            raise IntegrityError(message)
        object.__setattr__(self, "cipher", AESGCM(self.material.reveal()))

    @classmethod
    def generate(cls, version: int) -> Self:
        """Make a fresh random data key."""
        return cls(version=version, material=Secret(os.urandom(DATA_KEY_BYTES)))


@dataclass(frozen=True, slots=True)
class SecretAddress:
    """The row that a blob belongs to. A blob copied to any other address does not open."""

    tenant_id: UUID
    key_id: UUID
    key_version: int

    def __post_init__(self) -> None:
        _check_version(self.key_version, field="key_version")


def seal(plaintext: Secret, *, dek: DataKey, address: SecretAddress) -> bytes:
    """Encrypt for storage at `address`; 33 bytes longer than the plaintext."""
    # Random 96-bit nonces are safe up to 2^32 seals for each data key; rotate the data key long before.
    nonce = os.urandom(NONCE_BYTES)
    sealed = dek.cipher.encrypt(nonce, plaintext.reveal(), _secret_aad(dek, address))
    return _HEADER.pack(_FORMAT, dek.version) + nonce + sealed


def open_blob(blob: bytes | memoryview, *, dek: DataKey, address: SecretAddress) -> Secret:
    """Decrypt a blob read from `address`. Raises IntegrityError on any difference from what was sealed."""
    data = bytes(blob)
    if data_key_version(data) != dek.version:
        message = "the blob names another data key version"
        raise IntegrityError(message)
    nonce, sealed = data[_HEADER.size :][:NONCE_BYTES], data[_HEADER.size + NONCE_BYTES :]
    try:
        return Secret(dek.cipher.decrypt(nonce, sealed, _secret_aad(dek, address)))
    except InvalidTag:
        message = "the sealed credential does not verify at this address"
        raise IntegrityError(message) from None


def data_key_version(blob: bytes | memoryview) -> int:
    """Return the data key version that a blob names: the one to unwrap. Raises IntegrityError."""
    data = bytes(blob)
    if len(data) < _HEADER.size + NONCE_BYTES + TAG_BYTES:
        message = "the sealed credential is cut short"
        raise IntegrityError(message)
    form, version = _HEADER.unpack_from(data)
    if form != _FORMAT:
        message = "the sealed credential has an unknown format"
        raise IntegrityError(message)
    return int(version)


def key_commitment(dek: DataKey) -> bytes:
    """32 bytes that bind a row to one data key; GCM alone does not commit to its key."""
    return hmac.digest(dek.material.reveal(), _COMMITMENT_LABEL, "sha256")


def verify_key_commitment(dek: DataKey, commitment: bytes | memoryview) -> None:
    """Raise IntegrityError unless `commitment` was made from this data key. Constant time."""
    if not hmac.compare_digest(key_commitment(dek), bytes(commitment)):
        message = "the data key does not match its commitment"
        raise IntegrityError(message)


def dek_aad(tenant_id: UUID, version: int, purpose: str) -> bytes:
    """Return what a wrapped data key is bound to: tenant, version and purpose (`secret`, `audit`)."""
    _check_version(version, field="dek_version")
    if not purpose or not purpose.isascii():
        message = "the purpose of a data key is a short ASCII word"
        raise InvalidInput(message, field="purpose")
    return _DATA_KEY_DOMAIN + tenant_id.bytes + struct.pack(">I", version) + purpose.encode("ascii")


def _secret_aad(dek: DataKey, address: SecretAddress) -> bytes:
    versions = struct.pack(">II", address.key_version, dek.version)
    return _SECRET_DOMAIN + address.tenant_id.bytes + address.key_id.bytes + versions


def _check_version(version: int, *, field: str) -> None:
    if not 1 <= version <= _VERSION_MAX:
        message = "version numbers run from 1 to 2^32 - 1"
        raise InvalidInput(message, field=field)
