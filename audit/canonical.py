"""RFC 8785 (JCS) in a profile where every JSON library agrees. Must never write what it would not read.

The profile: ASCII keys, integers below 2^53, strings, booleans, null, lists, objects. No floats and no NUL.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Never

import msgspec

from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

JsonObject = dict[str, Any]

_INTEGER_LIMIT: Final = 2**53
DEPTH_MAX: Final = 32


def canonicalise(document: Mapping[str, Any], *, depth_max: int = DEPTH_MAX) -> bytes:
    """Return the one byte string of a document, a dict. Raises InvalidInput for whatever is outside it."""
    if not isinstance(document, dict):
        raise _outside("a document is an object")
    if _is_plain(document):
        try:
            data = _encode_plain(document)
        except UnicodeEncodeError:
            raise _outside("text holds no lone surrogate") from None
        # Nothing was escaped, so no text holds what the profile leaves out, or has a second spelling.
        if data.isascii() and b"\\" not in data:
            return data
    _check_value(document, depth=depth_max)
    # Inside the profile this equals RFC 8785: ASCII keys sort alike by code point and by UTF-16 unit.
    return _encode(document).encode("utf-8")


def parse_canonical(data: bytes, *, depth_max: int = DEPTH_MAX) -> JsonObject:
    """Return the document in canonical bytes. Raises IntegrityError for any other bytes."""
    try:
        # Decoded here: json.loads would guess UTF-16 and UTF-32 too.
        text = data.decode("utf-8")
        document = _decode(text)
        # Nearly every entry is plain: what its text cannot hold need not be looked for in each value.
        plain = text.isascii() and "\\" not in text and text.count("{") + text.count("[") <= depth_max
        if plain and isinstance(document, dict):
            again = _encode(document).encode()
        else:
            again = canonicalise(document, depth_max=depth_max)
    except (ValueError, RecursionError, InvalidInput):
        message = "the bytes are not canonical JSON"
        raise IntegrityError(message) from None
    if again != data:
        message = "the bytes are JSON, but not in canonical form"
        raise IntegrityError(message)
    return document  # type: ignore[no-any-return]  # canonicalise refused all but an object


def _is_plain(document: dict[Any, Any], depth: int = 2) -> bool:
    """Whether it holds nothing but the simplest: nearly every event, at a fifth of the cost."""
    for key, value in document.items():
        kind = type(value)
        if type(key) is not str:
            return False
        if kind is str or kind is bool or value is None:
            continue
        if kind is int and -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
            continue
        if kind is not dict or not depth or not _is_plain(value, depth - 1):
            return False
    return True


def _check_value(value: object, *, depth: int) -> None:
    if depth < 0:
        raise _outside("nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise _outside("keys are ASCII strings")
            _check_text(key)
            _check_value(item, depth=depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth=depth - 1)
    else:
        _check_scalar(value)


def _check_scalar(value: object) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, int):
        if not -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
            raise _outside("integers are below 2^53")
    elif value is not None:
        raise _outside("values are strings, integers, booleans, null, lists and objects")


def _check_text(text: str) -> None:
    if "\0" in text:
        # PostgreSQL's jsonb refuses it, and C readers of an export would stop there.
        raise _outside("text holds no NUL")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _outside("text holds no lone surrogate") from None


def _refuse_number(_: str) -> Never:
    message = "not an integer"
    raise ValueError(message)


def _integer(digits: str) -> int:
    value = int(digits)
    if not -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
        message = "an integer is too large"
        raise ValueError(message)
    return value


_encode_plain = msgspec.json.Encoder(order="deterministic").encode
_decode = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number, parse_int=_integer).decode
# A key that is there twice is written once, and so is seen by the comparison.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _outside(rule: str) -> InvalidInput:
    return InvalidInput(f"outside the canonical profile: {rule}", code="not_canonical")
