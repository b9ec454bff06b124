"""The API door of projects and of what belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from keys import selectors
from keys.api.serializers import KeyBody
from keys.services import projects as keys
from tenants import selectors as tenants
from tenants.api.serializers import ConsumerBody
from tenants.models import Project
from tenants.services import projects

if TYPE_CHECKING:
    from rest_framework.request import Request


class ProjectBody(serializers.ModelSerializer[Project]):
    """A project: active or ended."""

    state = serializers.CharField()

    class Meta:
        model = Project
        fields = ("id", "slug", "name", "purpose", "ends_on", "state", "created_at", "ended_at")


class WriteProjectBody(serializers.Serializer[Any]):
    """What a project is; without a last day people end it."""

    name = serializers.CharField(max_length=80)
    purpose = serializers.CharField(max_length=300)
    ends_on = serializers.DateField(required=False, allow_null=True, default=None)


class AssignBody(serializers.Serializer[Any]):
    """A project by id or slug; empty for none."""

    project = serializers.CharField(max_length=60, allow_blank=True)


class Projects(PortalView):
    """Projects of the tenant."""

    reads = Permission.PROJECT_READ

    @describe("projects_list", answer=page_of(ProjectBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, tenants.list_projects(), ProjectBody)

    @describe(
        "project_create",
        request=WriteProjectBody,
        answer=ProjectBody,
        status=201,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str) -> Response:
        def call() -> Response:
            made = projects.create(actor=self.actor, **parse(WriteProjectBody, request))
            return Response(ProjectBody(made).data, status=201)

        return self.once(call)


class ProjectDetail(PortalView):
    """One project, by id or slug; PUT changes it."""

    reads = Permission.PROJECT_READ

    @describe("project", answer=ProjectBody)
    def get(self, request: Request, tenant: str, project: str) -> Response:
        return Response(ProjectBody(tenants.get_project(project)).data)

    @describe("project_change", request=WriteProjectBody, answer=ProjectBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def put(self, request: Request, tenant: str, project: str) -> Response:
        def call() -> Response:
            values = parse(WriteProjectBody, request)
            found = self.read(tenants.get_project, project)
            return Response(ProjectBody(projects.change(actor=self.actor, project_id=found.id, **values)).data)

        return self.once(call)


class KeyProject(PortalView):
    """Put a key into a project, or into none."""

    @describe("key_project", request=AssignBody, answer=KeyBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, key: str) -> Response:
        def call() -> Response:
            chosen = parse(AssignBody, request)["project"]
            found = self.read(selectors.get_key, key)
            return Response(KeyBody(keys.assign_key(actor=self.actor, key_id=found.id, project=chosen)).data)

        return self.once(call)


class ConsumerProject(PortalView):
    """Put a consumer into a project, or into none."""

    @describe("consumer_project", request=AssignBody, answer=ConsumerBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, consumer: str) -> Response:
        def call() -> Response:
            chosen = parse(AssignBody, request)["project"]
            found = self.read(tenants.get_consumer, consumer)
            done = projects.assign_consumer(actor=self.actor, consumer_id=found.id, project=chosen)
            return Response(ConsumerBody(done).data)

        return self.once(call)
