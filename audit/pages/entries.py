"""The audit log as its tenant reads it: filtered and in pages; one entry with the bytes that are hashed."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.urls import reverse
from django.utils.translation import gettext as _

from audit import labels, selectors
from audit.chain import leaf_hash
from audit.pages import presentation, proving, saving
from audit.pages.filtering import FilterForm, paging_of
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from audit.models import Entry
    from audit.pages.filtering import Paging
    from audit.selectors import Filters

PAGE: Final = 50


class ListPage(TenantPage):
    """Entries, newest first."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Filter by what was done, with what outcome, by whom, to which key, when."""
        form = FilterForm(request.GET, keys=labels.list_choices("key"), consumers=labels.list_choices("consumer"))
        is_valid = form.is_valid()
        found = _page(form.filters(), paging_of(request.GET)) if is_valid else ([], False, False)
        rows, more_newer, more_older = found
        here = reverse("audit:list", args=[self.place.slug])
        head = selectors.find_head()
        context: dict[str, Any] = {
            "crumbs": [(_("Audit log"), "")],
            "rows": presentation.rows_of(rows, slug=self.place.slug),
            "pager": _pager(rows, form.query, newer=more_newer, older=more_older, last=head.tseq if head else 0),
            "errors": form.messages,
            "is_filtered": bool(form.query) or not is_valid,
            "clear_url": here,
            "export_url": reverse("audit:export", args=[self.place.slug]),
            **saving.links(self.place.slug, form.query),
            **form.context,
        }
        return self.render("audit/list.html", context, status=200 if is_valid else 422)


def _page(filters: Filters, paging: Paging) -> tuple[list[Entry], bool, bool]:
    """One page with whether there is more to each side; one row more than shown is read to know."""
    if paging.newer_than is not None:
        found = selectors.search(filters, newer_than=paging.newer_than, limit=PAGE + 1)
        return found[-PAGE:], len(found) > PAGE, True
    found = selectors.search(filters, older_than=paging.older_than, limit=PAGE + 1)
    return found[:PAGE], paging.older_than is not None, len(found) > PAGE


def _pager(rows: list[Entry], query: str, *, newer: bool, older: bool, last: int) -> dict[str, str]:
    if not rows:
        return {"label": ""}
    tail = f"&{query}" if query else ""
    label = _("Newest first · %(high)s to %(low)s of %(last)s")
    return {
        "label": label % {"high": rows[0].tseq, "low": rows[-1].tseq, "last": last},
        "newer_url": f"?newer_than={rows[0].tseq}{tail}" if newer else "",
        "older_url": f"?older_than={rows[-1].tseq}{tail}" if older else "",
    }


class DetailPage(TenantPage):
    """One entry."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"

    def get(self, request: HttpRequest, event: UUID) -> HttpResponse:  # Django's signature
        """What was recorded, and the exact bytes that the chain hashes."""
        entry = selectors.get_entry(event)
        private = selectors.find_private([entry.event_id]).get(entry.event_id)
        names = labels.find_labels([(entry.actor_kind, entry.actor_id), (entry.target_kind, entry.target_id)])
        row = presentation.row_of(entry, names, private, slug=self.place.slug)
        context = {
            "crumbs": [
                (_("Audit log"), reverse("audit:list", args=[self.place.slug])),
                (str(entry.tseq), ""),
            ],
            "entry": row,
            "facts": presentation.facts_of(entry, row, private),
            "leaf": entry.leaf,
            "hash": base64.b64encode(leaf_hash(entry.leaf.encode())).decode(),
            "previous_hash": json.loads(entry.leaf)["prev"],
            "newer_url": self._neighbour(entry, 1),
            "older_url": self._neighbour(entry, -1),
            **proving.proof_context(entry, slug=self.place.slug),
        }
        return self.render("audit/detail.html", context)

    def _neighbour(self, entry: Entry, step: int) -> str:
        event_id = selectors.find_neighbour(entry, step)
        return reverse("audit:detail", args=[self.place.slug, event_id]) if event_id else ""
