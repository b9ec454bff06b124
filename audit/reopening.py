"""Opens a log that lost what was signed under a new name: the record quotes the old head, then the pin moves.

Runs beside a stopped sequencer, with its login. Must never sign, and must never open a log anew that is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.conf import settings
from django.db import connections, transaction

from audit.canonical import canonicalise
from audit.notation import check_name, encode_base64
from audit.notes import Checkpoint, SignedNote, Signer, open_note, parse_checkpoint, parse_verifiers
from audit.sealing import Detail
from audit.sequencer import ALIAS, Sequencer
from audit.signing import Pin, SigningRefused, check_extension, read_head, read_keys, witness_from_settings
from audit.tlog_proof import parse as parse_proof
from byok_portal.boundary.identifiers import PLATFORM, new_id
from byok_portal.errors import Conflict, IntegrityError, InvalidInput, PortalError

if TYPE_CHECKING:
    from audit.signatures import Verifier

ACTION: Final = "audit.reopened"
_ORIGINS: Final = "SELECT DISTINCT origin FROM audit_checkpoint"
_RECORDS: Final = """
SELECT leaf FROM audit_entry WHERE tenant_id = %s AND leaf LIKE %s ORDER BY tseq DESC
"""
_APPEND: Final = "INSERT INTO audit_inbox (event_id, tenant_id, body) VALUES (%s, %s, %s)"


class Head(NamedTuple):
    """A head that was signed: what it says, and the signed note as far as it is known."""

    checkpoint: Checkpoint
    note: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What was signed, what the log is now, and why the one does not extend the other."""

    old: Head
    now: Checkpoint
    reason: str
    pin: Pin


def prepare(*, old_file: Path | None = None) -> Plan:
    """Compare the log with every old head at hand: pin, witness, published checkpoint and a file.

    Keeps sequencers out from now on, until the session ends. Raises Conflict while one runs, for a log that is whole,
    or already open under another name; InvalidInput without an old head.
    """
    keys = _old_keys()
    if not Sequencer().acquire():
        message = "a sequencer is running: stop it, and its standbys, first"
        raise Conflict(message, code="sequencer_runs")
    pin = Pin(Path(settings.LOG_PIN_FILE))
    now, published = read_head(ALIAS, keys[0].name)
    heads = [*_kept(keys, pin, old_file), *([Head(published, "")] if published else [])]
    if not heads:
        message = "no old checkpoint is at hand: give one that a tenant, an auditor or the witness kept with --old FILE"
        raise InvalidInput(message, field="old")
    lost = [(head, reason) for head in heads if (reason := _find_fault(head.checkpoint, now))]
    if not lost:
        size = max(head.checkpoint.size for head in heads)
        message = (
            f"the log is whole: its {now.size} entries extend the {size} that were signed, as far as is known here"
        )
        raise Conflict(message, code="log_is_whole")
    newest, reason = max(lost, key=lambda found: found[0].checkpoint.size)
    return Plan(_joined(newest.checkpoint, heads), now, reason, pin)


def next_name(origin: str) -> str:
    """`…/cell-1` becomes `…/cell-1/2`, and that `…/cell-1/3`."""
    found = re.fullmatch(r"(.+)/([0-9]{1,6})", origin)
    return f"{found[1]}/{int(found[2]) + 1}" if found else f"{origin}/2"


def make_key(path: Path, origin: str) -> Signer:
    """The key in the file, or a new one of this name in a new file. Raises InvalidInput for a key of another name."""
    if path.exists():
        signer = read_keys(path)[0]
        if signer.name != origin:
            message = f"the key in {path.name} is of the log {signer.name}, not of {origin}"
            raise InvalidInput(message, field="key")
        return signer
    check_name(origin, field="origin")
    signer = Signer.generate(origin)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{signer.text.reveal_text()}\n")
        file.flush()
        os.fsync(file.fileno())
    return signer


