"""The pages of certificates and reports: the list, one with how to check it, and its files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.core.paginator import Paginator
from django.urls import reverse
from django.utils.translation import gettext as _

from audit import documents, labels
from audit.api.documents import download
from audit.canonical import parse_canonical
from audit.pages.proving import attach
from audit.services import documents as issuing
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from audit.models import Document

PAGE = 50
SHOWN_MAX = 20_000
"""Characters of the statement that the page shows; the files have all of it."""


class ListPage(TenantPage):
    """What was issued, newest first."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """One page of documents."""
        slug = self.place.slug
        page = Paginator(documents.list_documents(), PAGE).get_page(request.GET.get("page"))
        subjects = labels.find_labels({(each.subject_kind, each.subject_id) for each in page})
        rows = [
            {
                "title": title_of(each.kind),
                "subject": subjects.get((each.subject_kind, each.subject_id), str(each.subject_id)),
                "issued_at": each.created_at,
                "url": reverse("audit:document", args=[slug, each.id]),
            }
            for each in page
        ]
        here = reverse("audit:documents", args=[slug])
        context: dict[str, Any] = {
            "crumbs": [(_("Audit log"), reverse("audit:list", args=[slug])), (_("Certificates and reports"), "")],
            "rows": rows,
            "pager": {
                "label": _("%(count)s in all") % {"count": page.paginator.count} if page.has_other_pages() else "",
                "newer_url": f"{here}?page={page.previous_page_number()}" if page.has_previous() else "",
                "older_url": f"{here}?page={page.next_page_number()}" if page.has_next() else "",
            },
        }
        return self.render("audit/documents.html", context)


class DetailPage(TenantPage):
    """One document: what it states, that it is recorded, and how an outsider checks it."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, document: UUID) -> HttpResponse:  # Django's signature
        """The statement and its files."""
        slug, found = self.place.slug, documents.get(document)
        subject = (found.subject_kind, found.subject_id)
        text = _statement(found)
        context: dict[str, Any] = {
            "crumbs": [
                (_("Audit log"), reverse("audit:list", args=[slug])),
                (_("Certificates and reports"), reverse("audit:documents", args=[slug])),
                (title_of(found.kind), ""),
            ],
            "title": title_of(found.kind),
            "subject": labels.find_labels({subject}).get(subject, str(found.subject_id)),
            "issued_at": found.created_at,
            "is_signed": documents.is_signed(found),
            "entry_url": reverse("audit:detail", args=[slug, found.event_id]),
            "entries": len(found.events),
            "statement": text[:SHOWN_MAX],
            "is_cut": len(text) > SHOWN_MAX,
            "bundle_url": reverse("audit:document-bundle", args=[slug, found.id]),
            "page_url": reverse("audit:document-page", args=[slug, found.id]),
            "json_url": reverse("audit:document-json", args=[slug, found.id]),
            "verifier_url": reverse("audit:verifier", args=[slug]),
            "keys": settings.LOG_VKEY.strip(),
            "command": f"python3 byok_verify.py {_name(found)}.zip --log-key log.vkey",
        }
        return self.render("audit/document.html", context)


class BundleFile(TenantPage):
    """The ZIP; that it was taken is recorded."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get"]  # no HEAD: who takes it along is recorded

    def get(self, request: HttpRequest, document: UUID) -> HttpResponse:  # Django's signature
        """Record it and stream the ZIP. Raises Conflict until a checkpoint covers the document."""
        answer: Any = download(issuing.hand_out(actor=self.actor, document_id=document))
        return answer  # type: ignore[no-any-return]  # a streamed answer is an HttpResponseBase


class PageFile(TenantPage):
    """The form for people, exactly as hashed."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, document: UUID) -> HttpResponse:  # Django's signature
        """A page to save and print; it needs nothing from here."""
        found = documents.get(document)
        return attach(found.page.encode(), f"{_name(found)}.html", "text/html; charset=utf-8")


class JsonFile(TenantPage):
    """The form for programs, exactly as hashed."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, document: UUID) -> HttpResponse:  # Django's signature
        """document.json."""
        found = documents.get(document)
        return attach(found.body.encode(), f"{_name(found)}.json", "application/json")


def title_of(kind: str) -> str:
    """What a kind of document is called: `offboarding_certificate` is an "Offboarding certificate"."""
    return kind.replace("_", " ").capitalize()


def _name(document: Document) -> str:
    return f"{document.kind.replace('_', '-')}-{document.id}"


def _statement(document: Document) -> str:
    statement = parse_canonical(document.body.encode())["statement"]
    return json.dumps(statement, indent=2, ensure_ascii=False, sort_keys=False)
