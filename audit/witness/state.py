"""What a witness remembers: its key, and per log the last checkpoint that it cosigned. Must never forget or go back.

A folder of the administrator: `key` (0400), `lock`, and `<SHA-256 of the origin>.checkpoint`, a note that carries the
log's signature and the witness's own cosignature, so an edited file is noticed when it is read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from audit.notes import Checkpoint, CosignatureSigner, open_note, parse_checkpoint
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audit.notes import Verifier

_KEY_FILE: Final = "key"
_LOCK_FILE: Final = "lock"
_KEY_MAX_BYTES: Final = 4096
_FORKS_MAX: Final = 100


def create_key(folder: Path, *, name: str) -> CosignatureSigner:
    """Make the folder and a new key in it. Raises InvalidInput when there is a key: it is never overwritten."""
    signer = CosignatureSigner.generate(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(folder / _KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    except FileExistsError:
        message = "this folder has a witness key already; a new witness needs a folder of its own"
        raise InvalidInput(message, code="witness_key_exists", field="state") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(signer.text.reveal() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)
    return signer


def load_key(folder: Path) -> CosignatureSigner:
    """The witness's key. Raises InvalidInput when there is none, or when others than its owner can read it."""
    try:
        with (folder / _KEY_FILE).open("rb") as file:
            # The open file is asked, not the path: it cannot be exchanged between the check and the read.
            if os.fstat(file.fileno()).st_mode & 0o077:
                message = "the witness key can be read by others: chmod 400"
                raise InvalidInput(message, code="witness_key_exposed", field="state")
            text = file.read(_KEY_MAX_BYTES)
    except OSError as error:
        message = f"the witness key cannot be read ({error.strerror}); `--init` makes one"
        raise InvalidInput(message, code="witness_key_unreadable", field="state") from None
    return CosignatureSigner.parse(Secret(text))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other witnesses away from the folder. Raises Conflict when one has it; the kernel ends it on any exit."""
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "another witness is running on this state folder"
            raise Conflict(message, code="witness_state_locked") from None
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint and its note with the log's signatures and the witness's own."""

    checkpoint: Checkpoint
    note: str


class CheckpointStore:
    """The last cosigned checkpoint per origin. The caller holds `locked`, and saves one at a time.

    Memory leads while the process runs, so files that somebody puts back under a running witness change nothing.
    """

    def __init__(self, folder: Path, verifier: Verifier) -> None:
        self._folder = folder
        self._verifier = verifier
        self._last: dict[str, Cosigned] = {}

    def load(self, origin: str) -> None:
        """Read what is remembered of a log. Raises IntegrityError unless the note is the witness's own."""
        path = self._path(origin)
        try:
            text = path.read_bytes().decode()
            checkpoint = parse_checkpoint(open_note(text, [self._verifier]).body)
        except FileNotFoundError:
            return
        except (InvalidInput, IntegrityError, UnicodeDecodeError):
            raise self._broken(path, origin) from None
        if checkpoint.origin != origin:
            raise self._broken(path, origin)
        self._last[origin] = Cosigned(checkpoint, text)

    def find(self, origin: str) -> Cosigned | None:
        """What was cosigned last, if anything."""
        return self._last.get(origin)

    def save(self, cosigned: Cosigned) -> None:
        """Returns when it survives a power cut; raises OSError, and then the one before is still the last."""
        origin = cosigned.checkpoint.origin
        _write_durably(self._path(origin), cosigned.note.encode())
        self._last[origin] = cosigned

    def keep_fork(self, *, known: Cosigned, refused: Cosigned) -> bool:
        """Keep two notes of one size that the log signed: proof that it lied. False when there is enough proof."""
        prefix = f"{origin_hash(known.checkpoint.origin)}.fork-at-"
        path = self._folder / f"{prefix}{known.checkpoint.size}.refused"
        # Who has the log's key could fill the disk with forks.
        if path.exists() or len(list(self._folder.glob(f"{prefix}*.refused"))) >= _FORKS_MAX:
            return False
        _write_durably(path.with_suffix(".cosigned"), known.note.encode())
        _write_durably(path, refused.note.encode())
        return True

    def _path(self, origin: str) -> Path:
        return self._folder / f"{origin_hash(origin)}.checkpoint"

    def _broken(self, path: Path, origin: str) -> IntegrityError:
        message = f"{path.name} is not a checkpoint of {origin} that this witness cosigned"
        return IntegrityError(message, code="witness_state_broken")


def origin_hash(origin: str) -> str:
    """SHA-256 of the origin in lowercase hex, as in the monitoring path of C2SP tlog-witness."""
    return hashlib.sha256(origin.encode()).hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    """Replace `path` in one step; a crash leaves either content, and after the return only the new one."""
    fresh = path.with_name(f".{path.name}.new")  # one name: the lock leaves one writer, and a crash at most one file
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A rename is durable when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
