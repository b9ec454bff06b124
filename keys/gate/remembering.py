"""Facts by the very bytes that the database answered. Must never answer for a row that was not just read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from byok_portal.boundary.permissions import TOKEN_PERMISSIONS, Permission
from keys import context
from keys.gate.statements import CONTEXT_NAMES

if TYPE_CHECKING:
    from keys.gate.links import Rows


@dataclass(frozen=True, slots=True)
class Facts:
    """One row of the context as values, and the facts of a decision in it."""

    row: dict[str, Any]
    loaded: context.Loaded | None
    """None where the gate does not decide."""
    permissions: frozenset[Permission]
    """What the token may do."""


class FactsMemory:
    """Facts by the very bytes that the database answered: equal bytes are equal facts, so none can be stale.

    A workload uses the same few keys all day; what is read for each use need not be taken apart each time.
    """

    def __init__(self, most: int = 8192) -> None:
        self._most = most
        self._kept: dict[bytes, Facts] = {}

    def get(self, rows: Rows, place: int) -> tuple[int, Facts]:
        """(which item, its facts) of a row of CONTEXTS."""
        key, item = rows.raw(place, 1), int.from_bytes(rows.raw(place, 0), "big")
        facts = self._kept.get(key)
        if facts is None:
            row = dict(zip(CONTEXT_NAMES, rows.load(place)[1], strict=True))
            known = not (row["is_canary"] or row["clock_behind"])
            permissions = frozenset(Permission(scope) for scope in row["token_scopes"]) & TOKEN_PERMISSIONS
            facts = Facts(row, context.loaded(row) if known else None, permissions)
            if len(self._kept) >= self._most:
                for old in list(self._kept)[: self._most // 8]:
                    del self._kept[old]
            self._kept[key] = facts
        return item, facts
