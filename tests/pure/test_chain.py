"""A tenant's chain: fixed vectors, and each way to break it is found and named."""

# wrong types are passed on purpose; expected answers are booleans

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import DEPTH_MAX, canonicalise, parse_canonical
from audit.chain import (
    GENESIS,
    LEAF_MAX_BYTES,
    ChainBroken,
    ChainFault,
    ChainState,
    build_leaf,
    leaf_hash,
    verify_chain,
    verify_link,
)
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANT = UUID("018f0000-0000-7000-8000-00000000000a")
OTHER = UUID("018f0000-0000-7000-8000-00000000000b")

# Never change these: the log holds leaves of this form.
LEAF = (
    '{"body":{"action":"key.rotated","detail":{"n":1,"s":"ü\\n\u2028"}},'
    '"prev":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","seq":1,'
    '"tenant":"018f0000-0000-7000-8000-00000000000a","v":1}'
).encode()
LEAF_HASH = "6baeca43dd1e5648bc7a54de5c853ec3f3402d1c7ec2617c637f710fe0dc1533"


def make_chain(length: int, tenant: UUID = TENANT, start: ChainState | None = None) -> list[bytes]:
    state, leaves = start or ChainState(), []
    for seq in range(state.seq + 1, state.seq + length + 1):
        leaf = build_leaf(tenant=tenant, seq=seq, prev=state.head, body={"action": "key.used", "n": seq})
        leaves.append(leaf)
        state = ChainState(seq, leaf_hash(leaf))
    return leaves


def fault_of(leaves: list[bytes], start: ChainState | None = None) -> tuple[ChainFault, int]:
    with pytest.raises(ChainBroken) as caught:
        verify_chain(iter(leaves), TENANT, start)
    return caught.value.kind, caught.value.seq


def change(leaf: bytes, **fields: Any) -> bytes:
    return canonicalise({**parse_canonical(leaf), **fields})


def test_the_leaf_of_the_first_release_keeps_its_bytes_and_hash() -> None:
    body = {"detail": {"s": "ü\n\u2028", "n": 1}, "action": "key.rotated"}
    assert build_leaf(tenant=TENANT, seq=1, prev=GENESIS, body=body) == LEAF
    assert leaf_hash(LEAF).hex() == LEAF_HASH
    assert verify_chain([LEAF], TENANT) == ChainState(1, bytes.fromhex(LEAF_HASH))


def test_the_leaf_hash_is_that_of_rfc_6962() -> None:
    # The hash of an empty leaf, as certificate-transparency implementations publish it.
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@given(st.integers(0, 8), st.integers(0, 8))
def test_an_untouched_chain_verifies_whole_and_in_parts(first: int, second: int) -> None:
    leaves = make_chain(first + second)
    whole = verify_chain(leaves, TENANT)
    assert whole.seq == first + second
    assert whole.head == (leaf_hash(leaves[-1]) if leaves else GENESIS)
    half = verify_chain(leaves[:first], TENANT)
    assert verify_chain(leaves[first:], TENANT, half) == whole


def test_an_empty_chain_ends_where_it_started() -> None:
    assert verify_chain([], TENANT) == ChainState(0, bytes(32))


@given(st.integers(0, 4), st.integers(0, 10_000), st.integers(0, 7))
def test_any_one_bit_changed_breaks_the_chain_or_changes_its_head(place: int, byte: int, bit: int) -> None:
    leaves = make_chain(5)
    head = verify_chain(leaves, TENANT)
    data = bytearray(leaves[place])
    data[byte % len(data)] ^= 1 << bit
    leaves[place] = bytes(data)
    try:
        assert verify_chain(leaves, TENANT) != head
    except ChainBroken:
        return
    assert place == 4, "only the end of a chain is proved by the signed head alone"


@given(st.integers(0, 3))
def test_an_edited_entry_is_named(place: int) -> None:
    leaves = make_chain(5)
    leaves[place] = change(leaves[place], body={"action": "key.viewed"})
    assert fault_of(leaves) == (ChainFault.EDITED, place + 2)


def test_an_edited_last_entry_changes_the_head() -> None:
    leaves = make_chain(3)
    edited = [*leaves[:2], change(leaves[2], body={})]
    assert verify_chain(edited, TENANT).head != verify_chain(leaves, TENANT).head


def test_an_edited_link_is_named() -> None:
    leaves = make_chain(3)
    leaves[1] = change(leaves[1], prev=parse_canonical(leaves[2])["prev"])
    assert fault_of(leaves) == (ChainFault.EDITED, 2)


