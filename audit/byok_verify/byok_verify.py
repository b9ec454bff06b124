"""byok-verify: check an exported audit trail of BYOK Portal, offline and without trusting the portal.

    byok-verify EXPORT --log-key FILE|KEY [--witness-key FILE|KEY] [--since FILE]
    byok-verify --proof ENTRY.tlog-proof --entry ENTRY.json --log-key FILE|KEY
    byok-verify DOCUMENT --log-key FILE|KEY [--witness-key FILE|KEY]

EXPORT is the ZIP file or the folder that it was unpacked to. KEY is a line such as `<log name>+<key id>+<base64>`,
FILE holds such lines. Get the keys in another way than the export: keys that only came with it prove that it fits
together, not whose it is. Keep `head.tlog-proof` of every export: given as --since next time, it proves that
nothing which you were shown once has been taken back. One file, Python 3.11 or newer, and the package `cryptography`.

What a "Verified" proves: these are all entries of this tenant up to the last one shown, numbered without a gap, each
as it was recorded, none changed, moved, removed or put in between; the last one, and through the links all others,
is in the log whose tree the operator signed (and the witnesses cosigned, at the times shown). With --since: that tree
is the older one with entries added.
What it does not prove: that what an entry says is true, that every event was recorded at all (compare the `Audit-Id`
of answers with the entries), and nothing about the time after the last witness. That the export is not cut short is
concluded from the heartbeat that every active tenant gets each day.

DOCUMENT is the ZIP file of a certificate or report, or its folder: it holds `document.json`. "Verified" then proves
that the log recorded the SHA-256 of both of its forms when it was issued, and that every entry that it rests on is in
the signed tree; not that these are all entries there are, nor that what the statement concludes from them is true.

Exit codes; where there are several faults, that of the first one shown:
     0  verified
     2  wrong use of this program
    10  the export, or a file given, is unreadable or not in its format
    11  the log's signature on the checkpoint is wrong or missing
    12  a witness's cosignature is wrong or missing
    13  the entry is not in the signed tree
    14  an entry was changed: the chain is broken
    15  entries are missing
    16  entries are in another order, or there twice
    17  an entry of another tenant
    18  the tree is not an extension of the older checkpoint: the log was rewritten
    19  the checkpoint is older than the one that you kept
    20  the last entry is too old: later ones may be withheld
    21  the start is missing, without evidence that it was pruned
    22  the older checkpoint is of another log (one that was opened anew has a new name)
    23  the export has no proof that it extends the older checkpoint: export again, from that checkpoint
    24  --require-known-keys: a key came only with the export
    25  the document is not the one whose SHA-256 the log recorded

How it works, top to bottom: signed notes and keys (C2SP signed-note, tlog-checkpoint, tlog-cosignature), the Merkle
tree (RFC 9162), proof files (C2SP tlog-proof), the export's files, the chain of entries, the checks in their order.
"""
# ruff: noqa: INP001 - a project of its own in this folder, no package of the portal

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import io
import json
import multiprocessing
import os
import re
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Never, TypeVar

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("byok-verify needs the Python package cryptography: pip install cryptography")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

LINE_MAX: Final = 65535  # the longest entry, in bytes
FILE_MAX: Final = 2**18  # any other file of an export
DOCUMENT_MAX: Final = 2**26  # a document in either form
PROVEN_MAX: Final = 2**18  # a line of evidence.jsonl: an entry in JSON once more, and the hashes
BLOCK: Final = 2**18
SIZE_MAX: Final = 2**63 - 1
DEPTH_MAX: Final = 33
INTEGER_LIMIT: Final = 2**53
FAULTS_MAX: Final = 1000  # then the entries are read no further
FAULTS_SHOWN: Final = 20
PARALLEL_FROM: Final = 2**24  # bytes of entries that are worth a second process
LOG_KEY: Final = 1
WITNESS_KEY: Final = 4
GENESIS: Final = bytes(32)
CLOCKS_DIFFER: Final = timedelta(hours=1)  # between who dates entries and who sees them

T = TypeVar("T")


class Code(IntEnum):
    """The exit codes of faults."""

    UNREADABLE = 10
    LOG_SIGNATURE = 11
    WITNESS = 12
    NOT_IN_TREE = 13
    CHANGED = 14
    MISSING = 15
    REORDERED = 16
    OTHER_TENANT = 17
    NOT_EXTENDED = 18
    ROLLED_BACK = 19
    TOO_OLD = 20
    START_MISSING = 21
    OTHER_LOG = 22
    NO_EXTENSION_PROOF = 23
    UNKNOWN_KEYS = 24
    OTHER_DOCUMENT = 25


class Fault(NamedTuple):
    """One finding: its exit code, and one sentence for people."""

    code: Code
    text: str


class Found(Exception):
    """Raised by a check that found a fault."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(code, text)


def unreadable(text: str) -> Found:
    """The fault of a file that is not in its format."""
    return Found(Code.UNREADABLE, text)


def shown(text: str) -> str:
    """Text of unknown origin, safe to print on a terminal."""
    clean = "".join(char if char.isprintable() else "?" for char in text[:200])
    return clean if len(text) <= len(clean) else clean + "..."


# ---- Base64, numbers and times: one spelling each, so that no bit of a proof can change unnoticed


def decode_base64(text: str, what: str, length: int = 0) -> bytes:
    """The bytes of strict base64, of the given length where there is one."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or base64.b64encode(data).decode() != text or (length and len(data) != length):
        raise unreadable(f"{what} is not in base64, or has another length than it should.")
    return data


def decode_number(text: str, what: str) -> int:
    """A decimal without leading zeros, below 2^63."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or int(text) > SIZE_MAX:
        raise unreadable(f"{what} is not a number.")
    return int(text)


def decode_time(text: object) -> datetime | None:
    """The time in an entry (RFC 3339, UTC), or None."""
    if not isinstance(text, str) or not re.fullmatch(
        r"[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}(\.[0-9]{1,6})?Z", text
    ):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def show_time(time: datetime) -> str:
    """A time for people, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# ---- Keys and signed notes


class Key(NamedTuple):
    """A public Ed25519 key: of a log (type 1) or of a witness (type 4); `text` is its line."""

    name: str
    id: bytes
    kind: int
    public: bytes
    text: str


class Note(NamedTuple):
    """A signed note: its body, and (name, key id and signature) of each signature line."""

    body: str
    signatures: tuple[tuple[str, bytes], ...]


class Checkpoint(NamedTuple):
    """The root of a log's tree at a size, and the note in which it stands."""

    origin: str
    size: int
    root: bytes
    note: Note


