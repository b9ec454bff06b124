"""Projects: what keys and consumers are for. Their end is in `keys.services.offboarding`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from audit.services.recording import Target, append
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput, NotFound
from tenants import rules
from tenants.models import Consumer, Project
from tenants.services.tenants import require_active
from tenants.states import ProjectState

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from byok_portal.boundary.actors import Actor


@operation(
    "project.create",
    permission=Permission.PROJECT_EDIT,
    events=("project.created",),
    page="keys:project-create",
    api="api:projects",
)
def create(*, actor: Actor, name: str, purpose: str, ends_on: date | None = None) -> Project:
    """A project of the bound tenant, with a last day if it has one. Raises InvalidInput; a taken name is one."""
    require_active()
    title = rules.require_text(name, field="name", maximum=80)
    project = Project(
        name=title,
        slug=rules.slug_from(title),
        purpose=rules.require_text(purpose, field="purpose", maximum=300),
        ends_on=rules.require_end_date(ends_on, field="ends_on", required=False),
    )
    if Project.objects.filter(slug=project.slug).exists():
        raise InvalidInput("Name is taken by another project.", code="name_taken", field="name")
    project.save(force_insert=True)
    detail = {"slug": project.slug, "ends_on": str(project.ends_on or "")}
    append(actor=actor, action="project.created", target=Target("project", project.id), detail=detail)
    return project


@operation(
    "project.change",
    permission=Permission.PROJECT_EDIT,
    events=("project.changed",),
    page="keys:project-change",
    api="api:project",
)
def change(*, actor: Actor, project_id: UUID, name: str, purpose: str, ends_on: date | None = None) -> Project:
    """Name, purpose and last day; the slug stays. Raises InvalidInput, NotFound, Conflict when it has ended."""
    require_active()
    project = lock_active(project_id)
    project.name = rules.require_text(name, field="name", maximum=80)
    project.purpose = rules.require_text(purpose, field="purpose", maximum=300)
    before = project.ends_on
    if ends_on != before:
        project.ends_on = rules.require_end_date(ends_on, field="ends_on", required=False)
    project.save(update_fields=["name", "purpose", "ends_on"])
    detail = {"ends_on": str(project.ends_on or ""), "before": str(before or "")}
    append(actor=actor, action="project.changed", target=Target("project", project.id), detail=detail)
    return project


@operation(
    "consumer.assign_project",
    permission=Permission.PROJECT_EDIT,
    events=("consumer.project_set",),
    page="keys:consumer-project",
    api="api:consumer-project",
)
def assign_consumer(*, actor: Actor, consumer_id: UUID, project: str) -> Consumer:
    """Put a consumer into a project, or into none. Raises InvalidInput, NotFound, Conflict when nothing changes."""
    require_active()
    held = Consumer.objects.filter(id=consumer_id).values_list("project_id", flat=True).first()
    chosen = find_project(project, beside=held)
    consumer = Consumer.objects.lock().filter(id=consumer_id).first()
    if consumer is None:
        raise NotFound
    if consumer.state != Consumer.State.ACTIVE:
        raise Conflict("The consumer has ended.", code="consumer_ended")
    refuse_same(consumer.project_id, chosen)
    leave_running(consumer.project_id)
    consumer.project = chosen
    consumer.save(update_fields=["project"])
    detail = {"project": str(chosen.id) if chosen else ""}
    append(actor=actor, action="consumer.project_set", target=Target("consumer", consumer.id), detail=detail)
    return consumer


def find_project(reference: str, *, beside: UUID | None = None) -> Project | None:
    """The live project that an id or slug names, locked in place; None for an empty one. Raises InvalidInput.

    `beside`: the project that is left, locked with it by id, so that two moves the other way round cannot deadlock.
    """
    if not reference:
        return None
    identifier = parse_id(reference)
    name, value = ("id", identifier) if identifier else ("slug", str(reference)[:60].replace("\0", ""))
    # Locked, so that nothing joins a project which is being ended.
    locked = Project.objects.lock().filter(Q(**{name: value}) | Q(id=beside)).order_by("id")
    found = next((row for row in locked if getattr(row, name) == value), None)
    if found is None or found.state != ProjectState.ACTIVE:
        raise InvalidInput("Project must be a live project of this tenant.", code="unknown_project", field="project")
    return found


def lock_active(project_id: UUID) -> Project:
    """The project, locked until the transaction ends. Raises NotFound, Conflict when it has ended."""
    project = Project.objects.lock().filter(id=project_id).first()
    if project is None:
        raise NotFound
    if project.state != ProjectState.ACTIVE:
        raise Conflict("The project has ended.", code="project_ended")
    return project


def refuse_same(before: UUID | None, chosen: Project | None) -> None:
    """Raises Conflict when nothing would change."""
    if before == (chosen.id if chosen else None):
        raise Conflict("It is in this project already.", code="same_project")


def leave_running(project_id: UUID | None) -> None:
    """Raises Conflict for what a project that has ended holds: nothing escapes its end."""
    if project_id is not None:
        lock_active(project_id)
