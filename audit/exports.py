"""A tenant's whole trail as a ZIP that anybody checks offline: entries, proof of the last one, verifier keys; and where
retention removed its beginning, the proof that the log records it.

Streams in constant memory and holds no transaction open between batches: the checkpoint that was chosen at the start
fixes what belongs to it, and entries never change.
"""

from __future__ import annotations

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import connections

from audit import proofs, selectors
from audit.bulk import bulk_cursor
from audit.models import LogState
from audit.notation import encode_base64
from audit.notes import Checkpoint as Head
from audit.notes import SignedNote, open_note, parse_checkpoint, parse_verifiers
from audit.tlog_proof import parse as parse_proof
from audit.zipping import Sink
from byok_portal.boundary import binding, replica
from byok_portal.errors import Conflict, IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from audit.models import Checkpoint, PrunedHead

BATCH: Final = 8000  # entries, about 4 MB; two batches are in memory
CHUNK: Final = 256 * 1024
KEPT_MAX: Final = 256 * 1024
"""Longest older checkpoint or proof that a tenant may hand in."""

_LAST: Final = """
SELECT tseq, idx FROM audit_entry WHERE tenant_id = %s AND idx < %s ORDER BY tseq DESC LIMIT 1
"""
# The server joins the lines: one value of a megabyte comes in a tenth of the time of thousands of small ones. A range
# and no LIMIT: numbers have no gaps, and for a tenant that statistics do not know yet the planner would read all that
# is left for each batch.
_LINES: Final = r"""
SELECT max(tseq), string_agg(leaf, E'\n') FROM (
  SELECT tseq, leaf FROM audit_entry WHERE tenant_id = %b AND tseq > %b AND tseq <= %b ORDER BY tseq
) batch
"""
_README: Final = """\
The audit trail of tenant {tenant}: entries {first} to {last}, as signed at {signed} under {origin}.

entries.jsonl      one entry per line, exactly as hashed
head.tlog-proof    proof (C2SP tlog-proof) that the last entry is in the signed tree; keep it for the next export
log.vkey           verifier keys of the log: compare them with the ones you were given another way
witness.vkey       verifier keys of its witnesses
consistency.json   only when you handed in an older checkpoint: proof that this tree extends it
before.json        only when retention removed earlier entries: proof that the log itself records it

Check it offline:  byok-verify THIS.zip --log-key log.vkey --witness-key witness.vkey [--since OLDER.tlog-proof]
"""


@dataclass(frozen=True, slots=True)
class Export:
    """What one export holds, decided once: entries after number `after` up to `last`; the small files by name."""

    tenant_id: UUID
    after: int
    last: int
    members: dict[str, str]
    signed_at: datetime

    @property
    def count(self) -> int:
        return self.last - self.after

    @property
    def filename(self) -> str:
        return f"audit-{self.tenant_id}-{self.signed_at:%Y%m%dT%H%M%SZ}.zip"


def prepare(*, kept: str = "") -> Export:
    """Choose the newest checkpoint and prove the tenant's last entry in it; in a transaction of the caller.

    `kept`: an older checkpoint or tlog-proof of the tenant. Raises Conflict while no entry is signed and when retention
    removed them all, InvalidInput for a `kept` that is not ours.
    """
    # In this order: the checkpoint is then one that covers the record of what is gone.
    tenant_id, pruned, checkpoint = binding.get_tenant(), selectors.find_pruned_head(), proofs.find_checkpoint()
    if checkpoint is None:
        raise _nothing_signed()
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_LAST, [tenant_id, checkpoint.size])
        last = cursor.fetchone()
    if last is None:
        raise _nothing_there(pruned)
    members = {
        "head.tlog-proof": proofs.prove(last[1], checkpoint).text,
        "log.vkey": settings.LOG_VKEY.strip() + "\n",
        "witness.vkey": f"{settings.WITNESS_VKEY.strip()}\n" if settings.WITNESS_VKEY else "",
    }
    if kept:
        members["consistency.json"] = _consistency(kept, checkpoint.size)
    if pruned is not None:
        members["before.json"] = _before(pruned, checkpoint)
    signed_at, after = checkpoint.signed_at.astimezone(UTC), pruned.tseq if pruned else 0
    members["README.txt"] = _README.format(
        tenant=tenant_id,
        first=after + 1,
        last=last[0],
        signed=f"{signed_at:%Y-%m-%d %H:%M:%S} UTC",
        origin=checkpoint.origin,
    )
    return Export(tenant_id, after, last[0], members, signed_at)


