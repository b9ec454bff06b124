"""How C2SP texts spell names, numbers and bytes: one spelling each. Must never read a second one."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import Final

from audit.merkle import SIZE_LIMIT
from byok_portal.errors import InvalidInput

NOTE_MAX_BYTES: Final = 2**18  # sixteen post-quantum signatures of 5 kB must fit

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def check_name(name: str, *, field: str) -> None:
    """Raises InvalidInput unless the text may name a key or a log: no space, plus or control character."""
    if not name or any(char == "+" or char.isspace() or unicodedata.category(char) in {"Cc", "Cs"} for char in name):
        raise malformed(field, "a name is not empty and holds no space, plus or control character")


def check_text(text: str, *, field: str) -> None:
    """Raises InvalidInput unless the text may be a note or its body."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise malformed(field, "it is not UTF-8") from None
    if length > NOTE_MAX_BYTES:
        raise malformed(field, f"it has at most {NOTE_MAX_BYTES} bytes")
    if _CONTROL.search(text):
        raise malformed(field, "newline is the only control character")
    if not text.endswith("\n"):
        raise malformed(field, "it ends with a newline")


def parse_decimal(text: str, *, field: str) -> int:
    """A number below 2^63 in its one ASCII spelling, without leading zeros."""
    if not _DECIMAL.fullmatch(text) or int(text) >= SIZE_LIMIT:
        raise malformed(field, "a decimal number below 2^63 without leading zeros")
    return int(text)


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, *, field: str) -> bytes:
    """The bytes of standard base64, in its one spelling: padded, no other characters, spare bits zero."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise malformed(field, "not standard base64") from None
    if encode_base64(data) != text:
        raise malformed(field, "not the canonical base64 of its bytes")
    return data


def malformed(field: str, rule: str) -> InvalidInput:
    """The error for a text that is not in its format. Never give it a piece of a signing key."""
    return InvalidInput(f"{field}: {rule}", code="malformed_note", field=field)
