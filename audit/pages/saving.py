"""The filtered log as a file: CSV for a spreadsheet, JSONL with the exact leaves. Streams in constant memory.

Holds no transaction between batches: entries never change, and new ones lie above where the walk has been.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.http import HttpResponseRedirect, StreamingHttpResponse
from django.urls import reverse

from audit import labels, selectors
from audit.pages import presentation
from audit.pages.filtering import FilterForm
from audit.services import disclosing
from byok_portal.boundary import binding, replica
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from audit.models import Entry
    from audit.selectors import Filters

BATCH: Final = 500
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
COLUMNS: Final = (
    *("number", "time", "action", "outcome", "code", "actor", "actor_kind", "actor_id"),
    *("target", "target_kind", "target_id", "scope", "network", "audit_id"),
)


def links(slug: str, query: str) -> dict[str, str]:
    """Addresses of both files under the filters that the list has."""
    tail = f"?{query}" if query else ""
    names = {"csv_url": "audit:save-csv", "jsonl_url": "audit:save-jsonl"}
    return {key: reverse(name, args=[slug]) + tail for key, name in names.items()}


class SavePage(TenantPage):
    """Base of both files. A bad filter leads to the list, which names it."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get"]  # no HEAD: who takes the list along is recorded
    ending: ClassVar[str]
    content_type: ClassVar[str]
    first: ClassVar[str] = ""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Record it, and stream what the filters admit, newest first."""
        form = FilterForm(request.GET, keys=labels.list_choices("key"), consumers=labels.list_choices("consumer"))
        if not form.is_valid():
            return HttpResponseRedirect(f"{reverse('audit:list', args=[self.place.slug])}?{request.GET.urlencode()}")
        filters = form.filters()
        upto = disclosing.save(actor=self.actor, filters=filters, ending=self.ending)
        pieces = stream(self.place.tenant_id, filters, self.write, upto=upto, first=self.first)
        response: Any = StreamingHttpResponse(pieces, content_type=self.content_type)
        response["Content-Disposition"] = f'attachment; filename="audit-{self.place.slug}.{self.ending}"'
        return response  # type: ignore[no-any-return]  # a streamed answer is an HttpResponseBase

    def write(self, entries: list[Entry]) -> str:
        """The lines of one batch; runs inside its transaction."""
        raise NotImplementedError


class SaveLines(SavePage):
    """One leaf a line, exactly as hashed."""

    ending = "jsonl"
    content_type = "application/jsonl"

    def write(self, entries: list[Entry]) -> str:
        return "".join(f"{entry.leaf}\n" for entry in entries)


class SaveTable(SavePage):
    """The columns of the list with every id."""

    ending = "csv"
    content_type = "text/csv; charset=utf-8"
    first = ",".join(COLUMNS) + "\r\n"

    def write(self, entries: list[Entry]) -> str:
        sink = io.StringIO()
        writer = csv.writer(sink)
        for entry, row in zip(entries, presentation.rows_of(entries, slug=self.place.slug), strict=True):
            writer.writerow([_disarm(value) for value in _cells(entry, row)])
        return sink.getvalue()


def stream(
    tenant_id: UUID, filters: Filters, write: Callable[[list[Entry]], str], *, upto: int, first: str = ""
) -> Iterator[bytes]:
    """The file in pieces of one batch; binds the tenant itself, because it runs when the door has closed."""
    if first:
        yield first.encode()
    older_than, alias = upto + 1, replica.choose()

    def read() -> tuple[list[Entry], bytes]:
        found = selectors.search(filters, older_than=older_than, limit=BATCH)
        return found, write(found).encode() if found else b""

    while True:
        with binding.bind_tenant(tenant_id):
            entries, piece = replica.read(read, alias=alias)
        if not entries:
            return
        yield piece
        older_than = entries[-1].tseq


def _cells(entry: Entry, row: dict[str, Any]) -> list[Any]:
    return [
        *(entry.tseq, entry.body["time"], entry.action, entry.outcome, row["code"]),
        *(row["actor_label"], entry.actor_kind, entry.actor_id),
        *(row["target_label"], entry.target_kind, entry.target_id),
        *(row["scope"], row["network"], entry.event_id),
    ]


def _disarm(value: object) -> str:
    """A cell that a spreadsheet would run as a formula begins with an apostrophe instead."""
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
