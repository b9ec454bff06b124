"""PostgreSQL's binary array format: whole columns as one parameter. Must never know what is in them."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

_HEAD: Final = struct.Struct(">iiIii")  # dimensions, has nulls, element type, length, lower bound
_LENGTH: Final = struct.Struct(">i")
_DOUBLE: Final = struct.Struct(">d")
_NULL: Final = b"\xff\xff\xff\xff"
_BOOL, _BYTEA, _INT4, _TEXT, _FLOAT8, _UUID = 16, 17, 23, 25, 701, 2950


def texts(values: Iterable[str]) -> bytes:
    """text[]"""
    return _array(_TEXT, [value.encode() for value in values])


def byteas(values: Sequence[bytes | None]) -> bytes:
    """bytea[]"""
    return _array(_BYTEA, values)


def uuids(values: Iterable[UUID | None]) -> bytes:
    """uuid[]"""
    return _array(_UUID, [None if value is None else value.bytes for value in values])


@lru_cache(maxsize=512)  # nearly always as many zeros as there are uses in a batch
def integers(values: tuple[int, ...]) -> bytes:
    """int4[]"""
    return _array(_INT4, [_LENGTH.pack(value) for value in values])


def doubles(values: Iterable[float]) -> bytes:
    """float8[]"""
    return _array(_FLOAT8, [_DOUBLE.pack(value) for value in values])


@lru_cache(maxsize=512)
def booleans(values: tuple[bool, ...]) -> bytes:
    """bool[]"""
    return _array(_BOOL, [b"\x01" if value else b"\x00" for value in values])


def _array(element: int, values: Sequence[bytes | None]) -> bytes:
    parts = [_HEAD.pack(1, 1, element, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH.pack(len(value)), value)
    return b"".join(parts)


def float8(value: float) -> bytes:
    """One double precision number."""
    return _DOUBLE.pack(value)
