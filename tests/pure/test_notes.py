"""C2SP signed notes: the published example, known and unknown signers, and every changed byte."""

from __future__ import annotations

import base64

import pytest

from audit.notes import (
    LINES_MAX,
    Checkpoint,
    CosignatureSigner,
    CosignatureVerifier,
    SignedNote,
    Signer,
    Verifier,
    cosigned_at,
    open_note,
    parse_checkpoint,
)
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput
from tests.pure.trees import flip

# The example of C2SP's signed-note.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
SIGNER = Signer("log.example/one", Secret(bytes(32)))  # fixed: test ids hold its signatures
WITNESS = CosignatureSigner("witness.example/w1", Secret(bytes(range(32))))
CHECKPOINT = Checkpoint("log.example/one", 20852163, bytes(range(32)))
BODY = CHECKPOINT.body
LINE = SIGNER.sign(BODY)
COSIGNATURE = WITNESS.cosign(BODY, time=1679315147)
NOTE = f"{BODY}\n{LINE}{COSIGNATURE}"
WITNESS_VERIFIER = CosignatureVerifier.parse(WITNESS.vkey)


def test_the_example_of_the_specification_is_opened() -> None:
    note = open_note(C2SP_NOTE, [Verifier.parse(C2SP_VKEY)])
    assert (note.body, note.text) == ("This is an example message.\n", C2SP_NOTE)


def test_a_cosigned_note_is_opened_with_both_keys() -> None:
    note = open_note(NOTE, [SIGNER.verifier, WITNESS_VERIFIER])
    assert note.text == NOTE
    assert parse_checkpoint(note.body) == CHECKPOINT
    assert cosigned_at(note, WITNESS_VERIFIER) == 1679315147
    assert SignedNote.parse(NOTE) == note


def test_lines_of_unknown_keys_are_left_out() -> None:
    stranger = Signer.generate("log.example/one")
    text = f"{BODY}\n{stranger.sign(BODY)}{LINE}{COSIGNATURE}— other.example AAAAAAA=\n"
    note = open_note(text, [SIGNER.verifier])
    assert [line.text for line in note.lines] == [LINE]
    with pytest.raises(IntegrityError) as fault:
        cosigned_at(note, WITNESS_VERIFIER)
    assert fault.value.code == "unknown_signer"


def test_a_note_without_a_known_key_is_refused() -> None:
    for known in ([], [Signer.generate("log.example/one").verifier]):
        with pytest.raises(IntegrityError) as fault:
            open_note(NOTE, known)
        assert fault.value.code == "unknown_signer"


def test_a_wrong_line_of_a_known_key_spoils_the_note() -> None:
    wrong = SIGNER.sign("another body\n")
    for lines in (wrong, LINE + wrong, wrong + LINE, wrong + COSIGNATURE):
        with pytest.raises(IntegrityError) as fault:
            open_note(f"{BODY}\n{lines}", [SIGNER.verifier, WITNESS_VERIFIER])
        assert fault.value.code == "bad_signature"


def test_a_line_that_comes_twice_counts_once() -> None:
    assert len(open_note(f"{BODY}\n{LINE}{LINE}", [SIGNER.verifier]).lines) == 1


def test_two_keys_of_one_name_sign_while_a_key_is_rotated() -> None:
    new = Signer.generate(SIGNER.name)
    text = f"{BODY}\n{LINE}{new.sign(BODY)}"
    for known, count in (([SIGNER], 1), ([new], 1), ([SIGNER, new], 2)):
        assert len(open_note(text, [signer.verifier for signer in known]).lines) == count


def is_refused(data: bytes) -> bool:
    try:
        open_note(data.decode(), [SIGNER.verifier])
    except (UnicodeDecodeError, InvalidInput, IntegrityError):
        return True
    return False


def test_every_changed_bit_of_a_note_is_refused() -> None:
    data = f"{BODY}\n{LINE}".encode()
    assert not is_refused(data)
    assert all(is_refused(flip(data, bit)) for bit in range(len(data) * 8))


def test_every_byte_left_out_of_a_note_or_added_is_refused() -> None:
    data = f"{BODY}\n{LINE}".encode()
    assert all(is_refused(data[:i] + data[i + 1 :]) for i in range(len(data)))
    for added in (b"\n", b" ", b"A", b"=", b"\r", b"\0", "\u2028".encode()):
        assert all(is_refused(data[:i] + added + data[i:]) for i in range(len(data) + 1))


def test_names_of_others_may_hold_any_letter() -> None:
    name = "quasimodo.example/\u00e8\u4e16\U0001f511"
    assert open_note(f"{BODY}\n— {name} AAAAAAA=\n{LINE}", [SIGNER.verifier]).lines[0].name == SIGNER.name


NOT_NOTES = [
    "",
    "\n",
    "\n\n",
    BODY,
    BODY + "\n",
    BODY + LINE,
    f"{BODY}\n{LINE}"[:-1],
    f"{BODY}\n{LINE}\n",
    f"{BODY}\n{LINE}x\n",
    f"{BODY}\n{LINE.replace('— ', '- ')}",
    f"{BODY}\n{LINE.replace('— ', '—')}",
    f"{BODY}\n{LINE}".replace("\n", "\r\n"),
    f"{BODY}\t\n\n{LINE}",
    f"\x00{BODY}\n{LINE}",
    f"{BODY}\n— log.example/one \n",
    f"{BODY}\n— log.example/one AAAAAA==\n",
    f"{BODY}\n— log.example/one AAAAAAB=\n",
    f"{BODY}\n— log.example/one AAAAAAA\n",
    f"{BODY}\n— log.example/one AAAA AAA=\n",
    f"{BODY}\n" + LINE * (LINES_MAX + 1),
    f"{BODY}\n{LINE}— x.example {'A' * 2**18}\n",
    f"\udc80{BODY}\n{LINE}",
]


@pytest.mark.parametrize("number", range(len(NOT_NOTES)))  # the texts are too long for ids
def test_what_is_not_a_note_is_refused(number: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        open_note(NOT_NOTES[number], [SIGNER.verifier])
    assert refusal.value.field in {"note", "signature"}


def test_a_body_may_hold_blank_lines_and_any_letter() -> None:
    body = (
        "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned \u00e8 subito sera.\n\u2028\x85\n"
    )
    text = f"{body}\n{SIGNER.sign(body)}"
    assert open_note(text, [SIGNER.verifier]).body == body


def test_as_many_signatures_as_the_specification_asks_for_are_read() -> None:
    large = "".join(f"— post-quantum.example/{i} {base64.b64encode(bytes(5000)).decode()}\n" for i in range(16))
    assert len(open_note(f"{BODY}\n{LINE}{large}", [SIGNER.verifier]).lines) == 1
