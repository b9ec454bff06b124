"""Issuing the report of an incident: what was issued stays as it is, and outsiders check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from keys.pages.incident_changes import IncidentChange
from keys.services import reporting

if TYPE_CHECKING:
    from django.http import QueryDict

    from audit.models import Document
    from keys.models import Incident


class IssuePage(IncidentChange):
    """Asks before the report is fixed; leads to the document."""

    operation: ClassVar[str] = "incident.issue_report"
    verb: ClassVar[Any] = gettext_lazy("Issue the report")
    done: ClassVar[Any] = gettext_lazy("The report is issued and recorded. In a few seconds it comes with its proofs.")

    def form_for(self, thing: Incident, data: QueryDict | None = None) -> forms.Form:
        return forms.Form(data)

    def call(self, thing: Incident, form: forms.Form) -> Document:
        return reporting.issue(actor=self.actor, incident_id=thing.id)

    def effects(self, thing: Incident) -> list[tuple[str, str]]:
        still = [] if thing.closed_at else [("", _("The incident is not closed: a later report can say more."))]
        return [
            ("", _("The report is fixed as things stand now, and the audit log records its SHA-256.")),
            ("ok", _("Auditors check it offline, with the entries that it rests on. It names no person but by role.")),
            *still,
        ]

    def after(self, thing: Incident, result: object) -> str:
        return reverse("audit:document", args=[self.place.slug, cast("Document", result).id])
