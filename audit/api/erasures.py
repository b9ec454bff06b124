"""The API door of erasure: parse, call, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from audit.services import erasure
from byok_portal.boundary.api import PortalView
from byok_portal.boundary.schema_api import IDEMPOTENCY, WRITES, describe

if TYPE_CHECKING:
    from rest_framework.request import Request


class EraseBody(serializers.Serializer[Any]):
    """Whose personal data: of the `event`, `person` or `consumer` with this id."""

    kind = serializers.ChoiceField(choices=erasure.KINDS)
    id = serializers.UUIDField()
    reason = serializers.ChoiceField(choices=erasure.REASONS, required=False, default="")
    note = serializers.CharField(required=False, default="", max_length=erasure.NOTE_MAX)


class ErasureBody(serializers.Serializer[Any]):
    """`count`: of how many events the personal data was erased. The entries stay, and still verify.

    `waiting`: events of the tenant that had no number yet and could not be told to be the subject's: erase again in a
    few seconds to cover them.
    """

    kind = serializers.CharField()
    id = serializers.UUIDField()
    count = serializers.IntegerField()
    waiting = serializers.IntegerField()
    audit_id = serializers.UUIDField()


class Erasures(PortalView):
    """Erasing personal data beside the tenant's entries."""

    @describe(
        "audit_erase",
        request=EraseBody,
        answer=ErasureBody,
        status=201,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str) -> Response:
        return self.once(lambda: self._erase(request))

    def _erase(self, request: Request) -> Response:
        body = EraseBody(data=request.data)
        body.is_valid(raise_exception=True)
        values = body.validated_data
        done = erasure.erase(
            actor=self.actor,
            kind=values["kind"],
            subject_id=values["id"],
            reason=values["reason"],
            note=values["note"],
        )
        return Response(ErasureBody(done).data, status=201)
