"""A person's own inbox in one tenant: what was said to them, and that they have read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.db.models import Q
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.pages import OperationPage
from tenants import notices as kinds
from tenants.models import Mail
from tenants.notices import Severity
from tenants.services import notices

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from tenants.models import Notice

PAGE: Final = 50
MOST: Final = 100
"""Unread notices that are counted; more are "99+"."""
_MAILED: Final = {
    Mail.State.QUEUED: gettext_lazy("mail is on its way"),
    Mail.State.UNCONFIRMED: gettext_lazy("mail not confirmed: it may have been lost"),
    Mail.State.SENT: gettext_lazy("mailed as well"),
    Mail.State.DROPPED: gettext_lazy("not mailed"),
}
_CSS: Final = {Severity.INFO: "", Severity.WARNING: "pending", Severity.CRITICAL: "compromised"}


class InboxPage(OperationPage):
    """What was said, newest first; the unread ones alone, unless all are asked for."""

    operation: ClassVar[str] = "notice.mark_read"
    section: ClassVar[str] = "inbox"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """One page of it."""
        return self._answer()

    def post(self, request: HttpRequest) -> HttpResponse:
        """Mark those that were ticked as read, or all of them."""
        chosen = [parse_id(value) for value in request.POST.getlist("notice")]
        ids = None if "all" in request.POST else [each for each in chosen if each]
        done = self.attempt(None, lambda: notices.mark_read(actor=self.actor, notice_ids=ids))
        if done is None:
            messages.error(request, self.problem.detail if self.problem else "")
        else:
            messages.success(request, ngettext("%(n)d is read.", "%(n)d are read.", done) % {"n": done})
        return redirect(self._url())

    def _answer(self) -> HttpResponse:
        shows_all = self.request.GET.get("show") == "all"
        page, older = _cut(self.actor.id, shows_all=shows_all, older=self.request.GET.get("older", ""))
        unread = notices.count_unread(self.actor.id, at_most=MOST)
        query = "?show=all&" if shows_all else "?"
        context = {
            "crumbs": [(_("Inbox"), "")],
            "tabs": [
                (_("Unread"), self._url(), word_count(unread), not shows_all),
                (_("All"), f"{self._url()}?show=all", "", shows_all),
            ],
            "rows": [self._row(notice) for notice in page],
            "has_unread": bool(unread),
            "shows_all": shows_all,
            "all_url": f"{self._url()}?show=all",
            "pager": {"label": _("Newest first"), "older_url": f"{query}older={older}" if older else ""},
            "preferences_url": reverse("tenants:preferences", args=[self.place.slug]),
        }
        return self.render("tenants/inbox.html", context)

    def _row(self, notice: Notice) -> dict[str, Any]:
        said = kinds.say(notice.kind, notice.facts, slug=self.place.slug)
        return {
            "id": notice.id,
            "subject": said.subject,
            "text": said.text,
            "url": said.path,
            "severity": said.severity_label,
            "css": _CSS[said.severity],
            "at": notice.created_at,
            "read_at": notice.read_at,
            "mailed": _MAILED[Mail.State(notice.mail.state)] if notice.mail else "",
        }

    def _url(self) -> str:
        return reverse("tenants:inbox", args=[self.place.slug])


def word_count(count: int) -> str:
    """As a badge has room for."""
    return f"{MOST - 1}+" if count >= MOST else str(count or "")


def _cut(recipient_id: UUID, *, shows_all: bool, older: str) -> tuple[list[Notice], UUID | None]:
    """A page of notices, those below a given one if it is the recipient's, and after which one the next page begins."""
    inbox = notices.list_inbox(recipient_id)
    rows = inbox if shows_all else inbox.filter(read_at=None)
    last = inbox.filter(id=identifier).first() if (identifier := parse_id(older)) else None
    if last is not None:
        rows = rows.filter(Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, id__lt=last.id))
    page = list(rows.select_related("mail")[: PAGE + 1])
    return page[:PAGE], page[PAGE - 1].id if len(page) > PAGE else None
