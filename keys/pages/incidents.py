"""Incidents of a tenant, one of them with its blast radius, tasks and timeline, and its report. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db.models import Count
from django.http import JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit import documents
from audit.labels import find_labels
from audit.pages.presentation import rows_of
from audit.selectors import find_private
from byok_portal.boundary.keyset import take_page
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from keys import blast, incident_report, incident_timeline, selectors
from keys.models import Exposure, IncidentTask, KeyVersion
from keys.models.incidents import OPEN_STATES
from keys.pages.incident_changes import LongNoteForm
from keys.pages.incident_words import (
    EXPOSURES,
    STATES,
    TASK_STATES,
    hint_of,
    title_of,
    word_action,
    word_task,
)
from keys.services import response
from keys.states import KeyState, TaskKind, TaskState

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from audit.models import Entry
    from keys.models import Incident

PAGE: Final = 50
_TABS: Final = {"": gettext_lazy("At work"), "all": gettext_lazy("All")}


class IncidentsPage(TenantPage):
    """Incidents, newest first."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "incidents"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Those at work, or all."""
        slug, chosen = self.place.slug, "all" if request.GET.get("show") == "all" else ""
        found = selectors.list_incidents()
        at_work = found.filter(state__in=OPEN_STATES)
        counts = {"": at_work.count(), "all": found.count()}
        page = take_page(found if chosen else at_work, request.GET, size=PAGE)
        waiting = _count_waiting(page.rows)
        url = reverse("keys:incidents", args=[slug])
        context = {
            "crumbs": [(_("Incidents"), "")],
            "tabs": [
                (label, f"{url}?show={name}" if name else url, counts[name], name == chosen)
                for name, label in _TABS.items()
            ],
            "rows": [self._row(incident, waiting.get(incident.id, 0)) for incident in page.rows],
            "shows_all": bool(chosen),
            "all_url": f"{url}?show=all" if counts["all"] else "",
            "pager": {"label": _("Newest first"), **page.urls},
        }
        return self.render("keys/incidents.html", context)

    def _row(self, incident: Incident, waiting: int) -> dict[str, Any]:
        return {
            **_heading(incident),
            "url": reverse("keys:incident", args=[self.place.slug, incident.id]),
            "since": incident.suspected_since,
            "opened_at": incident.created_at,
            "waiting": waiting,
        }


class IncidentPage(TenantPage):
    """One incident."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "incidents"

    def get(self, request: HttpRequest, incident: UUID) -> HttpResponse:  # Django's signature
        """Raises NotFound alike for a missing incident and another tenant's."""
        found, reads_log = selectors.get_incident(incident), self.permits(Permission.AUDIT_READ)
        slug, may_respond = self.place.slug, self.permits(Permission.INCIDENT_RESPOND)
        radius = blast.read_radius(found, with_addresses=reads_log) if reads_log else None
        context = {
            "crumbs": [(_("Incidents"), reverse("keys:incidents", args=[slug])), (title_of(found), "")],
            **_heading(found),
            "key_url": reverse("keys:detail", args=[slug, found.key.slug]),
            "summary": found.summary,
            "notices": self._notices(found),
            "actions": self._actions(found),
            "move_url": self._url("incident-move", found) if may_respond and not found.closed_at else "",
            "report_url": self._url("incident-report", found) if reads_log else "",
            "tasks": [self._task(task, found, may_respond=may_respond) for task in found.tasks.order_by("position")],
            "consumers": response.list_grants(found),
            "radius": radius,
            "related": _related(radius, slug) if radius else [],
            "timeline": self._timeline(incident_timeline.list_entries(found)) if reads_log else [],
            "log_hidden": not reads_log,
            "note_form": LongNoteForm() if may_respond else None,
            "note_url": self._url("incident-note", found),
            "since_url": self._url("incident-since", found) if may_respond and not found.closed_at else "",
            "facts": _facts(found),
        }
        return self.render("keys/incident.html", context)

    def _url(self, name: str, incident: Incident) -> str:
        return reverse(f"keys:{name}", args=[self.place.slug, incident.id])

    def _actions(self, incident: Incident) -> list[dict[str, Any]]:
        """What decides a suspicion."""
        if incident.exposure != Exposure.SUSPECTED or not incident.is_open:
            return []
        slug, key = self.place.slug, incident.key
        quarantined = response.is_quarantined(key.id)
        offers: list[tuple[bool, Permission, Any, str, str, bool]] = [
            (True, Permission.KEY_RESUME, _("False alarm"), "check", self._url("incident-dismiss", incident), False),
            (
                quarantined and key.state == KeyState.SUSPENDED,
                Permission.KEY_ROTATE,
                _("Rotate"),
                "rotate-cw",
                reverse("keys:rotate", args=[slug, key.slug]),
                False,
            ),
            (
                not quarantined,
                Permission.KEY_COMPROMISE,
                _("Confirm the exposure"),
                "flame",
                self._url("incident-confirm", incident),
                True,
            ),
            (
                quarantined,
                Permission.KEY_COMPROMISE,
                _("Confirmed: revoke for good"),
                "flame",
                reverse("keys:compromise", args=[slug, key.slug]),
                True,
            ),
        ]
        return [
            {"label": label, "icon": icon, "url": url, "danger": danger}
            for offered, permission, label, icon, url, danger in offers
            if offered and self.permits(permission)
        ]

    def _notices(self, incident: Incident) -> list[dict[str, str]]:
        if incident.is_false_alarm:
            return [{"level": "ok", "title": _("A false alarm."), "text": _("Nothing was exposed.")}]
        if incident.exposure == Exposure.SUSPECTED and incident.is_open:
            if response.is_quarantined(incident.key_id):
                text = _("Every use is refused. Decide: a false alarm, a rotation without overlap, or revoke for good.")
                return [{"level": "warn", "title": _("The key is in quarantine."), "text": text}]
            text = _("The suspected version is not used any more. Confirm the exposure, or close the incident.")
            return [{"level": "info", "title": _("Another credential is in its place."), "text": text}]
        return []

    def _task(self, task: IncidentTask, incident: Incident, *, may_respond: bool) -> dict[str, Any]:
        css, label = TASK_STATES[task.state]
        open_here = task.state == TaskState.OPEN and may_respond
        return {
            "text": word_task(task, incident, incident.key.provider.name),
            "hint": task.note or (_residual(task) if task.state == TaskState.OPEN else "") or hint_of(task),
            "status": css,
            "status_label": label,
            "settled_at": task.settled_at,
            "settled_by": _name(task.settled_by_kind, task.settled_by_id),
            "url": reverse("keys:incident-task", args=[self.place.slug, incident.id, task.id]) if open_here else "",
        }

    def _timeline(self, entries: list[Entry]) -> list[dict[str, Any]]:
        """Every step with its entry; notes as far as they were not erased."""
        private = find_private([entry.event_id for entry in entries])
        rows = rows_of(entries, slug=self.place.slug)
        return [
            {**row, "text": word_action(entry.action), "note": private.get(entry.event_id, {}).get("note", "")}
            for entry, row in zip(entries, rows, strict=True)
        ]