def parse_key(text: str) -> Key:
    """Read `<name>+<key id>+<base64 of type and key>`; the key id must be the hash of the rest."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    data = decode_base64(encoded, "A key line")
    digest = hashlib.sha256(name.encode(errors="replace") + b"\n" + data).digest()
    if not name or any(char.isspace() for char in name) or key_id != digest[:4].hex():
        raise unreadable(f"The key line of {shown(name)!r} is damaged: its key id does not fit.")
    return Key(name, digest[:4], data[0], data[1:], text)


def parse_keys(text: str, kind: int) -> list[Key]:
    """The keys of one kind in a file of key lines; lines of other kinds are for newer programs."""
    lines = [line.strip() for line in text.split("\n")]
    keys = [parse_key(line) for line in lines if line and not line.startswith("#")]
    return [key for key in keys if key.kind == kind and len(key.public) == len(GENESIS)]


def parse_note(text: str, what: str) -> Note:
    """Split a signed note into body and signatures; verifies nothing."""
    body, blank, tail = text.rpartition("\n\n")
    if not blank or not tail.endswith("\n") or any(char < " " and char != "\n" for char in text):
        raise unreadable(f"{what} is not a signed note.")
    signatures = []
    for line in tail[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "\u2014" or not name:
            raise unreadable(f"{what} has a malformed signature line.")
        signatures.append((name, decode_base64(encoded, f"A signature of {what}")))
    return Note(body + "\n", tuple(signatures))


def parse_checkpoint(text: str, what: str) -> Checkpoint:
    """Read a checkpoint: origin, size and root, signed; verifies nothing."""
    note = parse_note(text, what)
    lines = note.body[:-1].split("\n")
    if len(lines) < 3 or not all(lines):  # noqa: PLR2004 - more lines would be extensions, which are signed too
        raise unreadable(f"{what} lacks origin, tree size or root.")
    size = decode_number(lines[1], f"The tree size of {what}")
    return Checkpoint(lines[0], size, decode_base64(lines[2], f"The root of {what}", 32), note)


def verify_signature(key: Key, body: str, signature: bytes) -> int:
    """Verify one signature over a note. The witness's Unix time, or 0 for a log; raises Found."""
    message, time = body.encode(), 0
    if key.kind == WITNESS_KEY:
        time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        message = b"cosignature/v1\ntime %d\n" % time + message
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
        datetime.fromtimestamp(time, UTC)
    except (InvalidSignature, ValueError, OverflowError, OSError):
        who, code = ("witness", Code.WITNESS) if key.kind == WITNESS_KEY else ("log", Code.LOG_SIGNATURE)
        raise Found(code, f"The signature of the {who} {shown(key.name)} on the checkpoint is wrong.") from None
    return time


def verified_signers(note: Note, keys: Iterable[Key]) -> dict[str, int]:
    """Who of these signed, and when. Lines of unknown keys are ignored, a wrong line of a known key raises."""
    known = {(key.name, key.id): key for key in keys}
    signers: dict[str, int] = {}
    for name, data in note.signatures:
        key = known.get((name, data[:4]))
        if key:
            signers[name] = max(signers.get(name, 0), verify_signature(key, note.body, data[4:]))
    return signers


def check_log_signature(checkpoint: Checkpoint, keys: Sequence[Key]) -> None:
    """The checkpoint is signed by a key which has the name of the log that it speaks of."""
    if not any(key.name == checkpoint.origin for key in keys):
        names, origin = shown(", ".join(sorted({key.name for key in keys}))), shown(checkpoint.origin)
        raise Found(Code.LOG_SIGNATURE, f"The checkpoint is of the log {origin}; the key is of {names}.")
    if not verified_signers(checkpoint.note, [key for key in keys if key.name == checkpoint.origin]):
        raise Found(Code.LOG_SIGNATURE, f"No known key of the log {shown(checkpoint.origin)} signed the checkpoint.")


def check_cosignatures(checkpoint: Checkpoint, keys: Sequence[Key], quorum: int) -> dict[str, int]:
    """At least `quorum` of the witnesses cosigned (a witness may have two keys). Returns them with their times."""
    witnesses = verified_signers(checkpoint.note, keys)
    if len(witnesses) < quorum:
        absent = shown(", ".join(sorted({key.name for key in keys} - witnesses.keys())))
        raise Found(Code.WITNESS, f"The checkpoint lacks a cosignature of {absent}.")
    return witnesses


# ---- The Merkle tree (RFC 9162, section 2.1)


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of an entry in the tree, and in the link of the entry after it."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbours in the tree."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_included(leaf: bytes, index: int, checkpoint: Checkpoint, path: Sequence[bytes]) -> bool:
    """Whether the leaf hash stands at `index` in the signed tree (section 2.1.3.2)."""
    if index >= checkpoint.size:
        return False
    place, last, root = index, checkpoint.size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and root == checkpoint.root


def is_extension(old: Checkpoint, new: Checkpoint, path: Sequence[bytes]) -> bool:
    """Whether the new tree is the old one with leaves added (section 2.1.4.2)."""
    if old.size in {0, new.size}:
        return old.root == (new.root if old.size else hashlib.sha256().digest())
    hashes = [old.root, *path] if old.size.bit_count() == 1 else list(path)
    if old.size > new.size or not hashes:
        return False
    place, last = old.size - 1, new.size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_root = new_root = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_root, new_root = node_hash(sibling, old_root), node_hash(sibling, new_root)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new_root = node_hash(new_root, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and (old_root, new_root) == (old.root, new.root)


# ---- Proof files


class Proof(NamedTuple):
    """Where an entry stands in the log, the path to the root, and the checkpoint."""

    place: int
    path: list[bytes]
    checkpoint: Checkpoint


PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"


def parse_proof(text: str, what: str) -> Proof:
    """Read a tlog-proof; verifies nothing."""
    head, _, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if lines.pop(0) != PROOF_HEADER:
        raise unreadable(f"{what} does not begin with {PROOF_HEADER}.")
    if lines and lines[0].startswith("extra "):
        decode_base64(lines.pop(0).removeprefix("extra "), f"The extra data of {what}")
    if not lines or not lines[0].startswith("index "):
        raise unreadable(f"{what} has no index.")
    index = decode_number(lines.pop(0).removeprefix("index "), f"The index of {what}")
    path = [decode_base64(line, f"A hash of {what}", 32) for line in lines]
    return Proof(index, path, parse_checkpoint(checkpoint, f"the checkpoint in {what}"))


def parse_kept(text: str) -> Checkpoint:
    """Read what was kept of an earlier export: its proof file, or only the checkpoint."""
    what = "the checkpoint that you kept"
    return parse_proof(text, what).checkpoint if text.startswith(PROOF_HEADER) else parse_checkpoint(text, what)


def parse_json(text: str, what: str) -> dict[str, Any]:
    """A JSON object from outside."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise unreadable(f"{what} is not a JSON object.")
    return document


def take(document: dict[str, Any], name: str, kind: type[T], what: str) -> T:
    """A member of a JSON object, of the type that it must have; an integer is a place in the log."""
    value = document.get(name)
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= SIZE_MAX):
        raise unreadable(f"{what} has no valid {name!r}.")
    return value


def take_path(document: dict[str, Any], what: str) -> list[bytes]:
    """The hashes of a proof in a JSON object."""
    hashes = take(document, "hashes", list, what)
    if not all(isinstance(item, str) for item in hashes):
        raise unreadable(f"{what} has no valid 'hashes'.")
    return [decode_base64(item, f"A hash of {what}", 32) for item in hashes]


# ---- The files of an export: a folder or a ZIP. Both may be hostile: read by name, in bounded pieces


class Part(NamedTuple):
    """A run of bytes in a file."""

    path: str
    start: int
    size: int

    def blocks(self) -> Iterator[bytes]:
        """The bytes, piece by piece."""
        with Path(self.path).open("rb", buffering=0) as file:
            file.seek(self.start)
            left = self.size
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block


class Folder:
    """An export that was unpacked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, name: str) -> str | None:
        """The text of a small file, or None where there is none."""
        return read_text(self._path / name, name) if (self._path / name).exists() else None

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self._path / name).is_file()

    def part(self, name: str) -> Part:
        """Where a long file is."""
        path = self._path / name
        if not path.is_file():
            raise unreadable(f"{name} is not in the export.")
        return Part(str(path), 0, path.stat().st_size)


