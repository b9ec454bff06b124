"""Ed25519 keys of C2SP signed notes and cosignatures. Must never print a signing key nor return False for a bad one.

Key lines are x/mod's: `<name>+<key id>+<base64 of type and key>`, and `PRIVATE+KEY+` before those that sign.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.checkpoints import parse_checkpoint
from audit.merkle import SIZE_LIMIT
from audit.notation import check_name, check_text, decode_base64, encode_base64, malformed
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput

NAME_MAX_BYTES: Final = 255  # of our own keys; lines of others may have longer ones

_PRIVATE: Final = "PRIVATE+KEY+"
_KEY_BYTES: Final = 32
_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64
_DASH: Final = "\u2014 "
_KEY_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature of a note: who (name and key id) and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> SignatureLine:
        """Read `— <name> <base64>`, with or without its newline."""
        name, _, encoded = text.removesuffix("\n").removeprefix(_DASH).partition(" ")
        if not text.startswith(_DASH):
            raise malformed("signature", "a signature line begins with an em dash and a space")
        check_name(name, field="signature")
        data = decode_base64(encoded, field="signature")
        if len(data) <= _KEY_ID_BYTES:
            raise malformed("signature", "a signature is longer than its key id")
        return cls(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])

    @property
    def text(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}\n"


class Verifier:
    """A public key that signs notes (Ed25519, signature type 01)."""

    TYPE: ClassVar[int] = 1
    __slots__ = ("_public", "key_id", "name")

    def __init__(self, name: str, public: bytes) -> None:
        check_name(name, field="vkey")
        if len(name.encode()) > NAME_MAX_BYTES:
            raise malformed("vkey", f"a name has at most {NAME_MAX_BYTES} bytes")
        if len(public) != _KEY_BYTES:
            raise malformed("vkey", "an Ed25519 public key has 32 bytes")
        self.name = name
        self._public = public
        self.key_id = _key_id(name, self.TYPE, public)

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read `<name>+<key id>+<base64>`. Raises InvalidInput for another type of key too."""
        name, key_id, data = _parse_key(vkey, field="vkey")
        if data[0] != cls.TYPE:
            raise malformed("vkey", f"the key is not of type {cls.TYPE:02x}")
        verifier = cls(name, data[1:])
        if verifier.key_id != key_id:
            raise malformed("vkey", "the key id is not that of the key")
        return verifier

    @property
    def vkey(self) -> str:
        """The text that parse reads."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.TYPE]) + self._public)}"

    def made(self, line: SignatureLine) -> bool:
        """Whether the line names this key (which proves nothing yet)."""
        return (line.name, line.key_id) == (self.name, self.key_id)

    def verify(self, body: str, line: SignatureLine | str) -> None:
        """Raises IntegrityError unless the line is this key's signature over the body."""
        parsed = SignatureLine.parse(line) if isinstance(line, str) else line
        if not self.made(parsed):
            raise IntegrityError("the signature names another key", code="unknown_signer")
        signature, message = self._split(body, parsed.signature)
        try:
            Ed25519PublicKey.from_public_bytes(self._public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise IntegrityError(f"the signature of {self.name} is wrong", code="bad_signature") from None

    def _split(self, body: str, signature: bytes) -> tuple[bytes, bytes]:
        return signature, body.encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verifier) and self.vkey == other.vkey

    def __hash__(self) -> int:
        return hash(self.vkey)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.vkey}>"


class CosignatureVerifier(Verifier):
    """A witness's public key (C2SP tlog-cosignature, type 04): its signature holds the time of signing."""

    TYPE: ClassVar[int] = 4
    __slots__ = ()

    def cosigned_at(self, body: str, line: SignatureLine | str) -> int:
        """The Unix time in a cosignature, which is verified first."""
        parsed = SignatureLine.parse(line) if isinstance(line, str) else line
        self.verify(body, parsed)
        return int.from_bytes(parsed.signature[:_TIME_BYTES], "big")

    def _split(self, body: str, signature: bytes) -> tuple[bytes, bytes]:
        time = int.from_bytes(signature[:_TIME_BYTES], "big")
        if len(signature) != _TIME_BYTES + _SIGNATURE_BYTES or time >= SIZE_LIMIT:
            raise IntegrityError(f"the cosignature of {self.name} is malformed", code="bad_signature")
        return signature[_TIME_BYTES:], _cosigned_message(body, time)


