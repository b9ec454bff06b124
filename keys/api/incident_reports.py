"""The API door of an incident's report: as it is now, and issued as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.types import OpenApiTypes
from rest_framework.response import Response

from audit.api.documents import DocumentRow
from byok_portal.boundary.api import PortalView
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, WRITES, describe
from keys import incident_report, selectors
from keys.services import reporting

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


class IncidentReport(PortalView):
    """The report of an incident, as the page renders it and the download holds it."""

    reads = Permission.AUDIT_READ

    @describe("incident_report", answer=OpenApiTypes.OBJECT)
    def get(self, request: Request, tenant: str, incident: UUID) -> Response:
        return Response(incident_report.build(selectors.get_incident(incident)).statement)


class IncidentReportIssue(PortalView):
    """Fix the report as it is now, as a document with its hash in the log."""

    @describe("incident_issue_report", answer=DocumentRow, status=201, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, incident: UUID) -> Response:
        def issue() -> Response:
            self.read(selectors.get_incident, incident)
            return Response(DocumentRow(reporting.issue(actor=self.actor, incident_id=incident)).data, status=201)

        return self.once(issue)