@given(st.integers(1, 6), st.data())
def test_a_missing_entry_is_named(length: int, data: st.DataObject) -> None:
    leaves = make_chain(length + 1)
    gone = data.draw(st.integers(0, length - 1))
    del leaves[gone]
    assert fault_of(leaves) == (ChainFault.MISSING, gone + 1)


def test_a_missing_start_is_named() -> None:
    assert fault_of(make_chain(5)[2:]) == (ChainFault.MISSING, 1)


@given(st.permutations(range(5)))
def test_reordered_entries_are_named(order: list[int]) -> None:
    leaves = make_chain(5)
    if order != sorted(order):
        kind, seq = fault_of([leaves[place] for place in order])
        assert kind is ChainFault.REORDERED
        assert seq == next(place for place, number in enumerate(order) if place != number) + 1


def test_a_repeated_entry_is_named() -> None:
    leaves = make_chain(3)
    assert fault_of([leaves[0], leaves[1], leaves[1], leaves[2]]) == (ChainFault.REORDERED, 3)


@given(st.integers(0, 3))
def test_an_entry_of_another_tenant_is_named(place: int) -> None:
    leaves = make_chain(4)
    leaves[place] = make_chain(4, OTHER)[place]
    assert fault_of(leaves) == (ChainFault.REATTRIBUTED, place + 1)


def test_an_entry_moved_to_another_tenant_is_named() -> None:
    leaves = make_chain(3)
    leaves[1] = change(leaves[1], tenant=str(OTHER))
    assert fault_of(leaves) == (ChainFault.REATTRIBUTED, 2)


def test_a_gap_followed_by_another_tenants_entry_of_that_number_is_still_missing() -> None:
    leaves = make_chain(4)
    assert fault_of([leaves[0], leaves[2], b"junk", make_chain(4, OTHER)[1]]) == (ChainFault.MISSING, 2)


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"not json",
        LEAF + b"\n",
        json.dumps(json.loads(LEAF)).encode(),
        LEAF.replace(b'"seq":1', b'"seq":1,"seq":1'),
        change(LEAF, v=2),
        change(LEAF, v=True),
        change(LEAF, seq=True),
        change(LEAF, seq="1"),
        change(LEAF, prev=None),
        change(LEAF, tenant=1),
        change(LEAF, body=[]),
        change(LEAF, extra=1),
        canonicalise({"seq": 1}),
    ],
)
def test_what_is_no_leaf_is_named_malformed(leaf: bytes) -> None:
    assert fault_of([leaf]) == (ChainFault.MALFORMED, 1)


def test_following_stops_at_a_fault_that_needs_no_more_reading() -> None:
    def leaves() -> Iterator[bytes]:
        yield b"broken"
        pytest.fail("read on")

    with pytest.raises(ChainBroken):
        verify_chain(leaves(), TENANT)


def test_a_broken_chain_is_an_integrity_error_with_a_stable_code() -> None:
    with pytest.raises(IntegrityError) as caught:
        verify_link(b"", tenant=TENANT, after=ChainState())
    assert caught.value.code == "chain_broken"
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("seq", "prev"),
    [(0, GENESIS), (-1, GENESIS), (2, GENESIS), (1, b"\1" * 32), (2, b"\1" * 31), (2, b"")],
)
def test_a_leaf_that_could_never_verify_is_not_built(seq: int, prev: bytes) -> None:
    with pytest.raises(InvalidInput):
        build_leaf(tenant=TENANT, seq=seq, prev=prev, body={})


def test_a_leaf_longer_than_an_entry_bundle_allows_is_not_built() -> None:
    room = LEAF_MAX_BYTES - len(build_leaf(tenant=TENANT, seq=1, prev=GENESIS, body={"a": ""}))
    assert len(build_leaf(tenant=TENANT, seq=1, prev=GENESIS, body={"a": "x" * room})) == LEAF_MAX_BYTES
    with pytest.raises(InvalidInput) as caught:
        build_leaf(tenant=TENANT, seq=1, prev=GENESIS, body={"a": "x" * (room + 1)})
    assert caught.value.code == "entry_too_long"


def test_the_deepest_body_that_is_canonical_alone_can_be_numbered() -> None:
    body: dict[str, Any] = {}
    for _ in range(DEPTH_MAX):
        body = {"a": body}
    assert parse_canonical(canonicalise(body)) == body
    leaf = build_leaf(tenant=TENANT, seq=1, prev=GENESIS, body=body)
    assert verify_chain([leaf], TENANT).seq == 1
    with pytest.raises(InvalidInput):
        canonicalise({"a": body})
