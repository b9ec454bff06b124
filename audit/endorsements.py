"""Who vouches for a published checkpoint: log and witness signatures, and an auditor's own pin. Never signs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from audit.checkpoints import parse_checkpoint
from audit.notes import CosignatureVerifier, SignedNote, Verifier, cosigned_at, open_note, parse_verifiers
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path


class Published(NamedTuple):
    """A stored checkpoint."""

    size: int
    root: bytes
    origin: str
    note: str
    witnessed_at: datetime | None

    @classmethod
    def read(cls, row: tuple[Any, ...]) -> Self:
        """From the columns in this order."""
        size, root, origin, note, witnessed_at = row
        return cls(size, bytes(root), origin, note, witnessed_at)


class AuditorPin(NamedTuple):
    """What a rebuild saw: the whole tree, and the size of the newest checkpoint."""

    origin: str
    size: int
    root: bytes
    signed: int


@dataclass(slots=True)
class Verdict:
    """What is wrong with a checkpoint, as (kind, sentence); and the newest time that a witness put on it."""

    problems: list[tuple[str, str]] = field(default_factory=list)
    witnessed_at: float | None = None


@dataclass(slots=True)
class Endorsements:
    """Judges checkpoints in order of size. The keys are the auditor's, got another way than from the database."""

    log_keys: list[Verifier]
    witness_keys: list[CosignatureVerifier]
    _since: int | None = None
    _last: int | None = None

    @classmethod
    def parse(cls, *, log: str, witness: str) -> Self:
        """Read key lines. Raises InvalidInput for bad ones, and where no log key is given."""
        log_keys = parse_verifiers(log.strip())
        if not log_keys or len({key.name for key in log_keys}) != 1:
            message = "BYOK_LOG_VKEY: a rebuild needs the verifier keys of the log, all of one origin"
            raise InvalidInput(message, field="BYOK_LOG_VKEY")
        keys = [key for key in parse_verifiers(witness.strip()) if isinstance(key, CosignatureVerifier)]
        if witness.strip() and not keys:
            message = "BYOK_WITNESS_VKEY: it holds no key of a witness"
            raise InvalidInput(message, field="BYOK_WITNESS_VKEY")
        return cls(log_keys, keys)

    @property
    def origin(self) -> str:
        return self.log_keys[0].name

    def judge(self, published: Published) -> Verdict:
        """Verify the signatures, and that the columns say what was signed."""
        verdict = Verdict()
        if published.origin != self.origin:
            # From before the log was opened anew under this name; its root still counts.
            if not published.note.startswith(f"{published.origin}\n{published.size}\n"):
                detail = f"its note is not of the log {published.origin}, as its columns say"
                verdict.problems.append(("checkpoint_differs", detail))
            return verdict
        self._last = published.size
        try:
            head = parse_checkpoint(open_note(published.note, self.log_keys).body)
            times = self._times(published.note)
        except (InvalidInput, IntegrityError) as error:
            verdict.problems.append(("signature", f"the checkpoint's note does not verify: {error.detail}"))
            return verdict
        if (head.origin, head.size, head.root) != (published.origin, published.size, published.root):
            verdict.problems.append(("checkpoint_differs", "its columns are not what was signed"))
        if not self.witness_keys:
            # Nobody to ask: what the sequencer noted is the best there is.
            noted = published.witnessed_at
            verdict.witnessed_at = noted.timestamp() if noted else None
            return verdict
        self._compare_witness(published, times, verdict)
        return verdict

    def close(self) -> Iterator[tuple[str, int, str]]:
        """What the whole sequence lacks."""
        if self.witness_keys and self._last is not None and self._since is None:
            yield "unwitnessed", self._last, "no checkpoint at all has a signature by the witness"

    def _times(self, note: str) -> list[int]:
        signed = SignedNote.parse(note)
        return [cosigned_at(signed, key) for key in self.witness_keys if any(key.made(line) for line in signed.lines)]

    def _compare_witness(self, published: Published, times: list[int], verdict: Verdict) -> None:
        noted = int(published.witnessed_at.timestamp()) if published.witnessed_at else None
        if times:
            self._since = self._since if self._since is not None else published.size
            verdict.witnessed_at = max(times)
        elif self._since is not None:
            # Checkpoints from before there was a witness are all right.
            detail = f"it lacks the witness's signature, which checkpoints since size {self._since} have"
            verdict.problems.append(("unwitnessed", detail))
        if times and noted != max(times):
            verdict.problems.append(("checkpoint_differs", "the stored witness time is not the one in the signature"))


def read_pin(path: Path, origin: str) -> AuditorPin | None:
    """What the last rebuild saw, or None for the first. Raises InvalidInput for a file that is not such a pin."""
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        size, root, signed = int(document["size"]), bytes.fromhex(document["root"]), int(document.get("signed", 0))
        pinned = AuditorPin(document["origin"], size, root, signed)
    except (AttributeError, ValueError, KeyError, TypeError):
        message = f"the pin file {path.name} cannot be read"
        raise InvalidInput(message, field="pin") from None
    if pinned.origin != origin:
        message = f"the pin file is of the log {pinned.origin}, not of {origin}"
        raise InvalidInput(message, field="pin")
    return pinned


def write_pin(path: Path, pinned: AuditorPin) -> None:
    """Replace the pin so that it survives a power cut. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({**pinned._asdict(), "root": pinned.root.hex()}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
