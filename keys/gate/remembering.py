"""Facts by the very bytes that the database answered. Must never answer for a row that was not just read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from byok_portal.boundary.permissions import TOKEN_PERMISSIONS, Permission
from keys import context
from keys.gate.statements import CONTEXT_NAMES
from keys.services import custody

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.gate.asking import Asked, Question


@dataclass(frozen=True, slots=True)
class Facts:
    """One row of the context as values, and the facts of a decision in it."""

    revision: bytes
    """The last changes of the tenant: while these are the last, the row is as it was."""
    until: float
    """Seconds since 1970: from then on the clock alone may have changed it."""
    row: dict[str, Any]
    loaded: context.Loaded | None
    """None where the gate does not decide."""
    permissions: frozenset[Permission]
    """What the token may do."""
    _sealed: dict[int, custody.Sealed | None] = field(default_factory=dict)

    def sealed(self, number: int) -> custody.Sealed | None:
        """The ciphertext of a version, with its data key as it is stored; None when it was destroyed."""
        if number not in self._sealed:
            found = (row for row in self.row["material"] or () if int.from_bytes(row[0], "big") == number)
            self._sealed[number] = next((_sealed(*row[1:]) for row in found), None)
        return self._sealed[number]


class FactsMemory:
    """Facts by the very bytes that the database answered: equal bytes are equal facts, so none can be stale.

    A workload uses the same few keys all day; what is read for each use need not be taken apart each time.
    """

    def __init__(self, most: int = 8192) -> None:
        self._most = most
        self._kept: dict[bytes, Facts] = {}
        self._last: dict[Question, Facts] = {}

    def find(self, asked: Asked) -> Facts | None:
        """The facts that the same question found last. They may be of the past: only the database can say."""
        return self._last.get(asked.question)

    def take(self, asked: Asked, read: bytes, load: Callable[[], tuple[Any, ...]]) -> Facts:
        """The facts in the bytes that were just read for a question; `load` takes them apart."""
        digest = hashlib.sha256(read).digest()
        facts = self._kept.get(digest)
        if facts is None:
            row = dict(zip(CONTEXT_NAMES, load(), strict=True))
            known = not (row["is_canary"] or row["clock_behind"])
            permissions = frozenset(Permission(scope) for scope in row["token_scopes"]) & TOKEN_PERMISSIONS
            facts = Facts(row["revision"], row["until"], row, context.loaded(row) if known else None, permissions)
            make_room(self._kept, self._most)
            self._kept[digest] = facts
        make_room(self._last, self._most)
        self._last[asked.question] = facts
        return facts


def _sealed(
    blob: bytes, version: bytes, wrapper: bytes, kek_ref: bytes, wrapped: bytes, kcv: bytes, state: bytes
) -> custody.Sealed:
    number = int.from_bytes(version, "big")
    return custody.Sealed(blob, number, wrapper.decode(), kek_ref.decode(), wrapped, kcv, state.decode())


def make_room(kept: dict[Any, Any], most: int) -> None:
    """Forget the oldest when it is full."""
    if len(kept) >= most:
        for old in list(kept)[: most // 8]:
            del kept[old]
