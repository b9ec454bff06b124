"""C2SP tlog-proof files: round trips, and the spellings that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import inclusion_proof, verify_inclusion
from audit.notes import Checkpoint, Signer, open_note, parse_checkpoint
from audit.tlog_proof import Proof, parse
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import InvalidInput
from tests.pure.trees import Tree, leaf_hashes

SIGNER = Signer("log.example/one", Secret(bytes(32)))  # fixed: test ids hold its signatures
TREE = Tree(leaf_hashes(11))


def signed(size: int) -> str:
    body = Checkpoint(SIGNER.name, size, TREE.root(size)).body
    return f"{body}\n{SIGNER.sign(body)}"


CHECKPOINT = signed(11)
PROOF = Proof(6, tuple(TREE.path(6, 0, 11)), CHECKPOINT)


def test_the_file_has_the_lines_of_the_specification() -> None:
    lines = Proof(6, PROOF.hashes, CHECKPOINT, extra=b"extra").text.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra ZXh0cmE=", "index 6"]
    assert [len(line) for line in lines[3:7]] == [44] * 4
    assert "\n".join(lines[7:]) == f"\n{CHECKPOINT}"


def test_a_file_proves_its_entry_to_whoever_has_the_key() -> None:
    proof = parse(PROOF.text)
    note = open_note(proof.checkpoint, [SIGNER.verifier])
    checkpoint = parse_checkpoint(note.body)
    assert (checkpoint.origin, checkpoint.size) == ("log.example/one", 11)
    verify_inclusion(
        leaf_hash=TREE.leaves[6], index=proof.index, size=checkpoint.size, proof=proof.hashes, root=checkpoint.root
    )


@given(size=st.integers(1, 11), data=st.data(), extra=st.binary(max_size=80))
def test_every_file_is_read_back(size: int, data: st.DataObject, extra: bytes) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = Proof(index, tuple(inclusion_proof(index, size, TREE.read)), signed(size), extra)
    assert parse(proof.text) == proof


def test_the_only_entry_of_a_log_has_a_proof_without_hashes() -> None:
    proof = Proof(0, (), signed(1))
    assert proof.text.startswith("c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example/one\n1\n")
    assert parse(proof.text) == proof


HASH = PROOF.text.split("\n")[2]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v2\n", "proof"),
        ("c2sp.org/tlog-proof@v1\n", "", "proof"),
        ("c2sp.org/tlog-proof@v1\n", "\nc2sp.org/tlog-proof@v1\n", "proof"),
        ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v1\r\n", "proof"),
        ("index 6\n", "", "index"),
        ("index 6\n", "index 06\n", "index"),
        ("index 6\n", "index +6\n", "index"),
        ("index 6\n", "index -6\n", "index"),
        ("index 6\n", "index  6\n", "index"),
        ("index 6\n", "index 6 \n", "index"),
        ("index 6\n", "index \u0666\n", "index"),
        ("index 6\n", "index\n", "index"),
        ("index 6\n", "Index 6\n", "index"),
        ("index 6\n", "index 11\n", "index"),  # beyond the checkpoint's tree
        ("index 6\n", "index 9223372036854775808\n", "index"),
        ("index 6\n", "extra \nindex 6\n", "extra"),
        ("index 6\n", "extra x\nindex 6\n", "extra"),
        ("index 6\n", "index 6\nextra eA==\n", "hashes"),
        ("index 6\n", "extra eA==\nextra eA==\nindex 6\n", "index"),
        ("index 6\n", "index 6\nindex 6\n", "hashes"),
        ("index 6\n", "index 6\n" + (HASH + "\n") * 60, "hashes"),
        (HASH, HASH[:-1], "hashes"),
        (HASH, HASH + "=", "hashes"),
        (HASH, " " + HASH, "hashes"),
        (HASH, "eA==", "hashes"),
        (HASH, HASH.rstrip("=")[:-1] + "_=", "hashes"),
        (HASH, HASH[:20] + "\t" + HASH[20:], "hashes"),
        ("\n\n" + CHECKPOINT, "\n\n", "note"),
        ("\n\n" + CHECKPOINT, "", "proof"),
        ("\n\n" + CHECKPOINT, "\n" + CHECKPOINT, "hashes"),
        ("\n\n" + CHECKPOINT, "\n\n\n" + CHECKPOINT, "checkpoint"),
        (CHECKPOINT, CHECKPOINT[:-1], "note"),
    ],
)
def test_a_file_in_another_spelling_is_refused(old: str, new: str, field: str) -> None:
    assert old in PROOF.text
    with pytest.raises(InvalidInput) as refusal:
        parse(PROOF.text.replace(old, new, 1))
    assert refusal.value.field == field
    assert refusal.value.detail.startswith(f"{field}: ")


def test_a_file_of_a_megabyte_is_refused_unread() -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(PROOF.text + "x" * 2**20)
    assert refusal.value.field == "proof"