class Bounded(io.FileIO):
    """Keeps zipfile from reading a huge table of contents at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As FileIO, but never more than a block."""
        return super().read(BLOCK if size is None or not 0 <= size <= BLOCK else size) or b""


class Archive:
    """An export as the ZIP file that was downloaded."""

    def __init__(self, path: Path, file: Bounded) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(file)
            members = self._zip.infolist()
        except Exception:  # noqa: BLE001 - zipfile raises a dozen kinds on hostile files
            raise unreadable("The export is neither a folder nor a readable ZIP file.") from None
        self._members = {info.filename: info for info in members}
        if len({info.filename.casefold() for info in members}) != len(members):
            raise unreadable("The ZIP file has two files of one name.")

    def find(self, name: str) -> str | None:
        """The text of a small file, or None where there is none."""
        if name not in self._members:
            return None
        with self._open(name) as file:
            return decode_text(self._read(file, FILE_MAX + 1), name)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._members

    def part(self, name: str) -> Part | Iterator[bytes]:
        """Where a long file is, or its bytes piece by piece where they are compressed."""
        self._open(name).close()  # compares the member's own header with the table of contents
        info = self._members[name]
        if info.compress_type != zipfile.ZIP_STORED:
            return self._inflate(name)
        if info.file_size != info.compress_size:
            raise unreadable(f"{name} has two sizes in the ZIP file.")
        with Bounded(self._path) as file:
            file.seek(info.header_offset + 26)
            lengths = file.read(4)
        # The header is 30 bytes, a name and extra fields, which may be longer here than in the table of contents.
        start = info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        return Part(str(self._path), start, info.file_size)

    def _inflate(self, name: str) -> Iterator[bytes]:
        with self._open(name) as file:
            while block := self._read(file, BLOCK):
                yield block

    def _open(self, name: str) -> IO[bytes]:
        info = self._members.get(name)
        if info is None:
            raise unreadable(f"{name} is not in the export.")
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise unreadable(f"{name} is compressed in a way that exports do not use.")
        try:
            return self._zip.open(info)
        except Exception:  # noqa: BLE001 - as above
            raise _damaged(name) from None

    @staticmethod
    def _read(file: IO[bytes], size: int) -> bytes:
        try:
            return file.read(size)
        except Exception:  # noqa: BLE001 - as above
            raise _damaged(file.name) from None


def _damaged(name: str) -> Found:
    return unreadable(f"{name} cannot be read from the ZIP file: it is damaged.")


@contextmanager
def open_export(path: Path) -> Iterator[Folder | Archive]:
    """The export, in either form."""
    if path.is_dir():
        yield Folder(path)
    elif not path.is_file():  # a pipe or a device would never end
        raise unreadable("The export is neither a folder nor a file.")
    else:
        with Bounded(path) as file:
            yield Archive(path, file)


def read_text(path: Path, what: str) -> str:
    """The text of a small file on disk."""
    if not path.is_file():
        raise unreadable(f"{what} is not a file.")
    with path.open("rb") as file:
        return decode_text(file.read(FILE_MAX + 1), what)


