"""The type of every plaintext credential. It must never print, compare in variable time, pickle or serialise."""

from __future__ import annotations

import hmac
from typing import Final, Never

REDACTED: Final = "<Secret>"


class Secret:
    """Plaintext bytes that only `reveal()` gives out.

    `repr`, `str`, `format`, pickling and copying to JSON never show the content; equality takes constant time.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """The plaintext bytes. Call it at the last moment: to seal, to hash, to send upstream."""
        return self._value

    def reveal_text(self) -> str:
        """The plaintext as text. Raises UnicodeDecodeError when it is not UTF-8."""
        return self._value.decode()

    def __len__(self) -> int:
        return len(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hashable secret ends up as a cache key

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __reduce__(self) -> Never:
        message = "a Secret cannot be pickled or copied"
        raise TypeError(message)
