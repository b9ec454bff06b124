"""Ed25519 keys of notes and cosignatures: published examples, round trips, and what is refused."""

from __future__ import annotations

import base64
import copy
import pickle
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.notes import (
    Checkpoint,
    CosignatureSigner,
    CosignatureVerifier,
    SignatureLine,
    Signer,
    Verifier,
    open_note,
    parse_checkpoint,
    parse_verifier,
    parse_verifiers,
)
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput
from tests.pure.trees import flip

# The example of Go's golang.org/x/mod/sumdb/note.
GO_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_BODY = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The key of a public witness.
WITNESS_VKEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"

SIGNER = Signer("log.example/one", Secret(bytes(32)))  # fixed: test ids hold its signatures
WITNESS = CosignatureSigner("witness.example/w1", Secret(bytes(range(32))))
CHECKPOINT = Checkpoint("log.example/one", 20852163, bytes(range(32)))
BODY = CHECKPOINT.body
LINE = SIGNER.sign(BODY)
COSIGNATURE = WITNESS.cosign(BODY, time=1679315147)
NOTE = f"{BODY}\n{LINE}{COSIGNATURE}"
WITNESS_VERIFIER = CosignatureVerifier.parse(WITNESS.vkey)


def test_the_example_of_go_is_signed_and_opened() -> None:
    signer, verifier = Signer.parse(Secret(GO_KEY)), Verifier.parse(GO_VKEY)
    assert (signer.vkey, signer.text, signer.sign(GO_BODY)) == (GO_VKEY, Secret(GO_KEY), GO_LINE)
    note = open_note(f"{GO_BODY}\n{GO_LINE}", [verifier])
    assert (note.body, [line.text for line in note.lines]) == (GO_BODY, [GO_LINE])


def test_a_public_witness_key_is_read() -> None:
    verifier = parse_verifier(WITNESS_VKEY)
    assert isinstance(verifier, CosignatureVerifier)
    assert (verifier.name, verifier.key_id.hex(), verifier.vkey) == ("remora.n621.de", "da77ade7", WITNESS_VKEY)


def test_keys_are_read_back() -> None:
    for signer in (SIGNER, WITNESS):
        again = type(signer).parse(Secret(signer.text.reveal() + b"\n"))
        assert (again.text, again.vkey, again.name) == (signer.text, signer.vkey, signer.name)
        assert parse_verifier(signer.vkey) == signer.verifier
    assert parse_verifiers(f"{SIGNER.vkey}\n\n{WITNESS.vkey}\n") == [SIGNER.verifier, WITNESS.verifier]
    assert Signer.generate("log.example/one").vkey != Signer.generate("log.example/one").vkey


def test_a_log_key_and_a_witness_key_of_one_seed_have_different_ids() -> None:
    seed = Secret(bytes(32))
    log, witness = Signer("same.example", seed), CosignatureSigner("same.example", seed)
    assert log.verifier.key_id != witness.verifier.key_id
    for wrong, kind in ((witness.text, Signer), (log.text, CosignatureSigner)):
        with pytest.raises(InvalidInput):
            kind.parse(wrong)
    with pytest.raises(InvalidInput):
        Verifier.parse(witness.vkey)
    with pytest.raises(InvalidInput):
        CosignatureVerifier.parse(log.vkey)


def test_a_signer_never_shows_its_key() -> None:
    for signer in (SIGNER, WITNESS):
        seed = base64.b64decode(signer.text.reveal_text().split("+", 4)[4])[1:]
        shown = f"{signer!r} {signer} {signer.text} {[signer]} {signer.verifier!r}"
        for form in (seed.hex(), base64.b64encode(seed).decode().rstrip("="), repr(seed)):
            assert form not in shown
        for leak in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                leak(signer)


def test_every_changed_bit_of_a_cosignature_is_refused() -> None:
    line = SignatureLine.parse(COSIGNATURE)
    for bit in range(len(line.signature) * 8):
        changed = replace(line, signature=flip(line.signature, bit))
        with pytest.raises(IntegrityError):
            WITNESS_VERIFIER.verify(BODY, changed)
        with pytest.raises(IntegrityError):
            WITNESS_VERIFIER.cosigned_at(BODY, changed)
    with pytest.raises(IntegrityError):
        WITNESS_VERIFIER.verify(BODY.replace("20852163", "20852164"), line)