def check_name_is_new(origin: str, plan: Plan) -> None:
    """Raises Conflict for a name that this log had already: two histories of one name are what a fork is."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute(_ORIGINS)
        used = {row[0] for row in cursor.fetchall()} | {plan.old.checkpoint.origin}
    # A run that was cut off before it moved the pin has left the record of this very opening.
    used |= {detail["origin"] for detail in _records() if not _is_of(detail, plan)}
    if origin in used:
        message = f"the log was open as {origin} before: a new name is needed"
        raise Conflict(message, code="name_used")


def reopen(plan: Plan, origin: str) -> Checkpoint:
    """Record the old head, then let the pin say that nothing below this entry is ever signed as `origin`.

    In the session of `prepare`. Cut off anywhere, it can be run again.
    """
    sequencer = Sequencer()
    _number(sequencer)
    if not any(detail["origin"] == origin for detail in _records()):
        _append(plan, origin)
        _number(sequencer)
        if not any(detail["origin"] == origin for detail in _records()):
            message = "the record of the opening was not numbered; see the sequencer's log"
            raise IntegrityError(message, code="not_recorded")
    head, _ = read_head(ALIAS, origin)
    _keep_aside(plan)
    plan.pin.write(head)
    return head


def _old_keys() -> list[Verifier]:
    keys = parse_verifiers(settings.LOG_VKEY) if settings.LOG_VKEY.strip() else []
    if not keys and settings.LOG_KEY_FILE:
        keys = [signer.verifier for signer in read_keys(Path(settings.LOG_KEY_FILE))]
    if not keys or len({key.name for key in keys}) != 1 or not settings.LOG_PIN_FILE:
        message = "BYOK_LOG_VKEY (the old one still) and BYOK_LOG_PIN_FILE are needed, all keys of one origin"
        raise InvalidInput(message, field="BYOK_LOG_VKEY")
    return keys


def _kept(keys: list[Verifier], pin: Pin, old_file: Path | None) -> list[Head]:
    """Every head of the old name that somebody outside the database kept."""
    origin, heads = keys[0].name, []
    found = pin.load()
    if found is not None and found[0].origin != origin:
        message = f"the pin is of the log {found[0].origin}: it is open under that name"
        raise Conflict(message, code="already_open")
    if found is not None:
        heads.append(Head(*found))
    if old_file is not None:
        heads.append(_read_file(old_file, keys))
    if (note := _ask_witness(origin, needed=old_file is None)) is not None:
        heads.append(Head(parse_checkpoint(SignedNote.parse(note).body), note))
    return heads


def _ask_witness(origin: str, *, needed: bool) -> str | None:
    """It may have seen more than an old pin; only who brings a checkpoint may do without it."""
    _, witness = witness_from_settings()
    try:
        return witness.find_note(origin) if witness is not None else None
    except PortalError:
        if needed:
            raise
    return None


def _read_file(path: Path, keys: list[Verifier]) -> Head:
    text = path.read_text(encoding="utf-8")
    note = parse_proof(text).checkpoint if text.startswith("c2sp.org/tlog-proof") else text
    checkpoint = parse_checkpoint(open_note(note, keys).body)
    if checkpoint.origin != keys[0].name:
        message = f"the old checkpoint is of the log {checkpoint.origin}, not of {keys[0].name}"
        raise InvalidInput(message, field="old")
    return Head(checkpoint, note)


def _find_fault(known: Checkpoint, now: Checkpoint) -> str:
    try:
        check_extension(ALIAS, known, now)
    except SigningRefused as refusal:
        return refusal.detail
    return ""


def _joined(checkpoint: Checkpoint, heads: list[Head]) -> Head:
    """One note with everybody's signature lines over the same head; empty where only size and root are known."""
    notes = [SignedNote.parse(head.note) for head in heads if head.checkpoint == checkpoint and head.note]
    lines = dict.fromkeys(line.text for note in notes for line in note.lines)
    return Head(checkpoint, f"{checkpoint.body}\n{''.join(lines)}" if notes else "")


def _records() -> list[dict[str, Any]]:
    """Details of earlier openings, newest first."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute(_RECORDS, [PLATFORM, f'{{"body":{{"action":"{ACTION}",%'])
        return [json.loads(leaf)["body"]["detail"] for (leaf,) in cursor.fetchall()]


def _is_of(detail: dict[str, Any], plan: Plan) -> bool:
    old = plan.old.checkpoint
    said = (detail["old_origin"], detail["old_size"], detail["old_root"])
    return bool(said == (old.origin, old.size, encode_base64(old.root)))


def _append(plan: Plan, origin: str) -> None:
    # Not through an operation: this host has no key for personal data, and the record holds none.
    old, event_id = plan.old.checkpoint, new_id()
    body = canonicalise(
        {
            "action": ACTION,
            "actor": {"id": str(PLATFORM), "kind": "worker"},
            "detail": {
                "old_note": plan.old.note,
                "old_origin": old.origin,
                "old_root": encode_base64(old.root),
                "old_size": old.size,
                "origin": origin,
                "reason": plan.reason,
            },
            "id": str(event_id),
            "outcome": "allowed",
            "priv": Detail.of({}).commitment,
            "req": "",
            "target": {"id": str(PLATFORM), "kind": "tenant"},
            "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
    )
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute(_APPEND, [event_id, PLATFORM, body.decode()])


def _number(sequencer: Sequencer) -> None:
    while sequencer.run_once():
        pass


def _keep_aside(plan: Plan) -> None:
    """The old pin stays beside the new one: it is evidence."""
    path = plan.pin.path
    if path.exists():
        shutil.copy2(path, path.with_name(f"{path.name}.{re.sub(r'[^A-Za-z0-9.-]+', '_', plan.old.checkpoint.origin)}"))
