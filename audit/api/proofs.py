"""The API door of the evidence: proof of one entry, checkpoint, consistency, and the whole trail as a ZIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.response import Response

from audit import exports, proofs
from audit.chain import leaf_hash
from audit.notation import encode_base64
from audit.services import disclosing
from byok_portal.boundary import replica
from byok_portal.boundary.api import PortalView
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import describe
from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request

RETRY_SECONDS = 5
"""About how long it takes until a checkpoint covers a new entry."""
DIGITS = 18


class EntryProof(serializers.Serializer[Any]):
    """Proof that an entry is in the signed log. `proof` is the whole C2SP tlog-proof text, for offline checkers."""

    event_id = serializers.UUIDField()
    index = serializers.IntegerField()
    entry = serializers.CharField(help_text="The exact text of the entry, as it is hashed.")
    leaf_hash = serializers.CharField()
    hashes = serializers.ListField(child=serializers.CharField())
    checkpoint = serializers.CharField()
    proof = serializers.CharField()


class PendingBody(serializers.Serializer[Any]):
    """The event is committed, but no checkpoint covers it yet: ask again after `Retry-After`."""

    event_id = serializers.UUIDField()
    state = serializers.CharField()


class CheckpointBody(serializers.Serializer[Any]):
    """The newest published checkpoint; `note` is the signed text."""

    origin = serializers.CharField()
    size = serializers.IntegerField()
    root_hash = serializers.CharField()
    note = serializers.CharField()
    signed_at = serializers.DateTimeField()
    witnessed_at = serializers.DateTimeField(allow_null=True)


class ConsistencyBody(serializers.Serializer[Any]):
    """Proof that the tree of `to` leaves extends the tree of `from` leaves."""

    hashes = serializers.ListField(child=serializers.CharField())
    to = serializers.IntegerField()

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.IntegerField(), **super().get_fields()}


class EventProof(PortalView):
    """Proof of one entry by its `Audit-Id`."""

    reads = Permission.AUDIT_READ

    @describe(
        "audit_event_proof",
        answer=EntryProof,
        also={202: PendingBody},
        parameters=[OpenApiParameter("Retry-After", int, OpenApiParameter.HEADER, response=[202])],
    )
    def get(self, request: Request, tenant: str, event: UUID) -> Response:
        entry = proofs.find_receipt(event)
        proof = proofs.find_proof(entry) if entry else None
        if entry is None or proof is None:
            pending = {"event_id": event, "state": "numbered" if entry else "committed"}
            return Response(PendingBody(pending).data, status=202, headers={"Retry-After": str(RETRY_SECONDS)})
        body = {
            "event_id": event,
            "index": proof.index,
            "entry": entry.leaf,
            "leaf_hash": encode_base64(leaf_hash(entry.leaf.encode())),
            "hashes": [encode_base64(value) for value in proof.hashes],
            "checkpoint": proof.checkpoint,
            "proof": proof.text,
        }
        return Response(EntryProof(body).data)


class LatestCheckpoint(PortalView):
    """The newest published checkpoint."""

    reads = Permission.AUDIT_READ

    @describe("audit_checkpoint", answer=CheckpointBody)
    def get(self, request: Request, tenant: str) -> Response:
        found = proofs.get_checkpoint()
        root = encode_base64(bytes(found.root))
        fields = ("origin", "size", "note", "signed_at", "witnessed_at")
        return Response(CheckpointBody({"root_hash": root, **{name: getattr(found, name) for name in fields}}).data)


class Consistency(PortalView):
    """Proof between two sizes of the log."""

    reads = Permission.AUDIT_READ

    @describe(
        "audit_consistency",
        answer=ConsistencyBody,
        problems=(422,),
        parameters=[
            OpenApiParameter("from", int, required=True, description="Size of the older tree."),
            OpenApiParameter("to", int, description="Size of the newer tree; the newest checkpoint's when left out."),
        ],
    )
    def get(self, request: Request, tenant: str) -> Response:
        old = _size(request, "from")
        new = _size(request, "to") if "to" in request.query_params else proofs.get_checkpoint().size
        hashes = [encode_base64(value) for value in proofs.prove_extension(old, new)]
        return Response(ConsistencyBody({"from": old, "to": new, "hashes": hashes}).data)


class ExportView(PortalView):
    """The tenant's whole trail with everything that is needed to check it offline."""

    reads = Permission.AUDIT_READ
    reads_in_transaction = False  # the operation opens its own

    @describe(
        "audit_export",
        answer=OpenApiTypes.BINARY,
        status=(200, "application/zip"),
        problems=(409, 422),
        parameters=[
            OpenApiParameter(
                "since",
                str,
                description="An older checkpoint or head.tlog-proof: the export then proves that it extends that one.",
            )
        ],
    )
    def get(self, request: Request, tenant: str) -> Any:
        return download(disclosing.export(actor=self.actor, kept=request.query_params.get("since", "")))


def download(export: exports.Export) -> StreamingHttpResponse:
    """The export as a download that starts at once."""
    response = StreamingHttpResponse(exports.stream(export, replica.choose()), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{export.filename}"'
    response["X-Export-Entries"] = str(export.count)
    return response


def _size(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        message = f"{name} is the size of a tree, a whole number from 0."
        raise InvalidInput(message, code="out_of_range", field=name)
    return int(text)
