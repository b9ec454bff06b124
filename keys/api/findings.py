"""The API door of findings: what is found now, accepting one for a while, right-sizing grants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, WRITES, describe
from keys import posture, selectors
from keys.api.serializers import GrantBody, NoteBody
from keys.findings import Kind, Remedy, Severity
from keys.services import findings

if TYPE_CHECKING:
    from rest_framework.request import Request


class FindingBody(serializers.Serializer[Any]):
    """One finding. `evidence` depends on its kind; `accepted_until` when somebody left it as it is for a while."""

    key = serializers.UUIDField(allow_null=True, help_text="Null for what is about drills.")
    kind = serializers.ChoiceField(choices=[word.value for word in Kind])
    severity = serializers.ChoiceField(choices=[word.name.lower() for word in Severity])
    remedy = serializers.ChoiceField(choices=[word.value for word in Remedy])
    evidence = serializers.DictField()
    owner = serializers.UUIDField(allow_null=True)
    accepted_until = serializers.DateTimeField(allow_null=True)


class AcceptBody(serializers.Serializer[Any]):
    """For how many days, and why."""

    days = serializers.IntegerField(min_value=1, max_value=findings.MAX_DAYS)
    reason = serializers.CharField(max_length=500)


class AcceptedBody(serializers.Serializer[Any]):
    """What was accepted, and until when."""

    kind = serializers.CharField()
    expires_at = serializers.DateTimeField()


class RightSizedBody(serializers.Serializer[Any]):
    """The grants as they are now."""

    grants = GrantBody(many=True)


class Findings(PortalView):
    """What is found about the tenant's keys now, the worst first."""

    reads = Permission.KEY_READ

    @describe("findings_list", answer=FindingBody(many=True))
    def get(self, request: Request, tenant: str) -> Response:
        found = [*map(_shown_drill, posture.list_drill_findings()), *map(_shown, posture.list_found())]
        return Response(FindingBody(found, many=True).data)


class FindingAccept(PortalView):
    """Leave a finding as it is for a while."""

    @describe("finding_accept", request=AcceptBody, answer=AcceptedBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, key: str, kind: str) -> Response:
        def accept() -> Response:
            values, found = parse(AcceptBody, request), self.read(selectors.get_key, key)
            return Response(AcceptedBody(findings.accept(actor=self.actor, key_id=found.id, kind=kind, **values)).data)

        return self.once(accept)


class KeyRightSize(PortalView):
    """Take from each live grant what its consumer has not used."""

    @describe("key_right_size", request=NoteBody, answer=RightSizedBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, key: str) -> Response:
        def narrow() -> Response:
            values, found = parse(NoteBody, request), self.read(selectors.get_key, key)
            grants = findings.right_size(actor=self.actor, key_id=found.id, **values)
            return Response(RightSizedBody({"grants": grants}).data)

        return self.once(narrow)


def _shown(found: posture.Found) -> dict[str, Any]:
    finding = found.finding
    return {
        "key": found.key.id,
        "kind": finding.kind.value,
        "severity": finding.severity.name.lower(),
        "remedy": finding.remedy.value,
        "evidence": finding.evidence,
        "owner": found.key.owner_id,
        "accepted_until": found.accepted.expires_at if found.accepted else None,
    }


def _shown_drill(found: posture.DrillFound) -> dict[str, Any]:
    finding = found.finding
    return {
        "key": None,
        "kind": finding.kind.value,
        "severity": finding.severity.name.lower(),
        "remedy": finding.remedy.value,
        "evidence": finding.evidence,
        "owner": None,
        "accepted_until": None,
    }
