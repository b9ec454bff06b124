"""The API door of the record: numbered entries of the tenant, newest first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import django_filters
from rest_framework import serializers
from rest_framework.response import Response

from audit.models import Entry, Outcome
from byok_portal.boundary.api import Pages, PortalView
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import PAGING, describe, page_of
from byok_portal.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


class EntryBody(serializers.ModelSerializer[Entry]):
    """One entry. `leaf` is the exact text that is hashed; `body` is the same, parsed."""

    body = serializers.SerializerMethodField()

    class Meta:
        model = Entry
        fields = ("idx", "tseq", "event_id", "occurred_at", "action", "outcome", "body", "leaf")

    def get_body(self, entry: Entry) -> dict[str, Any]:
        return dict(json.loads(entry.leaf)["body"])


class EntryFilter(django_filters.FilterSet):  # type: ignore[misc]  # not typed
    """Filters of the record."""

    action = django_filters.CharFilter(field_name="action")
    outcome = django_filters.ChoiceFilter(field_name="outcome", choices=Outcome.choices)
    actor = django_filters.UUIDFilter(field_name="actor_id")
    target = django_filters.UUIDFilter(field_name="target_id")
    since = django_filters.IsoDateTimeFilter(field_name="occurred_at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="occurred_at", lookup_expr="lt")

    class Meta:
        model = Entry
        fields: list[str] = []


class EntryPages(Pages):
    """Newest first, by the tenant's own number."""

    ordering = ("-tseq",)


class Events(PortalView):
    """The tenant's numbered entries."""

    reads = Permission.AUDIT_READ
    filterset_class = EntryFilter

    @describe("audit_events_list", answer=page_of(EntryBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        entries = EntryFilter(request.query_params, queryset=Entry.objects.all())
        if not entries.is_valid():
            field, messages = next(iter(entries.errors.items()))
            raise InvalidInput(str(messages[0]), code="invalid_filter", field=field)
        pages = EntryPages()
        rows: Any = pages.paginate_queryset(entries.qs, request, view=self)
        return pages.get_paginated_response(EntryBody(rows, many=True).data)


class EventDetail(PortalView):
    """One entry by its `Audit-Id`; 404 until it is numbered."""

    reads = Permission.AUDIT_READ

    @describe("audit_event", answer=EntryBody)
    def get(self, request: Request, tenant: str, event: UUID) -> Response:
        entry = Entry.objects.filter(event_id=event).first()
        if entry is None:
            raise NotFound
        return Response(EntryBody(entry).data)