@given(time=st.integers(1, 2**63 - 1))
def test_a_cosignature_tells_its_time(time: int) -> None:
    assert WITNESS_VERIFIER.cosigned_at(BODY, WITNESS.cosign(BODY, time=time)) == time


@pytest.mark.parametrize("time", [-1, 0, 2**63])
def test_a_witness_signs_for_possible_times_only(time: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        WITNESS.cosign(BODY, time=time)
    assert refusal.value.field == "time"


def test_a_cosignature_of_an_impossible_time_is_refused() -> None:
    for time, refused in ((2**63 - 1, False), (2**63, True)):
        signature = WITNESS._private.sign(f"cosignature/v1\ntime {time}\n{BODY}".encode())
        line = SignatureLine(WITNESS.name, WITNESS.verifier.key_id, time.to_bytes(8, "big") + signature)
        assert is_refused(WITNESS_VERIFIER, line) == refused


def is_refused(verifier: Verifier, line: SignatureLine) -> bool:
    try:
        verifier.verify(BODY, line)
    except IntegrityError:
        return True
    return False


def test_a_witness_signs_checkpoints_only() -> None:
    with pytest.raises(InvalidInput):
        WITNESS.sign(BODY)
    with pytest.raises(InvalidInput):
        WITNESS.cosign("any text\n", time=1)


def test_signatures_are_bound_to_their_key() -> None:
    other = Signer.generate("other.example")
    with pytest.raises(IntegrityError) as fault:
        other.verifier.verify(BODY, LINE)
    assert fault.value.code == "unknown_signer"
    short = SignatureLine(SIGNER.name, SIGNER.verifier.key_id, b"x")
    with pytest.raises(IntegrityError):
        SIGNER.verifier.verify(BODY, short)
    with pytest.raises(IntegrityError):
        WITNESS_VERIFIER.verify(BODY, SignatureLine(WITNESS.name, WITNESS.verifier.key_id, b"\xff" * 72))


NAMES = ["", "a b", "a+b", "a\u00a0b", "a\u3000b", "a\nb", "a\tb", "a\x7fb", "a\x85b", "\u2028", "a\udc80", " a", "a "]


@pytest.mark.parametrize("name", [*NAMES, "x" * 256, "\u00e9" * 128])
def test_a_malformed_name_makes_no_key(name: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Signer.generate(name)
    assert refusal.value.field == "vkey"


@pytest.mark.parametrize("name", NAMES)
def test_a_malformed_name_is_no_origin_and_no_signer(name: str) -> None:
    with pytest.raises(InvalidInput):
        parse_checkpoint(replace(CHECKPOINT, origin=name).body)
    with pytest.raises(InvalidInput):
        SignatureLine.parse(f"— {name} AAAAAAA=\n")


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("c74f20a3", "C74F20A3"),
        GO_VKEY.replace("c74f20a3", "74f20a3"),
        GO_VKEY.replace("c74f20a3", "0xc74f20"),
        GO_VKEY.replace("PeterNeumann", "peterNeumann"),
        GO_VKEY.replace("+A", "+ A"),
        GO_VKEY + "\n",
        GO_VKEY + "=",
        GO_VKEY + "AAAA",
        GO_VKEY[:-4],
        GO_VKEY[:-1] + "-",
        GO_VKEY.replace("/", "_"),
        GO_VKEY.replace("+ARpc", "+ABpc"),
        GO_VKEY.replace("+ARpc", "+Bhpc"),
        GO_KEY,
    ],
)
def test_a_malformed_public_key_is_refused(vkey: str) -> None:
    for parse in (Verifier.parse, CosignatureVerifier.parse, parse_verifier):
        with pytest.raises(InvalidInput) as refusal:
            parse(vkey)
        assert refusal.value.field == "vkey"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        GO_VKEY,
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("PRIVATE", "private"),
        GO_KEY.replace("+AYEK", "+BIEK"),
        GO_KEY[:-4],
        GO_KEY + "=",
        GO_KEY.replace("PeterNeumann", "Peter Neumann"),
    ],
)
def test_a_malformed_private_key_is_refused_without_showing_it(text: str | bytes) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Signer.parse(Secret(text))
    assert refusal.value.field == "signing_key"
    assert not re.search("[A-Za-z0-9+/]{30}", str(refusal.value))


@pytest.mark.parametrize("body", ["", "no newline", "a\r\n", "a\0\n", "\udc80\n"])
def test_what_no_note_can_hold_is_not_signed(body: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        SIGNER.sign(body)
    assert refusal.value.field == "body"
