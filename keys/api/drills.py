"""The API door of drills: what was rehearsed and measured, starting one, schedules, and the flag of a canary key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from keys import selectors
from keys.models.drills import EVERY
from keys.services import drills
from keys.states import DrillKind, DrillState

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request

_KINDS = [word.value for word in DrillKind]


class StartDrillBody(serializers.Serializer[Any]):
    """What is rehearsed, on which canary key (its id or slug), and how soon every process must refuse."""

    kind = serializers.ChoiceField(choices=_KINDS)
    key = serializers.CharField(max_length=60)
    target_ms = serializers.IntegerField(min_value=1, max_value=60_000, default=drills.TARGET_MS)


class ResultBody(serializers.Serializer[Any]):
    """One process that answers uses. `first_refused_ms`: from the answered end to the end of the first refused use."""

    place = serializers.CharField()
    process = serializers.CharField()
    before = serializers.IntegerField()
    overlap = serializers.IntegerField()
    failed = serializers.IntegerField()
    refused = serializers.IntegerField()
    allowed_after = serializers.IntegerField()
    unreachable = serializers.IntegerField()
    first_refused_ms = serializers.IntegerField(allow_null=True)
    code = serializers.CharField()


class DrillBody(serializers.Serializer[Any]):
    """One drill. `code` says why it failed; `upstream_ms` is how long its provider took to be confirmed dead."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=_KINDS)
    state = serializers.ChoiceField(choices=[word.value for word in DrillState])
    key = serializers.UUIDField(source="key_id", allow_null=True)
    due_on = serializers.DateField(allow_null=True)
    target_ms = serializers.IntegerField()
    begun_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    upstream_ms = serializers.IntegerField(allow_null=True)
    code = serializers.CharField()
    results = ResultBody(many=True)


class ScheduleDrillBody(serializers.Serializer[Any]):
    """How often one kind runs by itself, from a day on; an empty `every` stops it."""

    kind = serializers.ChoiceField(choices=_KINDS)
    every = serializers.ChoiceField(choices=EVERY, required=False, default="", allow_blank=True)
    first_on = serializers.DateField(required=False, allow_null=True)


class DrillScheduleBody(serializers.Serializer[Any]):
    """What runs by itself, and when it will next."""

    kind = serializers.ChoiceField(choices=_KINDS)
    every = serializers.ChoiceField(choices=EVERY)
    next_on = serializers.DateField()
    is_active = serializers.BooleanField()


class CanaryBody(serializers.Serializer[Any]):
    """Whether any use of the key outside a drill is an alarm."""

    is_canary = serializers.BooleanField()


class Drills(PortalView):
    """Drills, newest first; starting one."""

    reads = Permission.KEY_READ

    @describe("drills_list", answer=page_of(DrillBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, drills.list_drills(), DrillBody)

    @describe(
        "drill_start", request=StartDrillBody, answer=DrillBody, status=201, problems=WRITES, parameters=[IDEMPOTENCY]
    )
    def post(self, request: Request, tenant: str) -> Response:
        def start() -> Response:
            values = parse(StartDrillBody, request)
            key = self.read(selectors.get_key, values.pop("key"))
            return Response(DrillBody(drills.start(actor=self.actor, key_id=key.id, **values)).data, status=201)

        return self.once(start)


class DrillDetail(PortalView):
    """One drill with what was measured."""

    reads = Permission.KEY_READ

    @describe("drill", answer=DrillBody)
    def get(self, request: Request, tenant: str, drill: UUID) -> Response:
        return Response(DrillBody(drills.get(drill)).data)


class DrillSchedules(PortalView):
    """What runs by itself; setting one kind's schedule."""

    reads = Permission.KEY_READ

    @describe("drill_schedules", answer=DrillScheduleBody(many=True))
    def get(self, request: Request, tenant: str) -> Response:
        return Response(DrillScheduleBody(drills.list_schedules(), many=True).data)

    @describe(
        "drill_schedule",
        request=ScheduleDrillBody,
        answer=DrillScheduleBody,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str) -> Response:
        def schedule() -> Response:
            made = drills.schedule(actor=self.actor, **parse(ScheduleDrillBody, request))
            return Response(DrillScheduleBody(made).data)

        return self.once(schedule)


class KeyCanary(PortalView):
    """Flag a key as a canary, or take the flag away."""

    @describe("key_canary", request=CanaryBody, answer=CanaryBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, key: str) -> Response:
        def flag() -> Response:
            values, found = parse(CanaryBody, request), self.read(selectors.get_key, key)
            return Response(CanaryBody(drills.set_canary(actor=self.actor, key_id=found.id, **values)).data)

        return self.once(flag)
