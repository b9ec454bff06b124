"""The API door of incidents: declaring a key exposed in one call, and everything that is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import ChangeView, parse, view_of
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from byok_portal.errors import NotFound
from keys import blast, selectors
from keys.api.serializers import CompromiseBody, NoteBody, QuarantineBody
from keys.models import Incident, IncidentTask
from keys.services import exposing, incidents

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


class TaskBody(serializers.ModelSerializer[IncidentTask]):
    """One thing to do. `subject_id`: the version, consumer or key that it is about."""

    class Meta:
        model = IncidentTask
        fields = (
            "id",
            "kind",
            "subject_id",
            "label",
            "state",
            "settled_at",
            "settled_by_kind",
            "settled_by_id",
            "note",
        )


class IncidentBody(serializers.ModelSerializer[Incident]):
    """An incident with its tasks. `was_active`: a false alarm makes the key active again."""

    key = serializers.UUIDField(source="key_id")
    tasks = TaskBody(many=True, source="ordered_tasks")

    class Meta:
        model = Incident
        fields = (
            "id",
            "key",
            "versions",
            "exposure",
            "reason",
            "state",
            "is_false_alarm",
            "was_active",
            "suspected_since",
            "summary",
            "opened_by_kind",
            "opened_by_id",
            "created_at",
            "closed_at",
            "tasks",
        )


class ReachBody(serializers.Serializer[Any]):
    """A consumer that could use the key since the suspected moment."""

    consumer = serializers.UUIDField(source="consumer_id")
    name = serializers.CharField()
    environment = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    deliveries = serializers.ListField(child=serializers.CharField())
    networks = serializers.ListField(child=serializers.CharField())


class UseCountBody(serializers.Serializer[Any]):
    """Uses of one version by one consumer; version 0: refused before one was chosen."""

    consumer = serializers.UUIDField(source="consumer_id")
    name = serializers.CharField()
    version = serializers.IntegerField()
    allowed = serializers.IntegerField()
    denied = serializers.IntegerField()
    leases = serializers.IntegerField()
    codes = serializers.DictField(child=serializers.IntegerField())
    first_at = serializers.SerializerMethodField()
    last_at = serializers.SerializerMethodField()
    addresses = serializers.SerializerMethodField()

    def get_first_at(self, count: blast.UseCount) -> str:
        return count.first[0].isoformat()

    def get_last_at(self, count: blast.UseCount) -> str:
        return count.last[0].isoformat()

    def get_addresses(self, count: blast.UseCount) -> list[str]:
        return sorted(count.addresses)


class RelatedBody(serializers.Serializer[Any]):
    """Another key with the same credential, or of the same upstream account."""

    key = serializers.UUIDField(source="key_id")
    name = serializers.CharField()
    environment = serializers.CharField()
    state = serializers.CharField()
    same_credential = serializers.BooleanField()


class RadiusBody(serializers.Serializer[Any]):
    """What an exposed credential touches. `is_complete` is false when only the newest uses were counted."""

    since = serializers.DateTimeField()
    scopes = serializers.ListField(child=serializers.CharField())
    environments = serializers.ListField(child=serializers.CharField())
    consumers = ReachBody(many=True)
    uses = UseCountBody(many=True)
    is_complete = serializers.BooleanField()
    related = RelatedBody(many=True)


class IncidentDetailBody(IncidentBody):
    """An incident with its blast radius, which is null for a token that may not read the log."""

    blast_radius = RadiusBody(allow_null=True)

    class Meta(IncidentBody.Meta):
        fields = (*IncidentBody.Meta.fields, "blast_radius")  # type: ignore[assignment]


class SettleBody(serializers.Serializer[Any]):
    """`done`, or `not_needed` with a note."""

    state = serializers.CharField(max_length=20)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class IncidentNoteBody(serializers.Serializer[Any]):
    """What somebody found out."""

    note = serializers.CharField(max_length=2000)


class DismissBody(serializers.Serializer[Any]):
    """Why it is a false alarm."""

    note = serializers.CharField(max_length=500)


class MoveBody(serializers.Serializer[Any]):
    """Where to; ending an incident with open tasks takes `force` and a note."""

    state = serializers.CharField(max_length=20)
    force = serializers.BooleanField(default=False)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class SinceBody(serializers.Serializer[Any]):
    """Since when strangers may have known the credential."""

    suspected_since = serializers.DateTimeField()
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class Incidents(PortalView):
    """Incidents of the tenant, newest first."""

    reads = Permission.KEY_READ

    @describe("incidents_list", answer=page_of(IncidentBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, selectors.list_incidents().prefetch_related("tasks"), IncidentBody)


class IncidentDetail(PortalView):
    """One incident with what the credential touched."""

    reads = Permission.KEY_READ

    @describe("incident", answer=IncidentDetailBody)
    def get(self, request: Request, tenant: str, incident: UUID) -> Response:
        found: Any = selectors.get_incident(incident)
        reads_log = self.actor.permits(Permission.AUDIT_READ, self.bearer.tenant_id)
        found.blast_radius = blast.read_radius(found, with_addresses=True) if reads_log else None
        return Response(IncidentDetailBody(found).data)


class IncidentTasks(PortalView):
    """What is to be done about an incident."""

    reads = Permission.KEY_READ

    @describe("incident_tasks", answer=TaskBody(many=True))
    def get(self, request: Request, tenant: str, incident: UUID) -> Response:
        tasks = selectors.get_incident(incident).tasks.order_by("position")
        return Response(TaskBody(tasks, many=True).data)


class IncidentTaskSettle(PortalView):
    """Say what became of a task."""

    @describe("incident_task_settle", request=SettleBody, answer=TaskBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, incident: UUID, task: UUID) -> Response:
        def settle() -> Response:
            self.read(_get_task, incident, task)
            values = parse(SettleBody, request)
            settled = incidents.settle_task(actor=self.actor, incident_id=incident, task_id=task, **values)
            return Response(TaskBody(settled).data)

        return self.once(settle)


class IncidentAnswer(ChangeView):
    """Base of the changes that answer with the incident, as it is afterwards."""

    answers = IncidentBody

    def answer(self, result: Incident) -> Response:
        return _answer(self, result)


class IncidentChange(IncidentAnswer):
    """Base of the changes of an incident."""

    looks_first = True

    def find(self, **where: Any) -> dict[str, Any]:
        return {"incident_id": selectors.get_incident(where["incident"]).id}


class KeyExposure(IncidentAnswer):
    """Base of the two calls that declare a key exposed."""

    def find(self, **where: Any) -> dict[str, Any]:
        return {"key_id": selectors.get_key(where["key"]).id}


KeyCompromise = view_of(KeyExposure, "key_compromise", exposing.compromise, CompromiseBody)
KeyQuarantine = view_of(KeyExposure, "key_quarantine", exposing.quarantine, QuarantineBody)
IncidentNote = view_of(IncidentChange, "incident_note", incidents.add_note, IncidentNoteBody)
IncidentMove = view_of(IncidentChange, "incident_move", incidents.move, MoveBody)
IncidentSince = view_of(IncidentChange, "incident_change_since", incidents.change_since, SinceBody)
IncidentConfirm = view_of(IncidentChange, "incident_confirm", incidents.confirm, NoteBody)
IncidentDismiss = view_of(IncidentChange, "incident_dismiss", incidents.dismiss, DismissBody)


def _get_task(incident_id: UUID, task_id: UUID) -> IncidentTask:
    task: IncidentTask | None = selectors.get_incident(incident_id).tasks.filter(id=task_id).first()
    if task is None:
        raise NotFound
    return task


def _answer(view: PortalView, incident: Incident) -> Response:
    return view.read(lambda: Response(IncidentBody(selectors.get_incident(incident.id)).data))
