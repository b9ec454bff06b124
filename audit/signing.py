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
from byok_portal.errors import IntegrityError, InvalidInput, PortalError

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger("byok.sequencer")

_NEWEST: Final = "SELECT size, root FROM audit_checkpoint WHERE origin = %s ORDER BY size DESC LIMIT 1"
_OTHER: Final = "SELECT origin FROM audit_checkpoint LIMIT 1"
_INSERT: Final = """
INSERT INTO audit_checkpoint (size, root, origin, note, signed_at, witnessed_at) VALUES (%b, %b, %b, %b, %b, %b)
"""


class SigningRefused(IntegrityError):  # a refusal that operators read, named in their words
    """The stored tree is not one that may be signed. The log goes on numbering; docs/operations.md says what to do."""

    code = "signing_refused"
    title = "No checkpoint is signed"


@dataclass(frozen=True, slots=True)
class Pin:
    """The head that was signed last, in a file outside the database."""

    path: Path

    def load(self) -> tuple[Checkpoint, str] | None:
        """What was signed last and, where it is known, the log's note of it; None when nothing was.

        Raises SigningRefused for a bad file.
        """
        if not self.path.exists():
            return None
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            pinned = Checkpoint(document["origin"], int(document["size"]), bytes.fromhex(document["root"]))
            return pinned, str(document.get("note", ""))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidInput):
            message = f"the pin file {self.path.name} cannot be read"
            raise SigningRefused(message) from None

    def read(self, origin: str) -> Checkpoint | None:
        """What was signed last under this origin, or None when nothing was. Raises SigningRefused for a bad file."""
        found = self.load()
        if found is not None and found[0].origin != origin:
            message = f"the pin file is of the log {found[0].origin}, not of {origin}"
            raise SigningRefused(message)
        return found[0] if found else None

    def write(self, checkpoint: Checkpoint, note: str = "") -> None:
        """Replace the pin so that it survives a power cut. Raises OSError."""
        document = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex(), "note": note}
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
    _asked: bool = False
    _seen: Checkpoint | None = None

    @classmethod
    def from_settings(cls) -> Self | None:
        """The configured signer; None when this process has no key. Raises InvalidInput for a bad configuration."""
        if not settings.LOG_KEY_FILE:
            return None
        signers = read_keys(Path(settings.LOG_KEY_FILE))
        if not settings.LOG_PIN_FILE:
            message = "BYOK_LOG_PIN_FILE: a signing sequencer needs a pin file outside the database"
            raise InvalidInput(message, field="BYOK_LOG_PIN_FILE")
        keys, witness = witness_from_settings()
        return cls(signers, Pin(Path(settings.LOG_PIN_FILE)), witness, keys)

    @property
    def origin(self) -> str:
        return self.signers[0].name

    def publish(self, alias: str) -> Checkpoint | None:
        """Sign and publish the head if it grew. Raises SigningRefused, or the witness's refusals; then nothing left."""
        checkpoint, published = read_head(alias, self.origin)
        # Also when nothing grew: a restored database must be noticed before anything is added to it.
        self._check_extension(alias, checkpoint, published)
        if checkpoint.size in {0, published.size if published else 0}:
            return None
        note = f"{checkpoint.body}\n{''.join(signer.sign(checkpoint.body) for signer in self.signers)}"
        # Before any signature leaves this process: after a crash the same head, or an extension, is signed again.
        self.pin.write(checkpoint, note)
        cosignatures = self._cosign(alias, note, checkpoint) if self.witness else []
        self._insert(alias, checkpoint, note + "".join(cosignatures))
        return checkpoint

    def _check_extension(self, alias: str, checkpoint: Checkpoint, published: Checkpoint | None) -> None:
        pinned = self.pin.read(self.origin)
        witnessed = self._ask_witness(pinned)
        if pinned is None and witnessed is None:
            self._check_first(alias, published)
        for known in {known for known in (pinned, witnessed, published) if known is not None}:
            check_extension(alias, known, checkpoint)

    def _ask_witness(self, pinned: Checkpoint | None) -> Checkpoint | None:
        """What the witness saw last: asked always without a pin; with one once, since that may be an old standby's."""
        if self.witness is None or (pinned is not None and self._asked):
            return self._seen
        try:
            self._seen = self.witness.find_last(self.origin)
        except PortalError as error:
            if pinned is None:
                raise
            # It need not serve its memory; it compares with it before it cosigns.
            log.warning("witness_not_asked", code=error.code)
        self._asked = True
        return self._seen

    def _check_first(self, alias: str, published: Checkpoint | None) -> None:
        """Nothing is known of what was signed: right only where nothing was."""
        if published is not None:
            message = f"a checkpoint of size {published.size} is published, but the pin of what was signed is gone"
            raise SigningRefused(message)
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute(_OTHER)
            row = cursor.fetchone()
        if row is not None:
            message = f"the log was signed as {row[0]} before: only `manage.py log_reopen` opens it as {self.origin}"
            raise SigningRefused(message)

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


def read_keys(path: Path) -> list[Signer]:
    """The log's keys in a file, one per line, all of one origin. Raises InvalidInput, OSError."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    signers = [Signer.parse(Secret(line)) for line in lines]
    if not signers or len({signer.name for signer in signers}) != 1:
        message = f"{path.name}: a key file of the log holds one key per line, all of one origin"
        raise InvalidInput(message, field="BYOK_LOG_KEY_FILE")
    return signers


def witness_from_settings() -> tuple[list[CosignatureVerifier], cosigning.WitnessClient | None]:
    """The witness's keys, and its client where one is configured. Raises InvalidInput for one without a key."""
    keys = [key for key in parse_verifiers(settings.WITNESS_VKEY) if isinstance(key, CosignatureVerifier)]
    if settings.WITNESS_URL and not keys:
        message = "BYOK_WITNESS_VKEY: a witness needs its verifier key"
        raise InvalidInput(message, field="BYOK_WITNESS_VKEY")
    timeout = settings.WITNESS_TIMEOUT
    return keys, cosigning.WitnessClient(settings.WITNESS_URL, keys, timeout=timeout) if settings.WITNESS_URL else None


def read_head(alias: str, origin: str) -> tuple[Checkpoint, Checkpoint | None]:
    """The tree as it is now, unsigned, and what is published of it under this origin."""
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        edge = tree.load_edge(cursor)
        cursor.execute("SELECT size FROM audit_logstate WHERE id = 1")
        (size,) = cursor.fetchone()
        cursor.execute(_NEWEST, [origin])
        row = cursor.fetchone()
    if edge.size != size:
        message = f"the tree has {edge.size} leaves, but {size} entries are numbered"
        raise SigningRefused(message)
    return Checkpoint(origin, size, edge.root()), Checkpoint(origin, row[0], bytes(row[1])) if row else None


def check_extension(alias: str, known: Checkpoint, head: Checkpoint) -> None:
    """Raises SigningRefused unless the stored tree with this head extends what is known to be signed."""
    if head.size < known.size:
        message = f"the log has {head.size} entries, but {known.size} were signed: some are lost"
        raise SigningRefused(message)
    with transaction.atomic(using=alias):
        proof = merkle.consistency_proof(known.size, head.size, tree.reader(alias)) if known.size else []
    try:
        merkle.verify_consistency(
            old_size=known.size, old_root=known.root, new_size=head.size, new_root=head.root, proof=proof
        )
    except IntegrityError:
        message = f"the log is not an extension of the {known.size} entries that were signed: it was rewritten"
        raise SigningRefused(message) from None
