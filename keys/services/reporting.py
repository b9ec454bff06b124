"""Issuing the report of an incident as a document that outsiders check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.services import documents
from audit.services.recording import Target
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from keys import incident_report
from keys.services.incidents import lock_incident

if TYPE_CHECKING:
    from uuid import UUID

    from audit.models import Document
    from byok_portal.boundary.actors import Actor

KIND = "incident_report"


@operation(
    "incident.issue_report",
    permission=Permission.INCIDENT_RESPOND,
    events=(documents.ISSUED,),
    page="keys:incident-issue",
    api="api:incident-issue",
)
def issue(*, actor: Actor, incident_id: UUID) -> Document:
    """Fix the report as things stand now; its hash is in the log. Each call issues another one."""
    incident = lock_incident(incident_id)
    report = incident_report.build(incident)
    about = Target("incident", incident.id)
    return documents.issue(
        actor=actor,
        kind=KIND,
        subject=about,
        statement=report.statement,
        events=report.events,
        title="Incident report",
    )
