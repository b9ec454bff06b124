"""The audit log as its tenant reads it: filtered and in pages; one entry with the bytes that are hashed."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.urls import reverse
from django.utils.translation import gettext as _

from audit import labels, personal, proofs, selectors
from audit.chain import leaf_hash
from audit.pages import presentation, proving, saving
from audit.pages.erasing import erase_url
from audit.pages.filtering import FilterForm, paging_of
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import IntegrityError

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from audit.models import Entry
    from audit.pages.filtering import Paging
    from audit.selectors import Filters

PAGE: Final = 50
_HELD: Final = (personal.State.KEPT, personal.State.SEALED)


class ListPage(TenantPage):
    """Entries, newest first."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    may_lag: ClassVar[bool] = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Filter by what was done, with what outcome, by whom, to which key, when."""
        form = FilterForm(request.GET, keys=labels.list_choices("key"), consumers=labels.list_choices("consumer"))
        is_valid = form.is_valid()
        found = _page(form.filters(), paging_of(request.GET)) if is_valid else ([], False, False)
        rows, more_newer, more_older = found
        here = reverse("audit:list", args=[self.place.slug])
        head, pruned = selectors.find_head(), selectors.find_pruned_head()
        context: dict[str, Any] = {
            "crumbs": [(_("Audit log"), "")],
            "rows": presentation.rows_of(rows, slug=self.place.slug),
            "pager": _pager(rows, form.query, newer=more_newer, older=more_older, last=head.tseq if head else 0),
            "pruned": pruned.tseq if pruned else 0,
            "errors": form.messages,
            "is_filtered": bool(form.query) or not is_valid,
            "clear_url": here,
            "export_url": reverse("audit:export", args=[self.place.slug]),
            "documents_url": reverse("audit:documents", args=[self.place.slug]),
            "erase_url": reverse("audit:erase", args=[self.place.slug]) if self.permits(Permission.AUDIT_ERASE) else "",
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
        """What was recorded, and the exact bytes that the chain hashes. Raises NotFound for an unknown event."""
        try:
            entry = proofs.find_receipt(event)
        except IntegrityError as error:
            return self._wait(event, status=error.status)
        return self._show(entry) if entry else self._wait(event)

    def _show(self, entry: Entry) -> HttpResponse:
        slug, kept = self.place.slug, personal.find_personal(entry)
        hashed = leaf_hash(entry.leaf.encode())
        names = labels.find_labels([(entry.actor_kind, entry.actor_id), (entry.target_kind, entry.target_id)])
        row = presentation.row_of(entry, names, kept.data, slug=slug)
        context = {
            "crumbs": [(_("Audit log"), reverse("audit:list", args=[slug])), (str(entry.tseq), "")],
            "entry": row,
            "facts": presentation.facts_of(entry, row, kept, slug=slug),
            "leaf": entry.leaf,
            "hash": base64.b64encode(hashed).decode(),
            "hash_hex": hashed.hex(),
            "previous_hash": json.loads(entry.leaf)["prev"],
            "newer_url": self._neighbour(entry, 1),
            "older_url": self._neighbour(entry, -1),
            "erase_url": self._erase_url(entry.event_id) if kept.state in _HELD else "",
            **proving.proof_context(entry, slug=slug),
        }
        return self.render("audit/detail.html", context)

    def _wait(self, event: UUID, *, status: int = 200) -> HttpResponse:
        """An event without a number; with a status of failure, one that should have it by now."""
        context = {
            "is_late": status != HTTPStatus.OK,
            "crumbs": [(_("Audit log"), reverse("audit:list", args=[self.place.slug])), (_("Waiting"), "")],
            "event_id": event,
            "recorded_at": datetime.fromtimestamp((event.int >> 80) / 1000, UTC),
            "erase_url": self._erase_url(event),
        }
        return self.render("audit/waiting.html", context, status=status)

    def _erase_url(self, event: UUID) -> str:
        return erase_url(self.place.slug, "event", event) if self.permits(Permission.AUDIT_ERASE) else ""

    def _neighbour(self, entry: Entry, step: int) -> str:
        event_id = selectors.find_neighbour(entry, step)
        return reverse("audit:detail", args=[self.place.slug, event_id]) if event_id else ""
