"""What a search looks for: exact pieces of a leaf, and the words of a block of entries. Must never do I/O.

A leaf is canonical JSON with fixed keys in a fixed order, and a quote inside text is always escaped; so each of these
pieces can stand in one place of a leaf only, and a plain text match is exact.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

BLOCK: Final = 256
"""How many consecutive entries of a tenant share one row of the search index."""


def block_of(tseq: int) -> int:
    """The block that the tenant's entry `tseq` (from 1) belongs to."""
    return (tseq - 1) // BLOCK


def action_is(action: str) -> str:
    """How the leaf of such an entry begins."""
    return f'{{"body":{{"action":{_quoted(action)},'


def action_begins(prefix: str) -> str:
    """How the leaf of an entry begins whose action begins so."""
    return f'{{"body":{{"action":{_quoted(prefix)[:-1]}'


def outcome_is(outcome: str) -> str:
    """A piece of the leaf of every entry with this outcome, and of no other."""
    return f',"outcome":{_quoted(outcome)},"priv":'


def actor_is(actor_id: UUID) -> str:
    """A piece of the leaf of everything that this actor did."""
    return f',"actor":{{"id":"{actor_id}","kind":'


def actor_kind_is(kind: str) -> str:
    """A piece of the leaf of everything that actors of this kind did."""
    return f',"kind":{_quoted(kind)}}},"detail":'


def target_is(target_id: UUID) -> str:
    """A piece of the leaf of everything that was done to this target."""
    return f',"target":{{"id":"{target_id}","kind":'


def word(facet: str, value: object) -> int:
    """A word of the search index as a signed 32-bit number. Two words may share one: matches are read and checked."""
    number = zlib.crc32(f"{facet}:{value}".encode())
    return number - (1 << 32) if number >= 1 << 31 else number


def words_of(body: Mapping[str, Any]) -> set[int]:
    """Every word of one entry's body."""
    actor, target = body["actor"], body["target"]
    return {
        word("action", body["action"]),
        word("outcome", body["outcome"]),
        word("actor", actor["id"]),
        word("kind", actor["kind"]),
        word("target", target["id"]),
    }


DELIVERIES: Final = ("lease", "broker", "decision")


def delivery_of(detail: Mapping[str, Any]) -> tuple[str, int]:
    """(way of delivery, version) of a use; ("", 0) when the detail is not of a use, version 0 when none was given."""
    for name in DELIVERIES:
        version = detail.get(name)
        if type(version) is int:
            return name, version
    return "", 0


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
