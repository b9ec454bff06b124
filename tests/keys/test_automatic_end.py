"""What an agreed last day ends: refused from the day after with no job having run, started by the clock once."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.utils import timezone

from byok_portal.boundary.models import Job
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, Forbidden
from keys import posture, tasks
from keys.findings import Kind
from keys.services import introspection, offboarding, projects
from tenants.models import Notice, Offboarding, Project, Tenant
from tenants.services import projects as tenant_projects
from tenants.services import tenants

if TYPE_CHECKING:
    import psycopg

    from byok_portal.boundary.actors import Actor
    from keys.models import Key
    from tests.world import Cast, Credential, World

YESTERDAY = timedelta(days=1)


def ends(admin: psycopg.Connection, table: str, column: str, identifier: object, day: date) -> None:
    admin.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [day, identifier])  # noqa: S608  # of this file


def use(cast: Cast, credential: Credential, key: Key) -> tuple[int, str]:
    answer = Client(headers=credential.headers).post(
        f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/",
        json.dumps({"scope": "secrets:read", "purpose": "report"}),
        content_type="application/json",
    )
    return answer.status_code, answer.json()["code"]


def test_the_end_of_the_contract_ends_an_agreeing_tenant_by_itself_once(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast, token = world.tenant(), world.bao_token()
    key, credential = world.key(cast, token=token), world.consumer(cast)
    world.grant(cast, key, credential)
    today = timezone.now().date()
    with world.bound(cast):
        with pytest.raises(Forbidden):
            tenants.agree_automatic_end(actor=world.actor(cast, cast.auditor, "auditor"), agreed=True)
        tenants.agree_automatic_end(actor=cast.actor, agreed=True)
        with pytest.raises(Conflict) as same:
            tenants.agree_automatic_end(actor=cast.actor, agreed=True)
    assert same.value.code == "same_agreement"
    ends(admin_connection, "tenants_tenant", "contract_ends_on", cast.id, today)
    tasks.end_by_date()
    assert use(cast, credential, key) == (200, "allowed"), "it works through its last day"
    ends(admin_connection, "tenants_tenant", "contract_ends_on", cast.id, today - YESTERDAY)
    assert use(cast, credential, key) == (403, "tenant_not_active"), "no job has run"
    with world.bound(cast):
        asked = introspection.introspect(actor=_asker(cast), plaintext=Secret(token.token))
    assert asked.active is False
    assert tasks.end_by_date() >= 1
    with world.bound(cast), pytest.raises(Conflict) as again:
        offboarding.start_by_contract(actor=_worker(), day=today)
    assert again.value.code == "not_due"
    with world.inside(cast):
        run = Offboarding.objects.get()
        assert (run.subject_kind, run.is_automatic, run.started_by_kind) == ("tenant", True, "worker")
        assert Tenant.objects.get(id=cast.id).state == "offboarding"
        assert Job.objects.filter(tenant_id=cast.id, kind=offboarding.ADVANCE).count() == 1
        told = Notice.objects.filter(kind="offboarding.started").values_list("recipient_id", flat=True)
        assert set(told) == {cast.owner.pk, cast.backup.pk}


def test_without_agreement_nothing_ends_by_itself_and_it_is_found(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    yesterday = timezone.now().date() - YESTERDAY
    with world.bound(cast):
        made = tenant_projects.create(actor=cast.actor, name="Winter trial", purpose="A trial")
        projects.assign_key(actor=cast.actor, key_id=key.id, project=made.slug)
    ends(admin_connection, "tenants_project", "ends_on", made.id, yesterday)
    tasks.end_by_date()
    assert use(cast, credential, key) == (200, "allowed")
    tasks.remind_on(timezone.now().date())
    with world.inside(cast):
        assert not Offboarding.objects.exists()
        [found] = [each.finding for each in posture.list_found(key.id) if each.finding.kind is Kind.END_PASSED]
        assert found.evidence["what"] == "project"
        said = Notice.objects.filter(kind="project.end_passed")
        assert set(said.values_list("recipient_id", flat=True)) == {cast.owner.pk, cast.backup.pk}
        assert said[0].facts["project_slug"] == made.slug
    with world.bound(cast), pytest.raises(Conflict) as over:
        tenants.agree_automatic_end(actor=cast.actor, agreed=True)
    assert (over.value.code, "project Winter trial" in over.value.detail) == ("already_over", True)
    tasks.end_by_date()
    assert use(cast, credential, key) == (200, "allowed"), "nothing has begun behind anybody's back"
    ends(admin_connection, "tenants_project", "ends_on", made.id, yesterday + YESTERDAY)
    with world.bound(cast):
        tenants.agree_automatic_end(actor=cast.actor, agreed=True)
    ends(admin_connection, "tenants_project", "ends_on", made.id, yesterday)
    assert use(cast, credential, key) == (403, "key_revoked"), "agreed before, so its day counts"
    assert tasks.end_by_date() >= 1
    with world.inside(cast):
        run = Offboarding.objects.get()
        assert (run.subject_kind, run.subject_id, run.is_automatic) == ("project", made.id, True)
        assert Project.objects.get(id=made.id).state == "ended"
        assert Tenant.objects.get(id=cast.id).state == "active"


def _asker(cast: Cast) -> Actor:
    from byok_portal.boundary import actors  # noqa: PLC0415  # beside its use
    from byok_portal.boundary.actors import Origin  # noqa: PLC0415
    from byok_portal.boundary.permissions import Permission  # noqa: PLC0415

    asking = frozenset({Permission.CREDENTIAL_INTROSPECT})
    return actors.consumer(cast.id, tenant_id=cast.id, scopes=asking, label="", origin=Origin(address="127.0.0.1"))


def _worker() -> Actor:
    from byok_portal.boundary import actors  # noqa: PLC0415  # beside its use
    from byok_portal.boundary.identifiers import PLATFORM  # noqa: PLC0415

    return actors.worker(PLATFORM)
