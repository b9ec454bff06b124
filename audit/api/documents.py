"""The API door of documents: what was issued, each statement, and the ZIP that anybody checks offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.response import Response

from audit import documents
from audit.api.proofs import RETRY_SECONDS
from audit.canonical import parse_canonical
from audit.models import Document
from audit.services import documents as issuing
from byok_portal.boundary.api import Pages, PortalView
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import PAGING, describe, page_of
from byok_portal.errors import Conflict

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


class DocumentRow(serializers.ModelSerializer[Document]):
    """A certificate or report that was issued. `event_id`: the entry that records its hashes."""

    issued_at = serializers.DateTimeField(source="created_at")

    class Meta:
        model = Document
        fields = ("id", "kind", "subject_kind", "subject_id", "issued_at", "event_id")


class DocumentBody(DocumentRow):
    """The statement as it is hashed, parsed. `signed`: whether its ZIP can be had already."""

    document = serializers.SerializerMethodField()
    signed = serializers.SerializerMethodField()

    class Meta(DocumentRow.Meta):
        fields = (*DocumentRow.Meta.fields, "signed", "document")  # type: ignore[assignment]

    def get_document(self, document: Document) -> dict[str, Any]:
        return parse_canonical(document.body.encode())

    def get_signed(self, document: Document) -> bool:
        return documents.is_signed(document)


class PendingDocument(serializers.Serializer[Any]):
    """No signed checkpoint covers the document yet: ask again after `Retry-After`."""

    id = serializers.UUIDField()
    state = serializers.CharField()


class Documents(PortalView):
    """The tenant's documents, newest first."""

    reads = Permission.AUDIT_READ

    @describe("documents_list", answer=page_of(DocumentRow), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        pages = Pages()
        rows = pages.paginate_queryset(documents.list_documents(), request, view=self)
        return pages.get_paginated_response(DocumentRow(rows, many=True).data)


class DocumentDetail(PortalView):
    """One document with its statement."""

    reads = Permission.AUDIT_READ

    @describe("document_retrieve", answer=DocumentBody)
    def get(self, request: Request, tenant: str, document: UUID) -> Response:
        return Response(DocumentBody(documents.get(document)).data)


class DocumentBundle(PortalView):
    """The document with all that proves it, as a ZIP. That it was taken is recorded."""

    reads = Permission.AUDIT_READ
    reads_in_transaction = False  # the operation opens its own

    @describe(
        "document_bundle",
        answer=OpenApiTypes.BINARY,
        status=(200, "application/zip"),
        also={202: PendingDocument},
        problems=(409,),
        parameters=[OpenApiParameter("Retry-After", int, OpenApiParameter.HEADER, response=[202])],
    )
    def get(self, request: Request, tenant: str, document: UUID) -> Any:
        try:
            return download(issuing.hand_out(actor=self.actor, document_id=document))
        except Conflict as conflict:
            if conflict.code != documents.PENDING:
                raise
        pending = {"id": document, "state": documents.PENDING}
        return Response(PendingDocument(pending).data, status=202, headers={"Retry-After": str(RETRY_SECONDS)})


def download(bundle: documents.Bundle) -> StreamingHttpResponse:
    """The ZIP as a download that starts at once."""
    response = StreamingHttpResponse(documents.stream(bundle), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{bundle.filename}"'
    return response
