"""Issuing documents: a statement whose hash an entry of the log records, so that the log's signature covers it.

No key of its own signs a document: whoever checks it needs nothing but the log's key (docs/decisions).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from django.template.loader import render_to_string
from django.utils import timezone

from audit import documents, paper
from audit.canonical import canonicalise
from audit.models import Document
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

ISSUED: Final = "document.issued"
FORMAT: Final = 1
EVENTS_MAX: Final = 200_000


def issue(
    *, actor: Actor, kind: str, subject: Target, statement: dict[str, Any], events: Sequence[UUID], title: str
) -> Document:
    """Store a statement and append `document.issued` with its hashes; part of the operation that calls it.

    `statement`: JSON values inside the canonical profile (no floats), no personal data and no secret. `events`: ids of
    the entries it rests on, in their order; they are handed out with it. `title` heads the form for people, which has
    the parts of the statement in their order (`audit.paper`). Raises InvalidInput outside the profile or beyond
    EVENTS_MAX entries.
    """
    if len(events) > EVENTS_MAX:
        message = f"A document rests on at most {EVENTS_MAX} entries."
        raise InvalidInput(message, code="too_many_events", field="events")
    document_id = new_id()
    document = {
        "events": [str(event) for event in events],
        "id": str(document_id),
        "issued_at": timezone.now().isoformat(timespec="seconds").replace("+00:00", "Z"),
        "kind": kind,
        "statement": statement,
        "subject": {"id": str(subject.id), "kind": subject.kind},
        "tenant": str(binding.get_tenant()),
        "v": FORMAT,
    }
    body = canonicalise(document)
    digest = hashlib.sha256(body).hexdigest()
    page = render_to_string("documents/paper.html", paper.dress(document, digest=digest, title=title))
    detail = {
        "document": str(document_id),
        "kind": kind,
        "sha256": digest,
        "page_sha256": hashlib.sha256(page.encode()).hexdigest(),
        "events": len(events),
    }
    event_id = append(actor=actor, action=ISSUED, target=subject, detail=detail)
    issued: Document = Document.objects.create(
        id=document_id,
        tenant_id=binding.get_tenant(),
        kind=kind,
        subject_kind=subject.kind,
        subject_id=subject.id,
        event_id=event_id,
        events=list(events),
        body=body.decode(),
        page=page,
    )
    return issued


@operation(
    "document.hand_out",
    permission=Permission.AUDIT_READ,
    events=("document.handed_out",),
    page="audit:document-bundle",
    api="api:document-bundle",
)
def hand_out(*, actor: Actor, document_id: UUID) -> documents.Bundle:
    """Prepare the ZIP that anybody checks offline, and record that it was taken. Raises as `documents.prepare`."""
    document = documents.get(document_id)
    bundle = documents.prepare(document)
    append(
        actor=actor,
        action="document.handed_out",
        target=Target(document.subject_kind, document.subject_id),
        detail={"document": str(document.id), "kind": document.kind, "size": bundle.size},
    )
    return bundle
