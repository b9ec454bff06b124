"""The API door of the record: numbered entries of the tenant, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import django_filters
from rest_framework import serializers
from rest_framework.exceptions import NotFound as UnknownCursor
from rest_framework.pagination import Cursor
from rest_framework.response import Response

from audit import selectors
from audit.models import Entry, Outcome
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.api import Pages, PortalView
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import PAGING, describe, page_of
from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from rest_framework.request import Request

DIGITS: Final = 18
"""Of a number in a cursor: fewer than a bigint has, so that the database can compare every one."""


class EntryBody(serializers.ModelSerializer[Entry]):
    """One entry. `leaf` is the exact text that is hashed; `body` is the same, parsed."""

    # Read from the leaf, so the model has no fields that would say what they are.
    occurred_at = serializers.DateTimeField()
    action = serializers.CharField(max_length=60)
    outcome = serializers.ChoiceField(choices=Outcome.choices)
    body = serializers.SerializerMethodField()

    class Meta:
        model = Entry
        fields = ("idx", "tseq", "event_id", "occurred_at", "action", "outcome", "body", "leaf")

    def get_body(self, entry: Entry) -> dict[str, Any]:
        return entry.body


class EntryFilter(django_filters.FilterSet):  # type: ignore[misc]  # not typed
    """Checks the filters of the record; the search itself is the selectors'."""

    action = django_filters.CharFilter()
    outcome = django_filters.ChoiceFilter(choices=Outcome.choices)
    actor_kind = django_filters.ChoiceFilter(choices=[(kind.value, kind.value) for kind in ActorKind])
    actor = django_filters.UUIDFilter()
    target = django_filters.UUIDFilter()
    since = django_filters.IsoDateTimeFilter()
    until = django_filters.IsoDateTimeFilter()

    class Meta:
        model = Entry
        fields: list[str] = []


class EntryPages(Pages):
    """Newest first. A cursor holds the tenant's own number that its page ends before, or in reverse begins after."""

    def take(self, filters: selectors.Filters, request: Request) -> list[Entry]:
        """One page. Raises InvalidInput for a page size out of range and for a cursor that was made up."""
        size, cursor = self.get_page_size(request), self._cursor(request)
        self.base_url = request.build_absolute_uri()
        number, reverse = (int(cursor.position), cursor.reverse) if cursor else (None, False)
        place = {"newer_than" if reverse else "older_than": number}
        rows = selectors.search(filters, **place, limit=size + 1)  # one more tells whether there are more
        self.rows = rows[-size:] if reverse else rows[:size]
        more = len(rows) > size
        self.has_next, self.has_previous = (True, more) if reverse else (more, cursor is not None)
        return self.rows

    def get_next_link(self) -> str | None:
        return self._link(self.rows[-1], reverse=False) if self.has_next and self.rows else None

    def get_previous_link(self) -> str | None:
        return self._link(self.rows[0], reverse=True) if self.has_previous and self.rows else None

    def _link(self, entry: Entry, *, reverse: bool) -> str:
        return str(self.encode_cursor(Cursor(offset=0, reverse=reverse, position=entry.tseq)))

    def _cursor(self, request: Request) -> Any:
        try:
            cursor = self.decode_cursor(request)
        except UnknownCursor:
            raise _unknown_cursor() from None
        if cursor and not _is_number(cursor.position):
            raise _unknown_cursor()
        return cursor


class Events(PortalView):
    """The tenant's numbered entries."""

    reads = Permission.AUDIT_READ
    may_lag = True

    @describe("audit_events_list", answer=page_of(EntryBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        pages = EntryPages()
        rows = pages.take(filters_of(request.query_params), request)
        return pages.get_paginated_response(EntryBody(rows, many=True).data)


def filters_of(query: Mapping[str, str]) -> selectors.Filters:
    """The filters in a query string. Raises InvalidInput, naming the field."""
    found = EntryFilter(query, queryset=Entry.objects.none())
    if not found.is_valid():
        field, messages = next(iter(found.errors.items()))
        raise InvalidInput(str(messages[0]), code="invalid_filter", field=field)
    values = found.form.cleaned_data
    return selectors.Filters(
        action=values["action"] or "",
        outcome=values["outcome"] or "",
        actor_kind=values["actor_kind"] or "",
        actor_id=values["actor"],
        target_id=values["target"],
        since=values["since"],
        until=values["until"],
    )


def _unknown_cursor() -> InvalidInput:
    return InvalidInput("cursor is not one of ours.", code="invalid_cursor", field="cursor")


def _is_number(position: object) -> bool:
    text = str(position)
    return text.isascii() and text.isdigit() and len(text) <= DIGITS


class EventDetail(PortalView):
    """One entry by its `Audit-Id`; 404 until it is numbered."""

    reads = Permission.AUDIT_READ

    @describe("audit_event", answer=EntryBody)
    def get(self, request: Request, tenant: str, event: UUID) -> Response:
        return Response(EntryBody(selectors.get_entry(event)).data)