def decode_text(data: bytes, what: str) -> str:
    """UTF-8 text of a bounded length."""
    if len(data) > FILE_MAX:
        raise unreadable(f"{what} is longer than {FILE_MAX} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise unreadable(f"{what} is not UTF-8 text.") from None


def split_lines(blocks: Iterable[bytes], name: str = "entries.jsonl", longest: int = LINE_MAX) -> Iterator[bytes]:
    """The lines of a file, in memory that is bounded whatever the file holds."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > longest:
            raise unreadable(f"{name} has a line of more than {longest} bytes.")
    if rest:
        raise unreadable(f"{name} does not end with a newline: it was cut off, or something was added.")


def read_whole(part: Part | Iterator[bytes], name: str) -> bytes:
    """All bytes of a file of a bounded length."""
    data = bytearray()
    for block in part.blocks() if isinstance(part, Part) else part:
        data += block
        if len(data) > DOCUMENT_MAX:
            raise unreadable(f"{name} is longer than {DOCUMENT_MAX} bytes.")
    return bytes(data)


# ---- Entries: {"body":{...},"prev":"<base64>","seq":N,"tenant":"<id>","v":1}, canonical (RFC 8785), integers only


PARTS: Final = {"body": dict, "prev": str, "seq": int, "tenant": str, "v": int}


PLATFORM = "00000000-0000-0000-0000-000000000000"
"""Whose chain the log's own entries are in: a tenant's entry cannot speak for the log."""


class Entry(NamedTuple):
    """What links an entry to the one before it, and what it records."""

    tenant: str
    seq: int
    prev: bytes
    body: dict[str, Any]


def _integer(text: str) -> int:
    number = int(text)
    if not -INTEGER_LIMIT < number < INTEGER_LIMIT:
        raise ValueError("programs disagree about integers from 2^53")
    return number


def _no_number(_: str) -> Never:
    raise ValueError("not an integer")


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_float=_no_number, parse_constant=_no_number)
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse_canonical(line: bytes, longest: int | None = LINE_MAX) -> dict[str, Any]:
    """The JSON object in a line. Raises ValueError unless the bytes are the one canonical form of it."""
    text = line.decode()
    document, _ = _DECODER.raw_decode(text)
    # Equality refuses white space, unsorted and double keys, other escapes and anything after the end.
    too_long = longest is not None and len(line) > longest
    if too_long or not isinstance(document, dict) or _ENCODER.encode(document) != text:
        raise ValueError("not canonical")
    _check_value(document, DEPTH_MAX)
    return document


def _check_value(value: object, depth: int) -> None:
    """The rest of the profile: keys that all programs sort alike, no NUL, nothing too deep."""
    if depth < 0 or (isinstance(value, str) and "\0" in value):
        raise ValueError("outside the profile")
    if isinstance(value, dict):
        if not "".join(value).isascii():
            raise ValueError("keys are ASCII")
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            _check_value(item, depth - 1)


def parse_entry(line: bytes) -> Entry:
    """Read an entry. Raises ValueError unless it is canonical and has the parts of an entry, no more and no less."""
    try:
        document = parse_canonical(line)
        link, typed = decode_base64(document["prev"], "A link", 32), [(name, type(document[name])) for name in PARTS]
    except (ValueError, TypeError, KeyError, RecursionError, Found):
        raise ValueError("not an entry") from None
    # Types by identity: True is an integer elsewhere, and equals 1.
    if typed != list(PARTS.items()) or len(document) != len(PARTS) or document["v"] != 1 or document["seq"] < 1:
        raise ValueError("not an entry")
    return Entry(document["tenant"], document["seq"], link, document["body"])


class Shapes:
    """Patterns of lines that were parsed before, so that most lines need no parsing; 5 times as fast.

    A line that differs from a canonical one only inside values that are strings without escapes, or in digits, is
    canonical too. So a pattern is a line that was found canonical with each such value replaced by "any such value".
    """

    LIMIT: Final = 128  # of patterns: a hostile export could have a new one on each line
    EACH: Final = 16  # of one action
    _TEXT: Final = rb'"[^"\\\x00-\x1f]*+"'
    _NUMBER: Final = rb"(?:0|-?[1-9][0-9]{0,14})"

    def __init__(self) -> None:
        self._patterns: dict[bytes, list[re.Pattern[bytes]]] = {}
        self._count = 0

    def covers(self, line: bytes) -> bool:
        """Whether the line is of a known shape, thus canonical; False says nothing."""
        patterns = self._patterns.get(self._hint(line))
        if not patterns or len(line) > LINE_MAX:
            return False
        try:
            line.decode()
        except UnicodeDecodeError:
            return False
        return any(pattern.fullmatch(line) for pattern in patterns)

    def learn(self, line: bytes) -> None:
        """Note the shape of a line that parse_entry accepted."""
        if self._count >= self.LIMIT or len(line) > LINE_MAX // 32 or b"\\" in line:
            return
        patterns = self._patterns.setdefault(self._hint(line), [])
        if len(patterns) >= self.EACH:
            return
        self._count += 1
        pieces = line.split(b'"')  # structure, string, structure, string, ... structure
        for place, piece in enumerate(pieces):
            if place % 2 == 0:
                pieces[place] = self._NUMBER.join(re.escape(part) for part in re.split(rb"-?[0-9]+", piece))
            elif pieces[place + 1].startswith(b":"):
                pieces[place] = b'"' + re.escape(piece) + b'"'
            else:
                pieces[place] = self._TEXT
        patterns.append(re.compile(b"".join(pieces)))

    @staticmethod
    def _hint(line: bytes) -> bytes:
        """Which patterns to try: those of lines with the same action."""
        return line[: line.find(b'"', 19)]


# ---- The chain: numbers without a gap, each entry linked to the one before it by its hash


@dataclass
class Run:
    """A run of entries that was followed: its ends are all that is kept. `digest` is the last one's hash."""

    lines: int = 0
    first: Entry | None = None
    seq: int = 0
    digest: bytes | None = None
    line: bytes = b""


@dataclass
class Gap:
    """Numbers that were missing where they should have stood, and those of them that came later."""

    first: int
    last: int
    late: list[int] = field(default_factory=list)

    def faults(self) -> Iterator[Fault]:
        """Moved, or missing, or some of both."""
        for seq in self.late:
            yield Fault(Code.REORDERED, f"Entry {seq} stands after a later one: the order was changed.")
        numbers = f"Entry {self.first} is" if self.first == self.last else f"Entries {self.first} to {self.last} are"
        if len(self.late) <= self.last - self.first:
            but = " but for the ones moved" if self.late else ""
            yield Fault(Code.MISSING, f"{numbers} missing{but}: entry {self.last + 1} comes in that place.")


class Chain:
    """Follows entries in the order of the file and names each fault; holds only the last entry."""

    def __init__(self, tenant: str | None) -> None:
        self.tenant = tenant
        self.run = Run()
        self.stopped = False
        self.unread = 0  # lines since the last entry that are none: each may have been one, or was put in between
        self._findings: list[Fault | Gap] = []
        self._count = 0
        self._shapes = Shapes()
        self._tenant_end = b""

    def follow(self, lines: Iterable[bytes]) -> None:
        """Read to the end, or until there are too many faults to be worth it."""
        run, covers = self.run, self._shapes.covers
        try:
            for line in lines:
                run.lines += 1
                if run.digest and line.endswith(self._due_end()) and covers(line):
                    self._accept(line, run.seq + 1)
                else:
                    self._examine(line)
                    if self._count >= FAULTS_MAX:
                        self.stopped = True
                        break
        except Found as found:
            self.stopped = True
            self._note(found.fault)

    def faults(self) -> list[Fault]:
        """All findings, in the order of the file."""
        listed = ([found] if isinstance(found, Fault) else found.faults() for found in self._findings)
        return [*chain.from_iterable(listed)]

    def _due_end(self) -> bytes:
        """How the very next entry ends: every part of it but the body is known already."""
        link = binascii.b2a_base64(self.run.digest or b"", newline=False)
        return b',"prev":"%b","seq":%d,%b' % (link, self.run.seq + 1, self._tenant_end)

    def _accept(self, line: bytes, seq: int) -> None:
        run, self.unread = self.run, 0
        run.seq, run.digest, run.line = seq, leaf_hash(line), line

    def _examine(self, line: bytes) -> None:
        """The complete check of one entry."""
        run = self.run
        due = run.seq + 1
        try:
            entry = parse_entry(line)
        except ValueError:
            text = f"Line {run.lines} of entries.jsonl was changed: it is not an entry as the log writes them."
            self._note(Fault(Code.CHANGED, text))
            self.unread += 1
            return
        self._shapes.learn(line)
        if self.tenant is None:
            self.tenant = entry.tenant
        if entry.tenant != self.tenant:
            text = f"Line {run.lines} of entries.jsonl is an entry of another tenant: {shown(entry.tenant)}."
            self._note(Fault(Code.OTHER_TENANT, text))
            return
        if run.first is None:
            run.first = entry
            self._tenant_end = b'"tenant":%b,"v":1}' % _ENCODER.encode(entry.tenant).encode()
        elif entry.seq < due:
            self._place_late(entry.seq)
            return
        elif entry.seq > due + self.unread:
            self._note(Gap(due + self.unread, entry.seq - 1))
        elif entry.seq == due and entry.prev != run.digest:
            self._note(Fault(Code.CHANGED, f"Entry {run.seq} was changed: entry {due} links to another content."))
        self._accept(line, entry.seq)

    def _place_late(self, seq: int) -> None:
        """A number that was passed already: moved, or there twice."""
        self._count += 1
        for found in self._findings:
            if isinstance(found, Gap) and found.first <= seq <= found.last and seq not in found.late:
                found.late.append(seq)
                return
        moved = self.run.first is not None and seq < self.run.first.seq
        what = "stands after a later one: the order was changed" if moved else "is there twice"
        self._findings.append(Fault(Code.REORDERED, f"Entry {seq} {what}."))

    def _note(self, found: Fault | Gap) -> None:
        self._findings.append(found)
        self._count += 1


def follow_entries(entries: Part | Iterator[bytes], tenant: str | None, jobs: int) -> Chain:
    """Follow all entries. Many processes can only say "all is well"; where it is not, one goes and names the faults."""
    trail = Chain(tenant)
    if isinstance(entries, Part):
        pieces = min(4 * jobs, entries.size // (PARALLEL_FROM // 2))
        run = follow_in_parallel(entries, tenant, jobs, pieces) if jobs > 1 and pieces > 1 else None
        if run:
            trail.run = run
            return trail
        entries = entries.blocks()
    trail.follow(split_lines(entries))
    return trail


def follow_in_parallel(entries: Part, tenant: str | None, jobs: int, pieces: int) -> Run | None:
    """Follow runs of entries at once and link their ends; None where anything at all is not as it should be."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    try:
        with ProcessPoolExecutor(jobs, context) as pool:
            parts = split_part(entries, pieces)
            return link_runs(pool.map(follow_part, parts, [tenant] * len(parts)))
    except Exception:  # noqa: BLE001 - whatever keeps more processes from working: one can do it, and names faults
        return None


def split_part(part: Part, pieces: int) -> list[Part]:
    """Cut a run of bytes behind newlines."""
    ends = [part.start]
    with Path(part.path).open("rb") as file:
        for piece in range(1, pieces):
            file.seek(part.start + part.size * piece // pieces)
            if not file.readline(LINE_MAX + 1).endswith(b"\n"):
                raise unreadable("a line is too long")
            ends.append(file.tell())
    ends.append(part.start + part.size)
    return [Part(part.path, start, end - start) for start, end in pairwise(ends) if start < end]


def follow_part(part: Part, tenant: str | None) -> Run | None:
    """What one process does: follow a run of entries, whatever comes before it; None where it has a fault."""
    trail = Chain(tenant)
    trail.follow(split_lines(part.blocks()))
    return None if trail.faults() else trail.run


def link_runs(runs: Iterable[Run | None]) -> Run | None:
    """Join runs to one, if each begins with the number and the link that the end of the one before calls for."""
    whole: Run | None = None
    for run in runs:
        if run is None or run.first is None:
            return None
        if whole is None:
            whole = run
            continue
        tenant = whole.first.tenant if whole.first else None
        if (run.first.tenant, run.first.seq, run.first.prev) != (tenant, whole.seq + 1, whole.digest):
            return None
        whole.lines, whole.seq, whole.digest, whole.line = whole.lines + run.lines, run.seq, run.digest, run.line
    return whole


# ---- The checks


@dataclass
class Keys:
    """Whom to trust: the keys of the log and of the witnesses, and how many witnesses must have cosigned."""

    log: list[Key]
    witness: list[Key]
    quorum: int


@dataclass
class Report:
    """What was found."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def attempt(self, check: Callable[[], T]) -> T | None:
        """The check's result; where it finds a fault, that is noted and there is no result."""
        try:
            return check()
        except Found as found:
            self.faults.append(found.fault)
            return None


def find_keys(export: Folder | Archive, options: argparse.Namespace, report: Report) -> Keys:
    """The keys given, and where none were, those in the export: with a warning, they prove less."""
    keys = Keys(options.log_key, options.witness_key, len({key.name for key in options.witness_key}))
    if not keys.log:
        keys.log = _found_keys(export, LOG_KEY, options, report)
    if not keys.witness:
        keys.witness = _found_keys(export, WITNESS_KEY, options, report)
        keys.quorum = min(1, len(keys.witness))
    if not keys.log:
        raise Found(Code.LOG_SIGNATURE, "There is no key of the log, neither given nor in the export.")
    return keys


def _found_keys(export: Folder | Archive, kind: int, options: argparse.Namespace, report: Report) -> list[Key]:
    who = "log" if kind == LOG_KEY else "witness"
    keys = parse_keys(export.find(f"{who}.vkey") or "", kind)
    if keys and options.require_known_keys:
        report.faults.append(Fault(Code.UNKNOWN_KEYS, f"The keys of the {who} came only with the export."))
    elif keys:
        text = f"The keys of the {who} came with the export: compare them with the ones that you got another way."
        report.warnings.append(text + "".join(f"\n  {shown(key.text)}" for key in keys))
    return keys


def check_checkpoint(checkpoint: Checkpoint, keys: Keys, report: Report) -> datetime | None:
    """Who signed the tree. Returns the latest time at which a witness saw it."""
    report.facts |= {"log": checkpoint.origin, "tree_size": checkpoint.size, "witnesses": {}}
    report.attempt(lambda: check_log_signature(checkpoint, keys.log))
    witnesses = report.attempt(lambda: check_cosignatures(checkpoint, keys.witness, keys.quorum)) or {}
    times = {name: datetime.fromtimestamp(time, UTC) for name, time in witnesses.items()}
    report.facts["witnesses"] = {name: time.isoformat() for name, time in times.items()}
    if not keys.witness:
        report.warnings.append("No witness is known: only the log itself vouches for its tree, and for its age nobody.")
    return max(times.values(), default=None)


def check_start(first: Entry, export: Folder | Archive, checkpoint: Checkpoint) -> None:
    """The first entry has number 1, or what came before it was pruned, as the log itself records."""
    if first.seq == 1:
        if first.prev != GENESIS:
            raise Found(Code.CHANGED, "Entry 1 was changed: it links to an entry before it, but is the first.")
        return
    gone = f"The export begins with entry {first.seq}"
    text = export.find("before.json")
    if text is None:
        raise Found(Code.START_MISSING, f"{gone}: nothing shows that the earlier ones were pruned.")
    before = parse_json(text, "before.json")
    index = take(before, "index", int, "before.json")
    digest = decode_base64(take(before, "hash", str, "before.json"), "The hash in before.json", 32)
    if take(before, "seq", int, "before.json") != first.seq - 1 or digest != first.prev:
        raise Found(Code.START_MISSING, f"{gone}, and before.json is not about the entry before it.")
    if not is_included(digest, index, checkpoint, take_path(before, "before.json")):
        raise Found(Code.START_MISSING, f"{gone}, and the entry before it is not in the signed tree.")
    start, end = check_pruning(take(before, "pruned", dict, "before.json"), checkpoint)
    if not start <= index < end:
        raise Found(Code.START_MISSING, f"{gone}, but the entry before it is not among those that were pruned.")


def check_pruning(pruned: dict[str, Any], checkpoint: Checkpoint) -> tuple[int, int]:
    """The log's own entry about pruning is in the tree. Returns the range of log positions that it names."""
    what = "before.json"
    leaf, index = take(pruned, "leaf", str, what).encode(errors="replace"), take(pruned, "index", int, what)
    try:
        entry = parse_entry(leaf)
    except ValueError:
        raise unreadable("The entry about pruning in before.json is not an entry.") from None
    if not is_included(leaf_hash(leaf), index, checkpoint, take_path(pruned, what)):
        raise Found(Code.START_MISSING, "The entry about pruning in before.json is not in the signed tree.")
    detail = entry.body.get("detail")
    about_pruning = entry.tenant == PLATFORM and entry.body.get("action") == "audit.pruned"
    if not about_pruning or not isinstance(detail, dict):
        raise Found(Code.START_MISSING, "The entry about pruning in before.json is about something else.")
    start, end = take(detail, "from", int, what), take(detail, "to", int, what)
    if end > index:  # nobody can have pruned what came later
        raise Found(Code.START_MISSING, "The entry about pruning in before.json speaks of entries after itself.")
    return start, end


def check_inclusion(leaf: bytes, proof: Proof, what: str) -> None:
    """The entry is in the signed tree, where the proof says."""
    if not is_included(leaf_hash(leaf), proof.place, proof.checkpoint, proof.path):
        raise Found(Code.NOT_IN_TREE, f"{what} is not in the signed tree: it was changed, or the tree is another one.")


def check_extension(export: Folder | Archive, kept: Checkpoint, new: Checkpoint) -> None:
    """The signed tree is the one that was kept with entries added."""
    if kept.origin != new.origin:
        text = f"You kept a checkpoint of the log {shown(kept.origin)}, this export is of {shown(new.origin)}"
        raise Found(Code.OTHER_LOG, f"{text}: the log was opened anew; ask for what links the two.")
    if kept.size > new.size:
        text = f"Your checkpoint has {kept.size} entries of the log, this export's only {new.size}"
        raise Found(Code.ROLLED_BACK, f"{text}: it is older, or the log was rolled back.")
    path: list[bytes] = []
    if 0 < kept.size < new.size:
        text_of_proof = export.find("consistency.json")
        document = parse_json(text_of_proof, "consistency.json") if text_of_proof is not None else {}
        old = parse_note(take(document, "old", str, "consistency.json"), "consistency.json").body if document else ""
        if old != kept.note.body:
            text = f"The export has no proof that it extends your checkpoint of size {kept.size}"
            raise Found(Code.NO_EXTENSION_PROOF, f"{text}: export again, from that size.")
        path = take_path(document, "consistency.json")
    if not is_extension(kept, new, path):
        text = f"The tree of size {new.size} is not an extension of the one of size {kept.size} that you kept"
        raise Found(Code.NOT_EXTENDED, f"{text}: the log was rewritten. Keep both files, they are the evidence.")


def check_kept_signature(kept: Checkpoint, keys: Keys, report: Report) -> None:
    """Whose the older checkpoint is; it may be signed by a key that was rotated since."""
    try:
        known = bool(verified_signers(kept.note, [key for key in keys.log if key.name == kept.origin]))
    except Found:
        raise Found(Code.LOG_SIGNATURE, "The log's signature on the checkpoint that you kept is wrong.") from None
    if not known:
        report.warnings.append("The checkpoint that you kept is not signed by a key of the log that is known here.")


def check_heartbeat(last: Entry, seen: datetime | None, options: argparse.Namespace, report: Report) -> None:
    """Every active tenant gets an entry a day: where the last is older, later ones were withheld."""
    time = seen or options.now
    if seen and options.now - seen > options.max_age:
        report.warnings.append(f"The witness saw this tree at {show_time(seen)}: nothing is proven about later times.")
    if options.no_heartbeat or last.body.get("action") == "tenant.offboarded":
        return
    recorded = decode_time(last.body.get("time"))
    if recorded is None or recorded - time > CLOCKS_DIFFER:
        text = "has no time" if recorded is None else f"is dated {show_time(recorded)}, after it was seen"
    elif time - recorded > options.max_age:
        hours = int((time - recorded).total_seconds() // 3600)
        text = f"is {hours} hours older than {'the witness time' if seen else 'now'}"
    else:
        return
    raise Found(Code.TOO_OLD, f"Entry {last.seq}, the last one, {text}: later entries may be withheld.")


def verify_export(export: Folder | Archive, options: argparse.Namespace, report: Report) -> None:
    """All checks of an export; one that fails does not keep the others from being made."""
    keys = report.attempt(lambda: find_keys(export, options, report))
    proof = report.attempt(lambda: read_head(export))
    seen = check_checkpoint(proof.checkpoint, keys, report) if proof and keys else None
    trail = report.attempt(lambda: follow_entries(export.part("entries.jsonl"), options.tenant, options.jobs))
    report.faults += trail.faults() if trail else []
    if not trail or trail.run.first is None or trail.stopped:
        report.faults += [] if report.faults else [Fault(Code.UNREADABLE, "The export has no entries.")]
        return
    first, line = trail.run.first, trail.run.line
    last = parse_entry(line)
    report.facts |= {"tenant": first.tenant, "entries": trail.run.lines, "first": first.seq, "last": last.seq}
    report.facts["times"] = [first.body.get("time"), last.body.get("time")]
    if proof:
        report.attempt(lambda: check_start(first, export, proof.checkpoint))
    if proof and not trail.unread:
        report.attempt(lambda: check_inclusion(line, proof, f"Entry {last.seq}, the last one,"))
    if proof and keys:
        report.attempt(lambda: verify_extension(export, proof.checkpoint, keys, options, report))
    if keys and (seen or not keys.witness):
        report.attempt(lambda: check_heartbeat(last, seen, options, report))


def read_head(export: Folder | Archive) -> Proof:
    """The proof of the export's last entry."""
    text = export.find("head.tlog-proof")
    if text is None:
        raise unreadable("head.tlog-proof is not in the export.")
    return parse_proof(text, "head.tlog-proof")


def verify_extension(
    export: Folder | Archive, new: Checkpoint, keys: Keys, options: argparse.Namespace, report: Report
) -> None:
    """With --since: nothing that was in the log then is gone or changed."""
    if options.since:
        kept = parse_kept(read_text(options.since, "The checkpoint that you kept"))
        report.attempt(lambda: check_kept_signature(kept, keys, report))
        check_extension(export, kept, new)
        report.facts["extends"] = kept.size
    elif export.find("consistency.json") is not None:
        report.warnings.append("consistency.json was not checked: give the checkpoint that you kept with --since.")


def verify_event(options: argparse.Namespace, report: Report) -> None:
    """The evidence of a single entry: it is in the signed tree."""
    proof = parse_proof(read_text(options.proof, "The proof"), "the proof")
    keys = Keys(options.log_key, options.witness_key, len({key.name for key in options.witness_key}))
    check_checkpoint(proof.checkpoint, keys, report)
    leaf = read_text(options.entry, "The entry").encode().removesuffix(b"\n")
    report.attempt(lambda: check_inclusion(leaf, proof, "The entry"))
    try:
        entry = parse_entry(leaf)
    except ValueError:
        raise unreadable("The entry is not one as the log writes them.") from None
    if options.tenant not in {None, entry.tenant}:
        report.faults.append(Fault(Code.OTHER_TENANT, f"The entry is one of another tenant: {shown(entry.tenant)}."))
    report.facts |= {"tenant": entry.tenant, "entries": 1, "first": entry.seq, "last": entry.seq}
    report.facts |= {"times": [entry.body.get("time")], "action": entry.body.get("action")}


def verify_document(export: Folder | Archive, options: argparse.Namespace, report: Report) -> None:
    """A certificate or report: the log recorded it, and the entries that it rests on are in the same tree."""
    keys = report.attempt(lambda: find_keys(export, options, report))
    proof = read_head(export)
    if keys:
        check_checkpoint(proof.checkpoint, keys, report)
    leaf = (export.find("issued.json") or "").encode()
    report.attempt(lambda: check_inclusion(leaf, proof, "The entry that records the document"))
    try:
        issued = parse_entry(leaf)
    except ValueError:
        raise unreadable("issued.json is not an entry as the log writes them.") from None
    data = read_whole(export.part("document.json"), "document.json")
    report.attempt(lambda: check_recorded(export, data, issued))
    if report.faults:  # who knows whose document it is: it is read no further
        return
    try:
        document = parse_canonical(data, None)
        named = [str(event) for event in take(document, "events", list, "document.json")]
    except (ValueError, RecursionError):
        raise unreadable("document.json is not canonical JSON.") from None
    if document.get("tenant") != issued.tenant or options.tenant not in {None, issued.tenant}:
        who = shown(str(document.get("tenant")))
        report.faults.append(Fault(Code.OTHER_TENANT, f"The document is one of another tenant: {who}."))
    actions = follow_evidence(export, proof.checkpoint, issued.tenant, named, report)
    report.facts |= {"document": document.get("kind"), "id": document.get("id"), "issued": issued.body.get("time")}
    report.facts |= {"tenant": issued.tenant, "subject": document.get("subject"), "entries": len(named)}
    report.facts |= {"actions": actions}


def check_recorded(export: Folder | Archive, data: bytes, issued: Entry) -> None:
    """Both forms are the ones whose hashes the entry names."""
    detail = issued.body.get("detail")
    if issued.body.get("action") != "document.issued" or not isinstance(detail, dict):
        raise Found(Code.OTHER_DOCUMENT, "The entry in issued.json does not issue a document.")
    if hashlib.sha256(data).hexdigest() != detail.get("sha256"):
        raise Found(Code.OTHER_DOCUMENT, "document.json was changed: its SHA-256 is not the one that the log recorded.")
    if export.has("document.html"):
        page = read_whole(export.part("document.html"), "document.html")
        if hashlib.sha256(page).hexdigest() != detail.get("page_sha256"):
            text = "document.html was changed: its SHA-256 is not the one that the log recorded."
            raise Found(Code.OTHER_DOCUMENT, text)


def follow_evidence(
    export: Folder | Archive, checkpoint: Checkpoint, tenant: str, named: list[str], report: Report
) -> dict[str, int]:
    """Each entry that the document names, in its order and in the tree. Returns how many of each action."""
    part = export.part("evidence.jsonl")
    actions: dict[str, int] = {}
    lines = split_lines(part.blocks() if isinstance(part, Part) else part, "evidence.jsonl", PROVEN_MAX)
    places = iter(enumerate(named, start=1))
    for line in lines:
        number, event = next(places, (0, ""))
        if not number:
            report.faults.append(Fault(Code.REORDERED, "evidence.jsonl has entries that the document does not name."))
            return actions
        entry = report.attempt(lambda: check_evidence(line, checkpoint, number))  # noqa: B023 - called at once
        if len(report.faults) >= FAULTS_MAX:
            return actions
        if entry is None:
            continue
        if entry.tenant != tenant:
            text = f"Line {number} of evidence.jsonl is an entry of another tenant: {shown(entry.tenant)}."
            report.faults.append(Fault(Code.OTHER_TENANT, text))
        elif entry.body.get("id") != event:
            text = f"Line {number} of evidence.jsonl is not the entry that the document names there: {shown(event)}."
            report.faults.append(Fault(Code.REORDERED, text))
        action = str(entry.body.get("action"))
        actions[action] = actions.get(action, 0) + 1
    left = sum(1 for _ in places)
    if left:
        report.faults.append(Fault(Code.MISSING, f"{left} of the entries that the document rests on are missing."))
    return actions


def check_evidence(line: bytes, checkpoint: Checkpoint, number: int) -> Entry:
    """One line of evidence.jsonl: an entry as the log writes them, where the tree has it."""
    what = f"Line {number} of evidence.jsonl"
    document = parse_json(line.decode(errors="replace"), what)
    leaf = take(document, "entry", str, what).encode(errors="replace")
    index, path = take(document, "index", int, what), take_path(document, what)
    try:
        entry = parse_entry(leaf)
    except ValueError:
        raise unreadable(f"{what} is not an entry as the log writes them.") from None
    check_inclusion(leaf, Proof(index, path, checkpoint), f"The entry in line {number} of evidence.jsonl")
    return entry


# ---- The command line


def build_parser() -> argparse.ArgumentParser:
    """What can be asked."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("byok-verify", description=__doc__, formatter_class=form, allow_abbrev=False)
    add = parser.add_argument
    add(
        "export",
        nargs="?",
        type=Path,
        metavar="EXPORT",
        help="the ZIP file or the folder of an export, or of a document",
    )
    add("--log-key", action="append", default=[], metavar="FILE|KEY", help="the log's key; more than once if need be")
    add("--witness-key", action="append", default=[], metavar="FILE|KEY", help="likewise; each must have cosigned")
    add("--require-known-keys", action="store_true", help="fail where a key came only with the export")
    add("--since", type=Path, metavar="FILE", help="head.tlog-proof or the checkpoint, kept from an older export")
    add("--tenant", type=str.lower, metavar="ID", help="whose entries these must be (default: the first one's)")
    add("--proof", type=Path, metavar="FILE", help="instead of EXPORT: the proof of one entry")
    add("--entry", type=Path, metavar="FILE", help="with --proof: the entry")
    add("--no-heartbeat", action="store_true", help="accept that the last entry is old")
    add("--max-age", type=_hours, default="26", metavar="HOURS", help="how old it may be (default: 26)")
    add("--now", type=_moment, metavar="TIME", help="RFC 3339; what counts as now (default: this machine's time)")
    add("--jobs", type=int, default=_processors(), metavar="N", help="processes (default: one per processor)")
    add("--json", action="store_true", help="print one JSON object")
    add("--quiet", action="store_true", help="print nothing but faults")
    return parser


def _hours(text: str) -> timedelta:
    hours = float(text)
    if not 0 < hours < 10**6:  # NaN too
        raise ValueError(text)
    return timedelta(hours=hours)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line with its keys read; exits with code 2 where it makes no sense."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if (options.export is None) == (options.proof is None) or (options.entry is None) != (options.proof is None):
        parser.error("give an EXPORT, or --proof and --entry")
    for path in (options.export, options.since, options.proof, options.entry):
        if path is not None and not path.exists():
            parser.error(f"{shown(str(path))}: there is no such file")
    options.log_key = _given_keys(parser, options.log_key, LOG_KEY)
    options.witness_key = _given_keys(parser, options.witness_key, WITNESS_KEY)
    if options.proof and (options.since or not options.log_key):
        parser.error("--proof needs --log-key, and has no use for --since")
    options.now = options.now or datetime.now(UTC)
    return options


def _given_keys(parser: argparse.ArgumentParser, values: list[str], kind: int) -> list[Key]:
    keys: list[Key] = []
    for value in values:
        try:
            found = parse_keys(_text_of(value), kind)
        except Found:
            found = []
        if not found:
            who = "log" if kind == LOG_KEY else "witness"
            parser.error(f"{shown(value)}: neither the key of a {who} nor a file of such keys")
        keys += found
    return keys


def _text_of(value: str) -> str:
    with suppress(ValueError, OSError):  # a key may be too long for a file name
        if Path(value).is_file():
            return read_text(Path(value), shown(value))
    return value


def describe_log(facts: dict[str, Any]) -> str:
    """Which signed tree it is."""
    witnesses = [f"{shown(name)} at {show_time(datetime.fromisoformat(at))}" for name, at in facts["witnesses"].items()]
    seen = "witnessed by " + " and ".join(witnesses) if witnesses else "signed by the log, seen by no known witness"
    return f"the log {shown(facts['log'])}, whose tree has {facts['tree_size']} entries, {seen}."


def summarise_document(facts: dict[str, Any]) -> str:
    """What was proven of a document, in words."""
    kind, tenant, issued = (shown(str(facts[name])) for name in ("document", "tenant", "issued"))
    counts = ", ".join(f"{count} {shown(action)}" for action, count in sorted(facts["actions"].items()))
    rests = f"the {facts['entries']} entries that it rests on ({counts})" if counts else "the entry that records it"
    what = f"the {kind} of tenant {tenant}, issued {issued}, is as it was recorded"
    return f"Verified: {what}; it and {rests} are in {describe_log(facts)}"


def summarise(facts: dict[str, Any]) -> str:
    """What was proven, in words."""
    if "document" in facts:
        return summarise_document(facts)
    first, last = facts["first"], facts["last"]
    times = [shown(str(time)) for time in facts["times"]]
    log = describe_log(facts)
    if "action" in facts:
        what = f"entry {last} of tenant {shown(facts['tenant'])} ({shown(str(facts['action']))}, {times[0]})"
        return f"Verified: {what} is in {log}"
    what = f"all {facts['entries']} entries of tenant {shown(facts['tenant'])}, numbers {first} to {last}"
    text = f"Verified: {what}, from {times[0]} to {times[1]}, are complete, in order and unchanged in {log}"
    if first > 1:
        text += f" Entries 1 to {first - 1} were pruned, as the log records."
    if "extends" in facts:
        text += f" It extends the tree of {facts['extends']} entries that you kept."
    return text


def publish(report: Report, options: argparse.Namespace) -> int:
    """Print the result. Returns the exit code."""
    code = int(report.faults[0].code) if report.faults else 0
    if not options.quiet:
        sys.stderr.writelines(f"Warning: {text}\n" for text in report.warnings)
    more = max(0, len(report.faults) - FAULTS_SHOWN)
    faults = report.faults[:FAULTS_SHOWN]
    if options.json:
        listed = [{"code": int(fault.code), "name": fault.code.name.lower(), "text": fault.text} for fault in faults]
        result = {"verified": not code, "exit_code": code, "faults": listed, "more_faults": more}
        sys.stdout.write(json.dumps(result | {"warnings": report.warnings, "facts": report.facts}) + "\n")
        return code
    sys.stdout.writelines(f"{fault.text}\n" for fault in faults)
    if more:
        sys.stdout.write(f"And {more} more.\n")
    if not code and not options.quiet:
        sys.stdout.write(summarise(report.facts) + "\n")
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = parse_options(argv)
    report = Report()
    try:
        if options.proof:
            verify_event(options, report)
        else:
            with open_export(options.export) as export:
                verify = verify_document if export.has("document.json") else verify_export
                verify(export, options, report)
    except Found as found:
        report.faults.append(found.fault)
    except OSError as error:
        report.faults.append(Fault(Code.UNREADABLE, f"A file cannot be read: {error.strerror}."))
    return publish(report, options)


if __name__ == "__main__":
    sys.exit(main())
