"""The API door of ends: the plan before one starts, the run with its steps, and settling what is left to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary import binding
from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from byok_portal.errors import NotFound
from keys import endings
from keys.services import offboarding
from tenants import selectors as tenants
from tenants.api.serializers import OffboardingStepBody, ReasonBody
from tenants.models import Offboarding, OffboardingStep
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request

MAX_STEPS: Final = 1000


class EndingUseBody(serializers.Serializer[Any]):
    """How much a consumer or a key is used; `last_at` is null when it was not in thirty days."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    week = serializers.IntegerField()
    month = serializers.IntegerField()
    per_day = serializers.FloatField()
    last_at = serializers.DateTimeField(allow_null=True)


class AtProviderBody(serializers.Serializer[Any]):
    """What can be done at a provider; with `possible` false people must."""

    provider = serializers.CharField()
    credentials = serializers.IntegerField()
    possible = serializers.BooleanField()
    instruction = serializers.CharField()


class PlanBody(serializers.Serializer[Any]):
    """What an end would do. Starting it takes `expected` as `confirmation`, and `digest` as it was shown."""

    kind = serializers.CharField(help_text="tenant, project, consumer or owner")
    subject_id = serializers.UUIDField()
    name = serializers.CharField()
    expected = serializers.CharField()
    digest = serializers.CharField()
    counts = serializers.DictField(child=serializers.IntegerField())
    consumers = EndingUseBody(many=True)
    keys = EndingUseBody(many=True)
    upstream = AtProviderBody(many=True)
    rotations = serializers.ListField(child=serializers.CharField())
    permanent = serializers.ListField(child=serializers.CharField())
    point_of_no_return = serializers.CharField()


class RunBody(serializers.ModelSerializer[Offboarding]):
    """One offboarding, in short: of a tenant, project, consumer or owner; running or done."""

    subject_kind = serializers.CharField()
    state = serializers.CharField()

    class Meta:
        model = Offboarding
        fields = (
            "id",
            "subject_kind",
            "subject_id",
            "reason",
            "state",
            "is_automatic",
            "plan_digest",
            "requested_at",
            "created_at",
            "planned_at",
            "finished_at",
        )


class RunDetailBody(RunBody):
    """With its progress and its steps; at most a thousand of them. Open steps come as they stand."""

    done = serializers.IntegerField()
    residual = serializers.IntegerField()
    settled = serializers.IntegerField()
    total = serializers.IntegerField()
    percent = serializers.IntegerField()
    certificate = serializers.UUIDField(allow_null=True, help_text="The id of its newest document, once it is done.")
    steps = OffboardingStepBody(many=True)

    class Meta(RunBody.Meta):
        fields = (*RunBody.Meta.fields, "done", "residual", "settled", "total", "percent", "certificate", "steps")  # type: ignore[assignment]


class StartBody(ReasonBody):
    """Starting an end: the slug again, and the digest of the plan that was read."""

    confirmation = serializers.CharField(max_length=120)
    digest = serializers.CharField(max_length=64)


class ResidualBody(serializers.Serializer[Any]):
    """How it was done."""

    note = serializers.CharField(max_length=500)


def run_answer(run: Offboarding) -> dict[str, Any]:
    """A run with its progress and steps, as `RunDetailBody` says."""
    counts = offboarding.progress_of(run)
    steps = OffboardingStep.objects.filter(offboarding_id=run.id).order_by("position")[:MAX_STEPS]
    numbers = {name: getattr(counts, name) for name in ("done", "residual", "settled", "total", "percent")}
    certificate = tenants.find_certificate(run)
    numbers["certificate"] = certificate.id if certificate else None
    return {**RunBody(run).data, **numbers, "steps": OffboardingStepBody(steps, many=True).data}


class Offboardings(PortalView):
    """Offboardings of the tenant and in it, newest first."""

    reads = Permission.TENANT_READ

    @describe("offboardings_list", answer=page_of(RunBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, tenants.list_runs(), RunBody)


class OffboardingRun(PortalView):
    """One offboarding: its steps, times, and what is left to people."""

    reads = Permission.TENANT_READ

    @describe("offboarding_run", answer=RunDetailBody)
    def get(self, request: Request, tenant: str, run: UUID) -> Response:
        return Response(run_answer(tenants.get_run(run)))


class ResidualSettle(PortalView):
    """Say that a step which was left to people is done."""

    @describe(
        "residual_settle", request=ResidualBody, answer=OffboardingStepBody, problems=WRITES, parameters=[IDEMPOTENCY]
    )
    def post(self, request: Request, tenant: str, run: UUID, number: int) -> Response:
        def call() -> Response:
            note = parse(ResidualBody, request)["note"]
            step = offboarding.settle_residual(actor=self.actor, run_id=run, position=number, note=note)
            return Response(OffboardingStepBody(step).data)

        return self.once(call)


class TenantPlan(PortalView):
    """What the end of the tenant would do. Platform staff start it, or the clock where its owners have agreed."""

    reads = Permission.TENANT_READ

    @describe("tenant_plan", answer=PlanBody)
    def get(self, request: Request, tenant: str) -> Response:
        return Response(PlanBody(endings.plan_of(SubjectKind.TENANT, binding.get_tenant())).data)


class ConsumerPlan(PortalView):
    """What the end of a consumer would do."""

    reads = Permission.CONSUMER_READ

    @describe("consumer_plan", answer=PlanBody)
    def get(self, request: Request, tenant: str, consumer: str) -> Response:
        found = tenants.get_consumer(consumer)
        return Response(PlanBody(endings.plan_of(SubjectKind.CONSUMER, found.id)).data)


class ConsumerRun(PortalView):
    """The newest offboarding of a consumer."""

    reads = Permission.CONSUMER_READ

    @describe("consumer_offboarding", answer=RunDetailBody)
    def get(self, request: Request, tenant: str, consumer: str) -> Response:
        return Response(_newest(SubjectKind.CONSUMER, tenants.get_consumer(consumer).id))


class ProjectPlan(PortalView):
    """What the end of a project would do."""

    reads = Permission.PROJECT_READ

    @describe("project_plan", answer=PlanBody)
    def get(self, request: Request, tenant: str, project: str) -> Response:
        found = tenants.get_project(project)
        return Response(PlanBody(endings.plan_of(SubjectKind.PROJECT, found.id)).data)


class ProjectOffboard(PortalView):
    """The offboarding of a project; POST starts it."""

    reads = Permission.PROJECT_READ

    @describe("project_offboarding", answer=RunDetailBody)
    def get(self, request: Request, tenant: str, project: str) -> Response:
        return Response(_newest(SubjectKind.PROJECT, tenants.get_project(project).id))

    @describe(
        "project_offboard",
        request=StartBody,
        answer=RunBody,
        status=201,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str, project: str) -> Response:
        def call() -> Response:
            values = parse(StartBody, request)
            found = self.read(tenants.get_project, project)
            run = offboarding.start_project(actor=self.actor, project_id=found.id, **values)
            return Response(RunBody(run).data, status=201)

        return self.once(call)


def _newest(kind: SubjectKind, subject_id: UUID) -> dict[str, Any]:
    run = tenants.find_run(kind, subject_id)
    if run is None:
        raise NotFound
    return run_answer(run)
