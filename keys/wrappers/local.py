"""Wraps data keys with a key file on this host: the quick start and small installs. Must never print a key.

Key file, one entry a line, `#` starts a comment line:
`<id> <base64 of 32 bytes>`: a master key; the first wraps, all unwrap. To rotate, put a new line on top.
`pepper:<base64 of 32 bytes>`: exactly one; peppers derive from it, so they outlive every rotation of a key.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput
from keys.wrappers import BackupShred, ShredStatement, Wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEY_FILE_MAX: Final = 65536
_KEK_INFO: Final = b"byok/kek/v1"
_PEPPER_INFO: Final = b"byok/pepper/v1\0"
# An id cannot hold a colon, so no key can be taken for the pepper.
_KEY_LINE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})[ \t]+(\S+)")
_PEPPER_PREFIX: Final = "pepper:"
_SHRED_STATEMENT: Final = (
    "The local key file serves every tenant and stays. Deleting the wrapped data keys shreds the live "
    "database only: copies in backups can be unwrapped until the backup horizon has passed, and are shredded "
    "only then."
)


class LocalWrapper:
    """A ring of master keys; each tenant's key-encryption key is derived, never stored."""

    name = "local"

    def __init__(self, ring: Mapping[str, Secret], *, pepper: Secret) -> None:
        """`ring` is ordered: its first key wraps. Raises InvalidInput for an empty ring or equal keys."""
        if not ring:
            raise _bad_file("the key file holds no key")
        materials = [pepper.reveal(), *(key.reveal() for key in ring.values())]
        if any(len(material) != _KEY_BYTES for material in materials):
            raise _bad_file("every key and the pepper have 32 bytes")
        if len(set(materials)) != len(materials):
            raise _bad_file("two entries hold the same bytes")
        self._ring = dict(ring)
        self._current = next(iter(ring))
        self._pepper = pepper

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a key file. Raises InvalidInput when others can read it, or when any line is wrong."""
        return cls._from_text(_read_private_file(Path(path)))

    @classmethod
    def _from_text(cls, text: str) -> Self:
        ring: dict[str, Secret] = {}
        pepper: Secret | None = None
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith(_PEPPER_PREFIX):
                if pepper is not None:
                    raise _bad_file("there is a second pepper", line=number)
                pepper = _decode_key(line.removeprefix(_PEPPER_PREFIX).strip(), line=number)
                continue
            key_id, key = _parse_key_line(line, number=number)
            if key_id in ring:
                raise _bad_file("the id is used twice", line=number)
            ring[key_id] = key
        if pepper is None:
            raise _bad_file("the pepper line is missing")
        return cls(ring, pepper=pepper)

    def wrap(self, dek: Secret, *, tenant_id: UUID, aad: bytes) -> Wrapped:
        """Nonce, ciphertext, tag under the tenant's current key. `kek_ref` is the master key's id."""
        if len(dek) != _KEY_BYTES:
            message = "the data key does not have 32 bytes"
            raise IntegrityError(message)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._kek(self._current, tenant_id).encrypt(nonce, dek.reveal(), aad)
        return Wrapped(kek_ref=self._current, blob=nonce + sealed)

    def unwrap(self, wrapped: Wrapped, *, tenant_id: UUID, aad: bytes) -> Secret:
        """Return the data key. Raises IntegrityError when the master key is gone or anything was changed."""
        if wrapped.kek_ref not in self._ring:
            message = "the key file no longer holds the key that wrapped this data key"
            raise IntegrityError(message)
        nonce, sealed = wrapped.blob[:_NONCE_BYTES], wrapped.blob[_NONCE_BYTES:]
        try:
            return Secret(self._kek(wrapped.kek_ref, tenant_id).decrypt(nonce, sealed, aad))
        except (InvalidTag, ValueError):  # ValueError: a nonce cut too short
            message = "the wrapped data key does not verify"
            raise IntegrityError(message) from None

    def shred(self, *, tenant_id: UUID, kek_ref: str) -> ShredStatement:  # Wrapper's shape
        """Destroys nothing by itself: the caller deletes the rows. Says what that is worth."""
        return ShredStatement(
            wrapper=self.name,
            kek_destroyed=False,
            backups=BackupShred.AT_BACKUP_HORIZON,
            statement=_SHRED_STATEMENT,
        )

    def derive(self, label: bytes) -> bytes:
        """32 secret bytes for `label` (a pepper), the same for as long as the pepper line stays."""
        return _hkdf(self._pepper, salt=None, info=_PEPPER_INFO + label)

    def __repr__(self) -> str:
        return f"<LocalWrapper of {len(self._ring)} keys>"

    def _kek(self, key_id: str, tenant_id: UUID) -> AESGCM:
        return AESGCM(_hkdf(self._ring[key_id], salt=tenant_id.bytes, info=_KEK_INFO))


def generate_key_file(path: str | Path) -> None:
    """Write a new key file that only its owner can read. Raises InvalidInput when the path is taken."""
    content = (
        "# BYOK Portal key file: it opens every sealed credential. Back it up apart from the database.\n"
        "# The first key wraps; put a new one on top to rotate. Never change the pepper line.\n"
        f"k{secrets.token_hex(4)} {_random_key()}\n"
        f"{_PEPPER_PREFIX}{_random_key()}\n"
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        # Never overwritten: the old file may be the only way to open what is stored.
        raise _bad_file("the key file exists already", code="key_file_exists") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _read_private_file(path: Path) -> str:
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  # Path.open has no opener
    except OSError as error:
        reason = f"the key file cannot be opened: {error.strerror}"
        raise _bad_file(reason, code="key_file_unreadable") from None
    with file:
        # The open file is asked, not the path: it cannot be exchanged between the check and the read.
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _bad_file("the key file is not a regular file")
        if status.st_mode & 0o077:
            raise _bad_file("the key file can be read by others: chmod 600", code="key_file_exposed")
        data = file.read(_KEY_FILE_MAX + 1)
    if len(data) > _KEY_FILE_MAX or not data.isascii():
        raise _bad_file("the key file is short ASCII text")
    return data.decode("ascii")


def _open_without_waiting(path: str, flags: int) -> int:
    # A FIFO put in the file's place is then refused as no regular file, instead of hanging the start.
    return os.open(path, flags | os.O_NONBLOCK)


def _parse_key_line(line: str, *, number: int) -> tuple[str, Secret]:
    match = _KEY_LINE.fullmatch(line)
    if match is None:
        raise _bad_file("a line is `<id> <base64>`", line=number)
    return match[1], _decode_key(match[2], line=number)


def _decode_key(text: str, *, line: int) -> Secret:
    try:
        material = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _bad_file("not base64", line=line) from None
    if len(material) != _KEY_BYTES:
        raise _bad_file("a key has 32 bytes", line=line)
    return Secret(material)


def _random_key() -> str:
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode("ascii")


def _hkdf(key: Secret, *, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=info).derive(key.reveal())


def _bad_file(rule: str, *, line: int | None = None, code: str = "key_file_invalid") -> InvalidInput:
    # Only the line's number: its text is key material.
    detail = rule if line is None else f"key file, line {line}: {rule}"
    return InvalidInput(detail, code=code, field="key_file")
