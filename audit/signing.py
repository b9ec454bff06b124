"""Signs the tree's head when it grew: sign, pin, witness, publish. Must never sign what is not an extension.

What was signed last is pinned in a file outside the database, written before the signature leaves: a database that
was restored or rewritten cannot make the log contradict itself (measured.md 1.2).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone

from audit import cosigning, merkle, tree
from audit.notes import Checkpoint, CosignatureVerifier, SignedNote, Signer, cosigned_at, parse_verifiers
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger("byok.sequencer")

_NEWEST: Final = "SELECT size FROM audit_checkpoint WHERE origin = %s ORDER BY size DESC LIMIT 1"
_INSERT: Final = """
INSERT INTO audit_checkpoint (size, root, origin, note, signed_at, witnessed_at) VALUES (%b, %b, %b, %b, %b, %b)
"""


class SigningRefused(IntegrityError):  # a refusal that operators read, named in their words
    """The stored tree is not one that may be signed. The log goes on numbering; docs/operations.md says what to do."""

    code = "signing_refused"
    title = "No checkpoint is signed"


@dataclass(frozen=True, slots=True)
class Pin:
    """The (size, root) that was signed last, in a file outside the database."""

    path: Path

    def read(self, origin: str) -> Checkpoint | None:
        """What was signed last under this origin, or None when nothing was. Raises SigningRefused for a bad file."""
        if not self.path.exists():
            return None
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            pinned = Checkpoint(document["origin"], int(document["size"]), bytes.fromhex(document["root"]))
        except (ValueError, KeyError, TypeError, InvalidInput):
            message = f"the pin file {self.path.name} cannot be read"
            raise SigningRefused(message) from None
        if pinned.origin != origin:
            message = f"the pin file is of the log {pinned.origin}, not of {origin}"
            raise SigningRefused(message)
        return pinned

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the pin so that it survives a power cut. Raises OSError."""
        document = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@dataclass(slots=True)
class LogSigner:
    """The log's keys, its pin and its witness. `signers`: all of one origin; two while a key is rotated."""

    signers: Sequence[Signer]
    pin: Pin
    witness: cosigning.WitnessClient | None = None
    witness_keys: Sequence[CosignatureVerifier] = ()

    @classmethod
    def from_settings(cls) -> Self | None:
        """The configured signer; None when this process has no key. Raises InvalidInput for a bad configuration."""
        if not settings.LOG_KEY_FILE:
            return None
        text = Path(settings.LOG_KEY_FILE).read_text(encoding="utf-8")
        signers = [Signer.parse(Secret(line)) for line in text.splitlines() if line.strip()]
        if not signers or len({signer.name for signer in signers}) != 1:
            message = "BYOK_LOG_KEY_FILE: it holds one key per line, all of one origin"
            raise InvalidInput(message, field="BYOK_LOG_KEY_FILE")
        if not settings.LOG_PIN_FILE:
            message = "BYOK_LOG_PIN_FILE: a signing sequencer needs a pin file outside the database"
            raise InvalidInput(message, field="BYOK_LOG_PIN_FILE")
        keys = [key for key in parse_verifiers(settings.WITNESS_VKEY) if isinstance(key, CosignatureVerifier)]
        if settings.WITNESS_URL and not keys:
            message = "BYOK_WITNESS_VKEY: a witness needs its verifier key"
            raise InvalidInput(message, field="BYOK_WITNESS_VKEY")
        timeout = settings.WITNESS_TIMEOUT
        witness = cosigning.WitnessClient(settings.WITNESS_URL, keys, timeout=timeout) if settings.WITNESS_URL else None
        return cls(signers, Pin(Path(settings.LOG_PIN_FILE)), witness, keys)

    @property
    def origin(self) -> str:
        return self.signers[0].name

    def publish(self, alias: str) -> Checkpoint | None:
        """Sign and publish the head if it grew. Raises SigningRefused, or the witness's refusals; then nothing left."""
        size, root, published = self._head(alias)
        if size in {0, published}:
            return None
        checkpoint = Checkpoint(self.origin, size, root)
        self._check_extension(alias, checkpoint, published)
        lines = [signer.sign(checkpoint.body) for signer in self.signers]
        # Before any signature leaves this process: after a crash the same head, or an extension, is signed again.
        self.pin.write(checkpoint)
        note = f"{checkpoint.body}\n{''.join(lines)}"
        cosignatures = self._cosign(alias, note, checkpoint) if self.witness else []
        note += "".join(cosignatures)
        self._insert(alias, checkpoint, note)
        return checkpoint

    def _head(self, alias: str) -> tuple[int, bytes, int]:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            edge = tree.load_edge(cursor)
            cursor.execute("SELECT size FROM audit_logstate WHERE id = 1")
            (size,) = cursor.fetchone()
            cursor.execute(_NEWEST, [self.origin])
            row = cursor.fetchone()
        if edge.size != size:
            message = f"the tree has {edge.size} leaves, but {size} entries are numbered"
            raise SigningRefused(message)
        return size, edge.root(), row[0] if row else 0

    def _check_extension(self, alias: str, checkpoint: Checkpoint, published: int) -> None:
        pinned = self.pin.read(self.origin)
        if pinned is None and self.witness is not None:
            pinned = self.witness.find_last(self.origin)
        if pinned is None:
            if published:
                message = f"a checkpoint of size {published} is published, but the pin of what was signed is gone"
                raise SigningRefused(message)
            return
        if checkpoint.size < pinned.size:
            message = f"the log has {checkpoint.size} entries, but {pinned.size} were signed: some are lost"
            raise SigningRefused(message)
        with transaction.atomic(using=alias):
            proof = merkle.consistency_proof(pinned.size, checkpoint.size, tree.reader(alias))
        try:
            merkle.verify_consistency(
                old_size=pinned.size,
                old_root=pinned.root,
                new_size=checkpoint.size,
                new_root=checkpoint.root,
                proof=proof,
            )
        except IntegrityError:
            message = f"the log is not an extension of the {pinned.size} entries that were signed: it was rewritten"
            raise SigningRefused(message) from None

    def _cosign(self, alias: str, note: str, checkpoint: Checkpoint) -> list[str]:
        witness: Any = self.witness
        try:
            return list(witness.cosign(note, old_size=checkpoint.size))
        except cosigning.WitnessConflict as conflict:
            seen = conflict.size
        if seen > checkpoint.size:
            message = f"the witness has seen {seen} entries, the log has {checkpoint.size}: some are lost"
            raise SigningRefused(message)
        with transaction.atomic(using=alias):
            proof = merkle.consistency_proof(seen, checkpoint.size, tree.reader(alias)) if seen else []
        return list(witness.cosign(note, old_size=seen, proof=proof))

    def _insert(self, alias: str, checkpoint: Checkpoint, note: str) -> None:
        signed = SignedNote.parse(note)
        times = [cosigned_at(signed, key) for key in self.witness_keys if any(key.made(line) for line in signed.lines)]
        witnessed = datetime.fromtimestamp(max(times), tz=UTC) if times else None
        values: list[Any] = [checkpoint.size, checkpoint.root, checkpoint.origin, note, timezone.now(), witnessed]
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute(_INSERT, values)
