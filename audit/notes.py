"""C2SP signed notes: a text and its signature lines. Must never hand out a line that does not verify as one that does.

The formats inside (names, base64), the keys and the checkpoint are modules of their own, exported here as one API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from audit.checkpoints import Checkpoint, parse_checkpoint
from audit.notation import check_name, check_text, decode_base64, encode_base64, malformed, parse_decimal
from audit.signatures import (
    CosignatureSigner,
    CosignatureVerifier,
    SignatureLine,
    Signer,
    Verifier,
    parse_verifier,
    parse_verifiers,
)
from byok_portal.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Checkpoint",
    "CosignatureSigner",
    "CosignatureVerifier",
    "SignatureLine",
    "SignedNote",
    "Signer",
    "Verifier",
    "check_name",
    "cosigned_at",
    "decode_base64",
    "encode_base64",
    "open_note",
    "parse_checkpoint",
    "parse_decimal",
    "parse_verifier",
    "parse_verifiers",
]

LINES_MAX: Final = 100  # as Go's x/mod


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note's body (with its last newline) and signature lines."""

    body: str
    lines: tuple[SignatureLine, ...]

    @classmethod
    def parse(cls, text: str) -> SignedNote:
        """Read a note; nothing is verified. Raises InvalidInput for what is not in the format."""
        check_text(text, field="note")
        body, blank, signatures = text.rpartition("\n\n")
        if not blank:
            raise malformed("note", "a note ends with a blank line and signature lines")
        lines = signatures.removesuffix("\n").split("\n")
        if len(lines) > LINES_MAX:
            raise malformed("note", f"a note has at most {LINES_MAX} signatures")
        return cls(body + "\n", tuple(SignatureLine.parse(line) for line in lines))

    @property
    def text(self) -> str:
        """The whole note."""
        return f"{self.body}\n" + "".join(line.text for line in self.lines)


def open_note(text: str, verifiers: Iterable[Verifier]) -> SignedNote:
    """Return the note with its verified lines only, one per key.

    Lines of unknown keys are ignored. Raises IntegrityError where a known key's line is wrong, or none is there.
    One known key is enough: ask for log and witness in two calls where both must have signed.
    """
    note = SignedNote.parse(text)
    known = list(verifiers)
    verified: dict[tuple[str, bytes], SignatureLine] = {}
    for line in note.lines:
        for verifier in known:
            if verifier.made(line):
                verifier.verify(note.body, line)
                verified.setdefault((line.name, line.key_id), line)
    if not verified:
        raise IntegrityError("the note has no signature by a known key", code="unknown_signer")
    return SignedNote(note.body, tuple(verified.values()))


def cosigned_at(note: SignedNote, verifier: CosignatureVerifier) -> int:
    """The Unix time of a witness's cosignature, verified. Raises IntegrityError where the note has none."""
    for line in note.lines:
        if verifier.made(line):
            return verifier.cosigned_at(note.body, line)
    raise IntegrityError(f"{verifier.name} has not cosigned the checkpoint", code="unknown_signer")
