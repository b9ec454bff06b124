"""Two tenants with a row in every table: real ones made through operations, invented ones where no operation ran."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from psycopg import sql

from byok_portal.boundary import actors
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.database.router import PORTAL_APPS
from byok_portal.boundary.grants import GLOBAL_TABLES
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.permissions import Permission
from tests.isolation.sweep import TENANT_COLUMN

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    from keys.models import Grant, Key
    from tenants.models import Project
    from tests.world import Cast, Credential, World


@dataclass(frozen=True, slots=True)
class Populated:
    """One tenant with everything in it."""

    cast: Cast
    key: Key
    ended_key: Key
    credential: Credential
    grant: Grant
    member_id: UUID
    job_id: UUID
    invitation_id: UUID
    document_id: UUID
    project: Project
    run_id: UUID
    incident_id: UUID
    task_id: UUID
    campaign_id: UUID
    drill_id: UUID

    @property
    def id(self) -> UUID:
        return self.cast.id


def tenant_models() -> list[type[models.Model]]:
    """Every model of the portal whose rows belong to a tenant, from the app registry."""
    return [
        model
        for model in apps.get_models()
        if model._meta.app_label in PORTAL_APPS and model._meta.db_table not in GLOBAL_TABLES
    ]


def tenant_column(model: type[models.Model]) -> str:
    """The column that names the tenant."""
    return TENANT_COLUMN.get(model._meta.db_table, "tenant_id")


def populate(world: World, admin: psycopg.Connection) -> Populated:
    """People, consumers, keys, a grant, a use, a revocation with its job, numbered and waiting events."""
    from audit.services import documents  # noqa: PLC0415  # the app registry must be ready
    from audit.services.recording import Target  # noqa: PLC0415
    from byok_portal.boundary.models import Job  # noqa: PLC0415
    from keys.models import Campaign, Drill  # noqa: PLC0415
    from keys.services import exposing, leaving, lifecycle, uses  # noqa: PLC0415  # the app registry must be ready
    from tenants.models import Membership  # noqa: PLC0415
    from tenants.selectors import list_runs  # noqa: PLC0415
    from tenants.services import consumers, members, projects  # noqa: PLC0415

    cast = world.tenant()
    key, ended, credential = world.key(cast), world.key(cast), world.consumer(cast)
    suspected = world.key(cast)
    grant = world.grant(cast, key, credential, rate_per_minute=100)
    caller = actors.consumer(
        credential.consumer.id,
        tenant_id=cast.id,
        scopes=frozenset({Permission.KEY_USE}),
        label="",
        origin=Origin(address="127.0.0.1"),
    )
    with world.bound(cast):
        for _ in range(2):
            uses.use(
                actor=caller,
                token_id=credential.token_id,
                key_reference=key.slug,
                scope="secrets:read",
                purpose="report",
            )
        lifecycle.revoke(actor=cast.actor, key_id=ended.id, reason="superseded")
        world.sequence()
        incident = exposing.quarantine(actor=cast.actor, key_id=suspected.id)
        lifecycle.suspend(actor=cast.actor, key_id=key.id)
        lifecycle.resume(actor=cast.actor, key_id=key.id)
        project = projects.create(actor=cast.actor, name=world.name("trial"), purpose="A trial")
        leaver = consumers.register(actor=cast.actor, name=world.name("old"), kind="service", environment="staging")
        leaving.end_consumer(actor=cast.actor, consumer_id=leaver.id, reason="dormant")
        issued = members.invite(actor=cast.actor, email=f"{world.name('new')}@{cast.slug}.example", role="auditor")
        with transaction.atomic():
            about = Target("tenant", cast.id)
            document = documents.issue(
                actor=cast.actor, kind="report", subject=about, statement={}, events=[], title="Report"
            )
    with world.inside(cast):
        member_id = Membership.objects.exclude(user_id=cast.owner.pk).filter(is_active=True)[0].id
        run_id = list_runs()[0].id
        task_id = incident.tasks.order_by("position")[0].id
        job_id = Job.objects.filter(tenant_id=cast.id)[0].id
    for model in tenant_models():
        if not rows_of(admin, model, cast.id):
            invent(admin, model, cast.id)
    return Populated(
        *(cast, key, ended, credential, grant, member_id, job_id, issued.invitation.id),
        document_id=document.id,
        project=project,
        run_id=run_id,
        incident_id=incident.id,
        task_id=task_id,
        campaign_id=rows_of(admin, Campaign, cast.id)[0]["id"],
        drill_id=rows_of(admin, Drill, cast.id)[0]["id"],
    )


def rows_of(admin: psycopg.Connection, model: type[models.Model], tenant_id: UUID) -> list[dict[str, Any]]:
    """The tenant's rows as the superuser sees them, by column."""
    # In an order of their own: where a row lies changes without it (a vacuum, a scan that joins another's).
    query = sql.SQL("SELECT * FROM {} AS each WHERE {} = %s ORDER BY each::text").format(
        sql.Identifier(model._meta.db_table), sql.Identifier(tenant_column(model))
    )
    cursor = admin.execute(query, [tenant_id])
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def invent(admin: psycopg.Connection, model: type[models.Model], tenant_id: UUID) -> None:
    """Insert a made-up row with a value per column type. Foreign keys are off: this tests policies, not links."""
    values: dict[str, Any] = {str(field.column): _value(field) for field in model._meta.concrete_fields}
    values[tenant_column(model)] = tenant_id
    with admin.transaction():
        admin.execute("SET LOCAL session_replication_role = replica")
        admin.execute(insertion(model, values), list(values.values()))


def insertion(model: type[models.Model], values: dict[str, Any]) -> sql.Composed:
    """INSERT with one placeholder per value."""
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(model._meta.db_table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join([sql.Placeholder()] * len(values)),
    )


def _value(field: Any) -> Any:
    if field.has_default():
        value = field.get_default()
        return json.dumps(value) if isinstance(field, models.JSONField) else value
    if field.null:
        return None
    if field.choices:
        return field.choices[0][0]
    for kind, make in _MAKERS.items():
        if isinstance(field, kind):
            return make()
    message = f"{field}: tell the inventor how to make a {type(field).__name__}"
    raise NotImplementedError(message)


_NOW = dt.datetime.now(dt.UTC)
_MAKERS: dict[type[Any], Any] = {
    models.ForeignKey: new_id,
    models.UUIDField: new_id,
    models.DateTimeField: lambda: _NOW,
    models.DateField: _NOW.date,
    models.BinaryField: lambda: b"\0" * 32,
    models.JSONField: lambda: "{}",
    models.IntegerField: lambda: 1,
    models.BooleanField: lambda: False,
    models.CharField: lambda: "x",
    models.TextField: lambda: "x",
    ArrayField: list,
}