def stream(export: Export, alias: str = binding.DEFAULT) -> Iterator[bytes]:
    """The ZIP in pieces of about 256 KiB; binds the tenant itself, because it runs when the door has closed."""
    sink = Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        moment = export.signed_at.timetuple()[:6]
        info = zipfile.ZipInfo("entries.jsonl", moment)
        with archive.open(info, "w", force_zip64=True) as member:
            for lines in _batches(export, alias):
                member.write(lines)
                member.write(b"\n")
                if sink.size >= CHUNK:
                    yield sink.take()
        for name, text in export.members.items():
            if text:
                archive.writestr(zipfile.ZipInfo(name, moment), text)
    yield sink.take()


def _batches(export: Export, alias: str) -> Iterator[bytes]:
    """The lines, a batch ahead of the reader: the server gathers the next while this one goes out."""
    last = export.after
    with ThreadPoolExecutor(1, thread_name_prefix="export") as ahead:
        try:
            coming = ahead.submit(_read_batch, export, alias, last)
            while last < export.last:
                last, lines = coming.result()
                if last < export.last:
                    coming = ahead.submit(_read_batch, export, alias, last)
                yield lines
        finally:
            ahead.submit(connections.close_all)  # those of that thread


def _read_batch(export: Export, alias: str, last: int) -> tuple[int, bytes]:
    """(number of its last entry, lines but for the last line break) of the batch after `last`.

    Raises Conflict when retention took part of it.
    """

    def read() -> tuple[bytes | None, bytes | None, PrunedHead | None]:
        with bulk_cursor(binding.get_alias()) as cursor:
            cursor.execute(_LINES, [export.tenant_id, last, min(last + BATCH, export.last)], binary=True)
            assert cursor.pgresult is not None  # noqa: S101  # it was executed
            # As the bytes that came: they go out as they are, and need not be text in between.
            newest, lines = (cursor.pgresult.get_value(0, column) for column in (0, 1))
        return newest, lines, selectors.find_pruned_head()

    with binding.bind_tenant(export.tenant_id):
        newest, lines, pruned = replica.read(read, alias=alias)
    if pruned is not None and pruned.tseq > last:
        message = "Retention removed entries of this export while it was made: export again."
        raise Conflict(message, code="entries_pruned")
    if newest is None or lines is None:
        message = "entries of this tenant are missing from the log"
        raise IntegrityError(message, code="entries_missing")
    return int.from_bytes(newest, "big"), lines


def _before(pruned: PrunedHead, checkpoint: Checkpoint) -> str:
    """The last entry that is gone is in the tree, and an entry of the log says that it was removed.

    Nothing where the log records no removal: then whoever checks the export is told that its start is missing.
    """
    state = LogState.objects.get()
    if state.pruned_record is None or not max(pruned.idx, state.pruned_record) < checkpoint.size:
        return ""
    document = {
        "seq": pruned.tseq,
        "index": pruned.idx,
        "hash": encode_base64(bytes(pruned.leaf_hash)),
        "hashes": _path(pruned.idx, checkpoint),
        "pruned": {
            "leaf": state.pruned_leaf,
            "index": state.pruned_record,
            "hashes": _path(state.pruned_record, checkpoint),
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _path(index: int, checkpoint: Checkpoint) -> list[str]:
    return [encode_base64(value) for value in proofs.prove(index, checkpoint).hashes]


def _consistency(kept: str, size: int) -> str:
    """Proof from the older checkpoint that the tenant kept. Raises InvalidInput for one that this log did not sign."""
    if len(kept) > KEPT_MAX:
        raise _not_ours("it is too long")
    try:
        note = parse_proof(kept).checkpoint if kept.startswith("c2sp.org/tlog-proof") else kept
        head: Head = parse_checkpoint(SignedNote.parse(note).body)
        open_note(note, parse_verifiers(settings.LOG_VKEY))
    except (InvalidInput, IntegrityError) as error:
        raise _not_ours(str(error)) from None
    if head.size > size:
        raise _not_ours(f"it is of {head.size} entries, the signed log has {size}")
    hashes = [encode_base64(value) for value in proofs.prove_extension(head.size, size)]
    return json.dumps({"old": note, "hashes": hashes}, indent=1) + "\n"


def _not_ours(why: str) -> InvalidInput:
    message = f"This log signed no such head. Hand in the file head.tlog-proof of an older export, unchanged ({why})."
    return InvalidInput(message, code="unknown_checkpoint", field="since")


def _nothing_signed() -> Conflict:
    return Conflict("No entry of this tenant is covered by a signed checkpoint yet: try again in a few seconds.")


def _nothing_there(pruned: PrunedHead | None) -> Conflict:
    """An export without a single entry would prove nothing: no line of it would name the tenant."""
    head = selectors.find_head()
    if pruned is None or head is None or head.tseq > pruned.tseq:
        return _nothing_signed()
    message = f"Retention removed all {pruned.tseq} entries of this tenant. Exports that were made before still verify."
    return Conflict(message, code="entries_pruned")