class Signer:
    """A private key that signs notes. It never prints: `text` is a Secret."""

    VERIFIER: ClassVar[type[Verifier]] = Verifier
    __slots__ = ("_private", "_seed", "verifier")

    def __init__(self, name: str, plaintext: Secret) -> None:
        if len(plaintext) != _KEY_BYTES:
            raise malformed("signing_key", "an Ed25519 seed has 32 bytes")
        self._seed = plaintext
        self._private = Ed25519PrivateKey.from_private_bytes(plaintext.reveal())
        self.verifier = self.VERIFIER(name, self._private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new random key."""
        return cls(name, Secret(Ed25519PrivateKey.generate().private_bytes_raw()))

    @classmethod
    def parse(cls, plaintext: Secret) -> Self:
        """Read `PRIVATE+KEY+<name>+<key id>+<base64 of type and seed>`, x/mod's format; space around is dropped."""
        try:
            text = plaintext.reveal_text().strip()
        except UnicodeDecodeError:
            raise malformed("signing_key", "it is UTF-8 text") from None
        if not text.startswith(_PRIVATE):
            raise malformed("signing_key", "it begins with PRIVATE+KEY+")
        name, key_id, data = _parse_key(text.removeprefix(_PRIVATE), field="signing_key")
        if data[0] != cls.VERIFIER.TYPE:
            raise malformed("signing_key", f"the key is not of type {cls.VERIFIER.TYPE:02x}")
        signer = cls(name, Secret(data[1:]))
        if signer.verifier.key_id != key_id:
            raise malformed("signing_key", "the key id is not that of the key")
        return signer

    @property
    def name(self) -> str:
        """The key's name; for a log its origin."""
        return self.verifier.name

    @property
    def vkey(self) -> str:
        """The public key line that verifiers are given."""
        return self.verifier.vkey

    @property
    def text(self) -> Secret:
        """The private key as text that parse reads."""
        data = encode_base64(bytes([self.VERIFIER.TYPE]) + self._seed.reveal())
        return Secret(f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{data}")

    def sign(self, body: str) -> str:
        """The signature line over a note's body."""
        check_text(body, field="body")
        return self._line(self._private.sign(body.encode()))

    def _line(self, signature: bytes) -> str:
        return SignatureLine(self.name, self.verifier.key_id, signature).text

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.verifier.vkey}>"


class CosignatureSigner(Signer):
    """A witness's private key; `sign` is for logs, a witness says when."""

    VERIFIER: ClassVar[type[Verifier]] = CosignatureVerifier
    __slots__ = ()

    def sign(self, body: str) -> str:
        """Refused: a cosignature has a time."""
        raise InvalidInput("a witness cosigns with a time", code="time_missing", field="time")

    def cosign(self, body: str, *, time: int) -> str:
        """The cosignature line over a checkpoint's body, as of a Unix time."""
        parse_checkpoint(body)
        if not 0 < time < SIZE_LIMIT:
            raise InvalidInput("time is in Unix seconds", code="out_of_range", field="time")
        return self._line(time.to_bytes(_TIME_BYTES, "big") + self._private.sign(_cosigned_message(body, time)))


def parse_verifiers(text: str) -> list[Verifier]:
    """Read key lines (`log.vkey`, `witness.vkey`), each of type 01 or 04; blank lines are skipped."""
    return [parse_verifier(line) for line in text.split("\n") if line]


def parse_verifier(vkey: str) -> Verifier:
    """Read one public key line: a Verifier for type 01, a CosignatureVerifier for type 04."""
    _, _, data = _parse_key(vkey, field="vkey")
    kind = CosignatureVerifier if data[0] == CosignatureVerifier.TYPE else Verifier
    return kind.parse(vkey)


def _parse_key(text: str, *, field: str) -> tuple[str, bytes, bytes]:
    parts = text.split("+", 2)  # base64 may hold a plus; a name may not
    if len(parts) != 3 or not _KEY_ID.fullmatch(parts[1]):  # noqa: PLR2004 - name, id, key
        raise malformed(field, "a key is a name, a key id of 8 lower-case hex digits and base64, with plus between")
    check_name(parts[0], field=field)
    data = decode_base64(parts[2], field=field)
    if len(data) != 1 + _KEY_BYTES:
        raise malformed(field, "the base64 part is a type byte and a key of 32 bytes")
    return parts[0], bytes.fromhex(parts[1]), data


def _key_id(name: str, kind: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:_KEY_ID_BYTES]


def _cosigned_message(body: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{body}".encode()
