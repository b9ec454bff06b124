"""A document as a ZIP that anybody checks offline: both forms, the entry that records their hashes, and every entry
that the statement rests on with its proof. `byok-verify` reads it.

Streams; the checkpoint that was chosen at the start fixes all proofs.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.utils import timezone

from audit import merkle, proofs, selectors, tree
from audit.models import Document, Entry
from audit.notation import encode_base64
from audit.zipping import Sink
from byok_portal.boundary import binding
from byok_portal.errors import Conflict, IntegrityError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from django.db.models import QuerySet

    from audit.merkle import HashReader

BATCH: Final = 500
CHUNK: Final = 256 * 1024
PENDING: Final = "not_signed_yet"
_README: Final = """\
{kind} of {subject}, issued at {issued} for tenant {tenant}.

document.html      the statement for people
document.json      the same for programs, exactly as hashed
issued.json        the entry of the audit log that records the SHA-256 of both
head.tlog-proof    proof (C2SP tlog-proof) that this entry is in the signed tree
evidence.jsonl     each entry that the statement rests on, exactly as hashed, with its proof in the same tree
log.vkey           verifier keys of the log: compare them with the ones you were given another way
witness.vkey       verifier keys of its witnesses

Check it offline:  byok-verify THIS.zip --log-key log.vkey --witness-key witness.vkey
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one ZIP holds, decided once: the document, the size of the signed tree, and the small files by name."""

    document: Document = field(repr=False)
    size: int
    members: dict[str, str] = field(repr=False)
    signed_at: datetime

    @property
    def filename(self) -> str:
        return f"{self.document.kind.replace('_', '-')}-{self.document.id}.zip"


def list_documents() -> QuerySet[Document]:
    """The bound tenant's documents, newest first, without their text."""
    found = Document.objects.filter(tenant_id=binding.get_tenant()).defer("body", "page", "events")
    return found.order_by("-created_at", "-id")


def get(document_id: UUID) -> Document:
    """One document of the bound tenant. Raises NotFound for missing and foreign alike."""
    found = Document.objects.filter(tenant_id=binding.get_tenant(), id=document_id).first()
    if found is None:
        raise NotFound
    return found


def find_issued(document: Document) -> Entry | None:
    """The numbered entry that records its hashes; None while it waits."""
    return Entry.objects.filter(tenant_id=document.tenant_id, event_id=document.event_id).first()


def is_signed(document: Document) -> bool:
    """Whether a checkpoint covers the entry that records its hashes; then the ZIP can be made."""
    entry, checkpoint = find_issued(document), proofs.find_checkpoint()
    return entry is not None and checkpoint is not None and entry.idx < checkpoint.size


def prepare(document: Document) -> Bundle:
    """Prove that the newest signed tree records the document. Raises Conflict (`not_signed_yet`, `entries_pruned`)."""
    entry, checkpoint = find_issued(document), proofs.find_checkpoint()
    if entry is None:
        raise _absent(document)
    if checkpoint is None or entry.idx >= checkpoint.size:
        raise _pending()
    signed_at = checkpoint.signed_at.astimezone(UTC)
    members = {
        "document.json": document.body,
        "document.html": document.page,
        "issued.json": entry.leaf,
        "head.tlog-proof": proofs.prove(entry.idx, checkpoint).text,
        "log.vkey": settings.LOG_VKEY.strip() + "\n",
        "witness.vkey": f"{settings.WITNESS_VKEY.strip()}\n" if settings.WITNESS_VKEY else "",
        "README.txt": _README.format(
            kind=document.kind,
            subject=f"{document.subject_kind} {document.subject_id}",
            issued=f"{document.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            tenant=document.tenant_id,
        ),
    }
    present = _count(document)
    if present < len(set(document.events)):
        raise _absent(document)
    return Bundle(document, checkpoint.size, members, signed_at)


def stream(bundle: Bundle, alias: str = binding.DEFAULT) -> Iterator[bytes]:
    """The ZIP in pieces; binds the tenant itself, because it runs when the door has closed."""
    sink, moment = Sink(), bundle.signed_at.timetuple()[:6]
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in bundle.members.items():
            if text:
                info = zipfile.ZipInfo(name, moment)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, text)
        info = zipfile.ZipInfo("evidence.jsonl", moment)
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as member:
            for lines in _evidence(bundle, alias):
                member.write(lines)
                if sink.size >= CHUNK:
                    yield sink.take()
    yield sink.take()


def _evidence(bundle: Bundle, alias: str) -> Iterator[bytes]:
    """A line per entry: {"entry": its exact text, "hashes": [...], "index": N}, in the order of the document."""
    reader: HashReader | None = None
    events = bundle.document.events
    for start in range(0, len(events), BATCH):
        batch = events[start : start + BATCH]
        with binding.use_alias(alias), binding.bind_tenant(bundle.document.tenant_id), binding.reading():
            reader = reader or tree.remembering_reader(alias)
            found = {
                event: (idx, leaf)
                for event, idx, leaf in Entry.objects.filter(
                    tenant_id=bundle.document.tenant_id, event_id__in=batch
                ).values_list("event_id", "idx", "leaf")
            }
            lines = [_line(*found[event], size=bundle.size, reader=reader) for event in batch if event in found]
        if len(lines) < len(batch):
            raise _absent(bundle.document)
        yield "".join(lines).encode()


def _line(index: int, leaf: str, *, size: int, reader: HashReader) -> str:
    hashes = [encode_base64(value) for value in merkle.inclusion_proof(index, size, reader)]
    return json.dumps({"entry": leaf, "hashes": hashes, "index": index}, ensure_ascii=False) + "\n"


def _count(document: Document) -> int:
    events = document.events
    return sum(
        Entry.objects.filter(tenant_id=document.tenant_id, event_id__in=events[start : start + 5000]).count()
        for start in range(0, len(events), 5000)
    )


def _absent(document: Document) -> Conflict | IntegrityError:
    """Why entries are not there: too new, removed by retention, or by somebody."""
    if (timezone.now() - document.created_at).total_seconds() * 1000 < proofs.PATIENCE_MS:
        return _pending()
    if selectors.find_pruned_head() is not None:
        message = (
            "Retention removed entries that this document rests on. Copies that were downloaded before still verify."
        )
        return Conflict(message, code="entries_pruned")
    message = "Entries that this document rests on were committed, but they are not in the log."
    return IntegrityError(message, code="entry_missing")


def _pending() -> Conflict:
    message = "No signed checkpoint covers this document yet: try again in a few seconds."
    return Conflict(message, code=PENDING)
