"""What an entry's page shows of its proof, and the two files that anybody checks offline."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from audit import proofs, selectors
from audit.chain import leaf_hash
from audit.pages.proof_drawing import draw_path
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest

    from audit.models import Entry


def proof_context(entry: Entry, *, slug: str) -> dict[str, Any]:
    """`proof` for the page of an entry; None until a checkpoint covers it. `entry_url` is there at once."""
    context: dict[str, Any] = {"entry_url": reverse("audit:entry-file", args=[slug, entry.event_id]), "proof": None}
    checkpoint = proofs.find_checkpoint()
    if checkpoint is None or entry.idx >= checkpoint.size:
        return context
    proof = proofs.prove(entry.idx, checkpoint)
    hashed = leaf_hash(entry.leaf.encode())
    context["proof"] = {
        "index": entry.idx,
        "size": checkpoint.size,
        "origin": checkpoint.origin,
        "signed_at": checkpoint.signed_at,
        "witnessed_at": checkpoint.witnessed_at,
        "root": bytes(checkpoint.root).hex(),
        "url": reverse("audit:proof-file", args=[slug, entry.event_id]),
        "text": proof.text,
        "keys": settings.LOG_VKEY.strip(),
        "command": _command(entry),
        "drawing": draw_path(hashed, entry.idx, checkpoint.size, proof.hashes),
    }
    return context


def _command(entry: Entry) -> str:
    """Names the log's key itself, so that the command works as it is pasted."""
    keys = "".join(f" --log-key {shlex.quote(key)}" for key in settings.LOG_VKEY.split("\n") if key.strip())
    return f"byok-verify --proof {_name(entry)}.tlog-proof --entry {_name(entry)}.json{keys}"


def _name(entry: Entry) -> str:
    return f"entry-{entry.tseq}"


class EntryFile(TenantPage):
    """The exact bytes that are hashed."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, event: UUID) -> HttpResponse:  # Django's signature
        """One entry as a file: no byte more than its leaf."""
        entry = selectors.get_entry(event)
        return attach(entry.leaf.encode(), f"{_name(entry)}.json", "application/json")


class ProofFile(TenantPage):
    """The proof of one entry (C2SP tlog-proof)."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, event: UUID) -> HttpResponse:  # Django's signature
        """The proof as a file. Raises Conflict until a checkpoint covers the entry."""
        entry = selectors.get_entry(event)
        proof = proofs.find_proof(entry)
        if proof is None:
            raise Conflict(_("No signed checkpoint covers this entry yet: try again in a few seconds."))
        return attach(proof.text.encode(), f"{_name(entry)}.tlog-proof", "text/plain; charset=utf-8")


def attach(data: bytes, filename: str, content_type: str) -> HttpResponse:
    """A file to save. `filename` is ours, never a person's text."""
    response = HttpResponse(data, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response