class ReportPage(TenantPage):
    """The report for people: one statement, laid out for paper."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "incidents"

    def get(self, request: HttpRequest, incident: UUID) -> HttpResponse:  # Django's signature
        """As things stand now."""
        found = selectors.get_incident(incident)
        slug = self.place.slug
        context = {
            "crumbs": [
                (_("Incidents"), reverse("keys:incidents", args=[slug])),
                (title_of(found), reverse("keys:incident", args=[slug, found.id])),
                (_("Report"), ""),
            ],
            "title": title_of(found),
            "statement": incident_report.build(found).statement,
            "json_url": reverse("keys:incident-report-json", args=[slug, found.id]),
            "issue_url": reverse("keys:incident-issue", args=[slug, found.id])
            if self.permits(Permission.INCIDENT_RESPOND)
            else "",
            "issued": [
                {"at": each.created_at, "url": reverse("audit:document", args=[slug, each.id])}
                for each in documents.list_documents().filter(subject_id=found.id)[:20]
            ],
        }
        return self.render("keys/incident_report.html", context)


class ReportFile(TenantPage):
    """The same statement for machines."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ

    def get(self, request: HttpRequest, incident: UUID) -> HttpResponse:  # Django's signature
        """As a download."""
        found = selectors.get_incident(incident)
        answer = JsonResponse(incident_report.build(found).statement, json_dumps_params={"indent": 1})
        answer["Content-Disposition"] = f'attachment; filename="incident-{found.id}.json"'
        return answer


def _residual(task: IncidentTask) -> str:
    """What the provider could not do, and so is left to people."""
    if task.kind != TaskKind.REVOKE_UPSTREAM or task.subject_id is None:
        return ""
    return KeyVersion.objects.filter(id=task.subject_id).values_list("upstream_note", flat=True).first() or ""


def _count_waiting(shown: Collection[Incident]) -> dict[UUID, int]:
    """Open tasks by incident."""
    tasks = IncidentTask.objects.filter(incident_id__in=[each.id for each in shown], state=TaskState.OPEN)
    return dict(tasks.values_list("incident_id").annotate(n=Count("id")))


def _heading(incident: Incident) -> dict[str, Any]:
    status, status_label = STATES[incident.state]
    exposure, exposure_label = EXPOSURES[incident.exposure]
    return {
        "title": title_of(incident),
        "key": incident.key.name,
        "status": status,
        "status_label": _("False alarm") if incident.is_false_alarm else status_label,
        "exposure": exposure,
        "exposure_label": exposure_label,
    }


def _related(radius: blast.Radius, slug: str) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "url": reverse("keys:detail", args=[slug, each.slug]),
            "environment": each.environment.capitalize(),
            "state": each.state.capitalize(),
            "why": _("the same credential") if each.same_credential else _("the same upstream account"),
        }
        for each in radius.related
    ]


def _facts(incident: Incident) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        (_("Key"), incident.key.name),
        (_("Versions"), ", ".join(map(str, incident.versions))),
        (_("Environment"), incident.key.environment.capitalize()),
        (_("Suspected since"), incident.suspected_since),
        (_("Opened"), incident.created_at),
        (_("Opened by"), _name(incident.opened_by_kind, incident.opened_by_id)),
        (_("Owner"), str(incident.key.owner)),
        (_("Backup owner"), str(incident.key.backup_owner or "")),
        (_("Closed"), incident.closed_at),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]


def _name(kind: str, identifier: UUID | None) -> str:
    if identifier is None:
        return ""
    return find_labels([(kind, identifier)]).get((kind, identifier), kind.capitalize())
