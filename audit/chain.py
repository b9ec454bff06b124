"""A tenant's numbered hash chain inside the log: make leaves, check a run of them. Must never do I/O.

Leaf: {"body","prev","seq","tenant","v":1}, canonical; its hash is SHA-256(00, leaf) (RFC 6962 section 2.1).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from audit.canonical import DEPTH_MAX, JsonObject, canonicalise, parse_canonical
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

GENESIS: Final = bytes(32)
LEAF_MAX_BYTES: Final = 65535  # C2SP tlog-tiles: entry bundles carry a u16 length

_LEAF_FORMAT: Final = 1
# One more than a body may have, or a body that was accepted alone could never be numbered.
_LEAF_DEPTH_MAX: Final = DEPTH_MAX + 1
_LEAF_KEYS: Final = frozenset({"body", "prev", "seq", "tenant", "v"})


class ChainFault(StrEnum):
    """What is wrong with a chain."""

    EDITED = "edited"
    MISSING = "missing"
    REORDERED = "reordered"
    REATTRIBUTED = "reattributed"
    MALFORMED = "malformed"


class ChainBroken(IntegrityError):  # a finding that auditors read, named in their words
    """A chain does not verify. `seq` is the number that was due when the fault showed."""

    code = "chain_broken"
    title = "The audit chain is broken"

    def __init__(self, kind: ChainFault, seq: int, detail: str) -> None:
        super().__init__(f"{kind} at {seq}: {detail}")
        self.kind = kind
        self.seq = seq


@dataclass(frozen=True, slots=True)
class ChainState:
    """How far a chain has been followed: the last number and the 32-byte hash of its leaf."""

    seq: int = 0
    head: bytes = GENESIS


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962 leaf hash: SHA-256 over a zero byte and the leaf."""
    return hashlib.sha256(b"\0" + leaf).digest()


def build_leaf(*, tenant: UUID, seq: int, prev: bytes, body: Mapping[str, Any]) -> bytes:
    """Return the leaf to store verbatim. Raises InvalidInput for a body outside the profile or too long."""
    if seq < 1 or len(prev) != len(GENESIS) or (seq == 1) != (prev == GENESIS):
        message = "a leaf has a number from 1 and the 32-byte hash of the leaf before it"
        raise InvalidInput(message, field="prev")
    return leaf_of(tenant=tenant, seq=seq, prev=prev, body=canonicalise(body).decode())


def leaf_of(*, tenant: UUID | str, seq: int, prev: bytes, body: str) -> bytes:
    """The leaf around a body that is known to be canonical. Raises InvalidInput for one that is too long."""
    link = base64.b64encode(prev).decode("ascii")
    leaf = f'{{"body":{body},"prev":"{link}","seq":{seq},"tenant":"{tenant}","v":{_LEAF_FORMAT}}}'.encode()
    if len(leaf) > LEAF_MAX_BYTES:
        message = "an audit entry has at most 65535 bytes"
        raise InvalidInput(message, code="entry_too_long", field="body")
    return leaf


def verify_link(leaf: bytes, *, tenant: UUID, after: ChainState) -> ChainState:
    """Return the state after `leaf`. Raises ChainBroken unless it is the tenant's very next leaf."""
    due = after.seq + 1
    document = _parse_leaf(leaf, due=due)
    if document["tenant"] != str(tenant):
        raise ChainBroken(ChainFault.REATTRIBUTED, due, "the entry names another tenant")
    seq: int = document["seq"]
    if seq > due:
        raise ChainBroken(ChainFault.MISSING, due, f"the next entry has number {seq}")
    if seq < due:
        raise ChainBroken(ChainFault.REORDERED, due, f"number {seq} comes again or too late")
    if document["prev"] != base64.b64encode(after.head).decode("ascii"):
        raise ChainBroken(ChainFault.EDITED, due, "it does not continue the entry before it: one was changed")
    return ChainState(seq=due, head=leaf_hash(leaf))


def verify_chain(leaves: Iterable[bytes], tenant: UUID, start: ChainState | None = None) -> ChainState:
    """Follow a run of leaves in constant memory; raises ChainBroken at the first fault.

    The end proves itself only against a signed head: compare the state returned with the one in the log,
    or an edited last entry and a cut tail stay unseen.
    """
    state = start or ChainState()
    rest = iter(leaves)
    for leaf in rest:
        try:
            state = verify_link(leaf, tenant=tenant, after=state)
        except ChainBroken as fault:
            # The chain has failed either way; reading on only tells a lost entry from a late one.
            if fault.kind is ChainFault.MISSING and _comes_later(rest, fault.seq, tenant):
                raise ChainBroken(ChainFault.REORDERED, fault.seq, "the entry comes too late") from None
            raise
    return state


def _comes_later(rest: Iterator[bytes], seq: int, tenant: UUID) -> bool:
    for leaf in rest:
        try:
            document = _parse_leaf(leaf, due=seq)
        except ChainBroken:
            continue
        if document["seq"] == seq and document["tenant"] == str(tenant):
            return True
    return False


def _parse_leaf(leaf: bytes, *, due: int) -> JsonObject:
    try:
        document = parse_canonical(leaf, depth_max=_LEAF_DEPTH_MAX)
    except IntegrityError as error:
        raise ChainBroken(ChainFault.MALFORMED, due, error.detail) from None
    shaped = (
        document.keys() == _LEAF_KEYS
        and document["v"] == _LEAF_FORMAT
        and type(document["v"]) is int  # True == 1
        and type(document["seq"]) is int
        and isinstance(document["body"], dict)
        and isinstance(document["prev"], str)
        and isinstance(document["tenant"], str)
    )
    if not shaped:
        raise ChainBroken(ChainFault.MALFORMED, due, "the entry does not have the shape of a leaf")
    return document
