"""A witness's decisions (C2SP tlog-witness): a request's bytes in, status and body out. Must never sign two histories.

A cosignature leaves only after its checkpoint is stored, and a stored checkpoint is followed only by its extensions.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from audit import merkle
from audit.notes import Checkpoint, SignedNote, Verifier, decode_base64, open_note, parse_checkpoint, parse_decimal
from audit.witness.state import Cosigned, origin_hash
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from audit.notes import CosignatureSigner
    from audit.witness.state import CheckpointStore

log = structlog.get_logger("byok.witness")

PLAIN: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"
REQUEST_MAX_BYTES: Final = 128 * 1024
"""63 hashes and a checkpoint with 16 signatures of up to 5 kB, which a witness must accept (signed-note)."""

_PROOF_MAX: Final = 63


@dataclass(frozen=True, slots=True)
class Answer:
    """What the HTTP side sends."""

    status: int
    body: str
    content_type: str = PLAIN


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to add a checkpoint: well formed, nothing in it verified."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str
    checkpoint: Checkpoint


class Witness:
    """Cosigns checkpoints of the logs that it trusts: `logs` has each origin's verifiers, two while a key rotates."""

    def __init__(
        self,
        *,
        signer: CosignatureSigner,
        logs: Mapping[str, Sequence[Verifier]],
        store: CheckpointStore,
        clock: Callable[[], float],
    ) -> None:
        """Raises IntegrityError when what is stored of one of the logs is not this witness's own."""
        self._signer = signer
        self._logs = logs
        self._store = store
        self._clock = clock
        # Comparing with the last checkpoint and storing the next is one act, or a slower thread rolls the log back.
        self._lock = threading.Lock()
        for origin in logs:
            store.load(origin)

    def add_checkpoint(self, request: bytes) -> Answer:
        """Cosign the checkpoint, or say with the protocol's status why not."""
        try:
            submission = parse_submission(request)
        except InvalidInput as error:
            return Answer(400, f"{error.detail}\n")
        origin = submission.checkpoint.origin
        verifiers = self._logs.get(origin)
        if verifiers is None:
            return Answer(404, "this witness does not know the log\n")
        try:
            note = open_note(submission.note, verifiers)
        except IntegrityError:
            log.warning("signature_refused", origin=origin)
            return Answer(403, "no trusted key of the log has signed this checkpoint\n")
        if submission.old_size > submission.checkpoint.size:
            return Answer(400, "the old size is greater than the checkpoint's\n")
        with self._lock:
            return self._decide(submission, note)

    def status(self) -> Answer:
        """Name, verifier key, and the last size of each log."""
        found = {origin: self._store.find(origin) for origin in sorted(self._logs)}
        sizes = [f"{origin} {0 if last is None else last.checkpoint.size}\n" for origin, last in found.items()]
        return Answer(200, "".join([f"{self._signer.name}\n{self._signer.vkey}\n\n", *sizes]))

    def last_checkpoint(self, hashed_origin: str) -> Answer:
        """What was cosigned last of a log, by the hash of its origin (the protocol's monitoring path)."""
        for origin in self._logs:
            last = self._store.find(origin)
            if last is not None and origin_hash(origin) == hashed_origin:
                return Answer(200, last.note)
        return Answer(404, "no checkpoint of such a log was cosigned\n")

    def _decide(self, submission: Submission, note: SignedNote) -> Answer:
        new = submission.checkpoint
        seen = log.bind(origin=new.origin, size=new.size, old_size=submission.old_size)
        cosigned = self._store.find(new.origin)
        last = Checkpoint(new.origin, 0, merkle.EMPTY_ROOT) if cosigned is None else cosigned.checkpoint
        if cosigned is not None and new.size == last.size and new.root != last.root:
            seen.error("log_forked", proof_kept=self._keep_fork(cosigned, Cosigned(new, note.text)))
        if submission.old_size != last.size:
            seen.info("conflict", last_size=last.size)
            return Answer(409, f"{last.size}\n", SIZE)
        try:
            merkle.verify_consistency(
                old_size=last.size, old_root=last.root, new_size=new.size, new_root=new.root, proof=submission.proof
            )
        except IntegrityError as error:
            seen.warning("not_an_extension")
            return Answer(422, f"{error.detail}\n")
        return self._cosign(new, note)

    def _cosign(self, checkpoint: Checkpoint, note: SignedNote) -> Answer:
        line = self._signer.cosign(note.body, time=int(self._clock()))
        try:
            self._store.save(Cosigned(checkpoint, f"{note.text}{line}"))
        except OSError as error:
            log.error("state_not_written", errno=error.errno)  # noqa: TRY400  # the frames say nothing
            return Answer(503, "the witness cannot store the checkpoint\n")
        log.info("cosigned", origin=checkpoint.origin, size=checkpoint.size)
        return Answer(200, line)

    def _keep_fork(self, known: Cosigned, refused: Cosigned) -> bool:
        try:
            return self._store.keep_fork(known=known, refused=refused)
        except OSError:  # a full disk does not change the answer
            return False


def parse_logs(text: str) -> dict[str, list[Verifier]]:
    """Read the verifier keys of the logs to trust, by origin, which is the key's name. Raises InvalidInput."""
    logs: dict[str, list[Verifier]] = {}
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            verifier = Verifier.parse(line)
        except InvalidInput as error:
            raise _malformed(f"log key file, line {number}: {error.detail}") from None
        logs.setdefault(verifier.name, []).append(verifier)
    if not logs:
        raise _malformed("the log key file names no log")
    return logs


def parse_submission(request: bytes) -> Submission:
    """Take a request apart. Raises InvalidInput unless it is `old N`, up to 63 hashes, an empty line, a checkpoint."""
    try:
        head, blank, note = request.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise _malformed("the request is not UTF-8") from None
    old, *proof = head.split("\n")
    if not blank or not old.startswith("old "):
        raise _malformed("the request begins with `old`, a size, proof lines and an empty line")
    if len(proof) > _PROOF_MAX:
        raise _malformed("a proof has at most 63 hashes")
    hashes = tuple(decode_base64(line, field="proof") for line in proof)
    if any(len(value) != merkle.HASH_BYTES for value in hashes):
        raise _malformed("a proof line is the base64 of 32 bytes")
    old_size = parse_decimal(old.removeprefix("old "), field="old")
    return Submission(old_size, hashes, note, _read_checkpoint(SignedNote.parse(note).body))


def _read_checkpoint(body: str) -> Checkpoint:
    """As parse_checkpoint, but a wrong root of the empty tree is read: it is well formed (400), and false (422)."""
    origin, _, rest = body.partition("\n")
    if not rest.startswith("0\n"):
        return parse_checkpoint(body)
    root = decode_base64(rest.removeprefix("0\n").removesuffix("\n"), field="root")
    merkle.check_hash(root, field="root")
    empty = parse_checkpoint(Checkpoint(origin, 0, merkle.EMPTY_ROOT).body)
    return replace(empty, root=root)


def _malformed(detail: str) -> InvalidInput:
    return InvalidInput(detail, field="request")
