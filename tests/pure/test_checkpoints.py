"""C2SP checkpoints: round trips, and the spellings that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import EMPTY_ROOT
from audit.notes import (
    Checkpoint,
    parse_checkpoint,
)
from byok_portal.errors import InvalidInput

CHECKPOINT = Checkpoint("log.example/one", 20852163, bytes(range(32)))
BODY = CHECKPOINT.body


@given(
    origin=st.from_regex(r"[a-z0-9./-]{1,40}", fullmatch=True),
    size=st.integers(1, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
)
def test_checkpoints_are_read_back(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert parse_checkpoint(checkpoint.body) == checkpoint


def test_an_empty_tree_has_a_checkpoint() -> None:
    body = "log.example/one\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert parse_checkpoint(body) == Checkpoint("log.example/one", 0, EMPTY_ROOT)
    assert Checkpoint("log.example/one", 0, EMPTY_ROOT).body == body


ROOT = BODY.split("\n")[2]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("20852163", "020852163", "size"),
        ("20852163", "+20852163", "size"),
        ("20852163", "-1", "size"),
        ("20852163", "", "size"),
        ("20852163", "20852163 ", "size"),
        ("20852163", "2085_2163", "size"),
        ("20852163", "\u0662", "size"),
        ("20852163", "9223372036854775808", "size"),
        ("20852163", "9" * 400, "size"),
        ("20852163", "0", "root"),
        (ROOT, ROOT[:-1], "root"),
        (ROOT, "AAAA", "root"),
        (ROOT, ROOT[:-2] + "9=", "root"),
        (ROOT, " " + ROOT, "root"),
        (ROOT + "\n", ROOT + "\nextension\n", "checkpoint"),
        (ROOT + "\n", ROOT + "\n\n", "checkpoint"),
        (ROOT + "\n", ROOT, "checkpoint"),
        (ROOT + "\n", "", "checkpoint"),
        ("\n", "\r\n", "checkpoint"),
    ],
)
def test_a_checkpoint_in_another_spelling_is_refused(old: str, new: str, field: str) -> None:
    assert old in BODY
    with pytest.raises(InvalidInput) as refusal:
        parse_checkpoint(BODY.replace(old, new))
    assert refusal.value.field == field
