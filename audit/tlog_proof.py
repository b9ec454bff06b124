"""C2SP tlog-proof v1: one entry's inclusion proof and the signed checkpoint in a text file. Must never do I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.merkle import HASH_BYTES
from audit.notes import SignedNote, decode_base64, encode_base64, parse_checkpoint, parse_decimal
from byok_portal.errors import InvalidInput

HEADER: Final = "c2sp.org/tlog-proof@v1"
TEXT_MAX_BYTES: Final = 2**20
HASHES_MAX: Final = 63  # the height of the tallest tree


@dataclass(frozen=True, slots=True)
class Proof:
    """Where an entry is (index), its inclusion proof, and the checkpoint note with all its lines, verbatim.

    `extra` is covered by no signature.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    @property
    def text(self) -> str:
        """The file's content."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [encode_base64(value) for value in self.hashes]
        return "\n".join([*lines, "", self.checkpoint])


def parse(text: str) -> Proof:
    """Read a proof; nothing is verified. Raises InvalidInput for what is not in the format."""
    if len(text) > TEXT_MAX_BYTES:
        raise _malformed("proof", f"a proof has at most {TEXT_MAX_BYTES} bytes")
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != HEADER:
        raise _malformed("proof", f"a proof begins with {HEADER} and has a blank line before its checkpoint")
    extra = _take_extra(lines)
    if not lines or not lines[0].startswith("index "):
        raise _malformed("index", "a line with the index comes before the hashes")
    index = parse_decimal(lines.pop(0).removeprefix("index "), field="index")
    hashes = tuple(decode_base64(line, field="hashes") for line in lines)
    if len(hashes) > HASHES_MAX or any(len(value) != HASH_BYTES for value in hashes):
        raise _malformed("hashes", f"at most {HASHES_MAX} hashes of 32 bytes")
    if index >= parse_checkpoint(SignedNote.parse(checkpoint).body).size:
        raise _malformed("index", "the index is below the checkpoint's size")
    return Proof(index, hashes, checkpoint, extra)


def _take_extra(lines: list[str]) -> bytes:
    if not lines or not lines[0].startswith("extra "):
        return b""
    extra = decode_base64(lines.pop(0).removeprefix("extra "), field="extra")
    if not extra:
        raise _malformed("extra", "the line is left out where there is no extra data")
    return extra


def _malformed(field: str, rule: str) -> InvalidInput:
    return InvalidInput(f"{field}: {rule}", code="malformed_proof", field=field)
