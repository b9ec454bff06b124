"""Every page of the staff door: it opens, obeys the strict policy, and hides from strangers."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib import admin
from django.db import ProgrammingError, connections, transaction
from django.test import Client
from django.utils import timezone

from audit.services.recording import Target
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from keys.models import Grant, KeyVersion, Proof
from keys.services import offboarding, policies
from tenants.models import Notice
from tenants.services import mails, notices
from tests.keys.ageing import set_floor
from tests.staff.door import address, enter, sign_in

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    from tenants.models import User
    from tests.world import Cast, World

FORBIDDEN = re.compile(r"\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:")


def staff_inbox(cast: Cast, reader: User) -> dict[str, UUID]:
    """A notice to this staff member, and the mail that carries it."""
    facts: dict[str, str | int] = {"tenant": cast.tenant.name, "tenant_id": str(cast.id)}
    facts |= {"count": 1, "day": "2026-11-01"}
    subject = Target("tenant", cast.id)
    with binding.bind_tenant(PLATFORM):
        with transaction.atomic():
            notices.notify(
                recipients=[reader.pk], kind="staff.nobody_acted", subject=subject, dedupe=str(cast.id), facts=facts
            )
            Notice.objects.filter(recipient_id=reader.pk).update(mail_at=timezone.now())
        mail = mails.gather(reader.pk)
        assert mail
        with binding.reading():
            return {"tenants_notice": Notice.objects.get(recipient_id=reader.pk).id, "tenants_mail": mail.id}


def pages_of(world: World, cast: Cast, reader: User) -> list[str]:
    """Every list, every add page, and a page of every object that a full tenant has."""
    key, credential = world.key(cast), world.consumer(cast)
    grant = world.grant(cast, key, credential)
    world.sequence()
    with world.inside(cast):
        proof = Proof.objects.filter(key_id=key.id).first()
        assert KeyVersion.objects.filter(key_id=key.id).exists()
        assert Grant.objects.filter(id=grant.id).exists()
    # Far ahead: a floor holds for every tenant of this database.
    floor = set_floor(world, starts_at=timezone.now() + timedelta(days=360))
    with world.bound(cast):
        policy = policies.set_tenant(actor=cast.actor, rules={"rotation_days": 90})
    actor = world.staff_actor()
    with world.bound(cast):
        run = offboarding.start(actor=actor, reason="contract_ended", confirmation=cast.slug)
    world.sequence()
    from audit.models import Entry  # noqa: PLC0415  # beside its use
    from byok_portal.boundary.models import Job  # noqa: PLC0415

    entry = Entry.objects.using("staff").filter(tenant_id=cast.id).first()
    job = Job.objects.using("staff").filter(tenant_id=cast.id).first()
    assert entry
    assert job
    assert proof
    objects = {
        **staff_inbox(cast, reader),
        "tenants_tenant": cast.id,
        "tenants_consumer": credential.consumer.id,
        "tenants_user": cast.owner.pk,
        "tenants_offboarding": run.id,
        "keys_key": key.id,
        "keys_grant": grant.id,
        "keys_proof": proof.id,
        "keys_provider": key.provider_id,
        "keys_platformpolicy": floor.id,
        "keys_policyedition": policy.id,
        "audit_entry": entry.pk,
        "boundary_job": job.id,
    }
    urls = [address("index"), f"{address('tenants_offboarding_add')}?tenant={cast.id}"]
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        if name == "audit_logstate":
            urls.append(address(f"{name}_changelist"))  # one page, without rows to open
            continue
        urls += [
            address(f"{name}_changelist"),
            f"{address(f'{name}_changelist')}?q={key.slug}",
            address(f"{name}_change", objects[name]),
            address(f"{name}_history", objects[name]),
        ]
    urls += [f"{address(f'{name}_changelist')}?tenant={cast.slug}" for name in objects if name not in NO_TENANT]
    urls += [
        address(f"{name}_add")
        for name in ("tenants_tenant", "tenants_consumer", "keys_provider", "keys_platformpolicy")
    ]
    urls += [
        address("tenants_consumer_token", credential.consumer.id),
        address("tenants_consumer_end", credential.consumer.id),
    ]
    urls += [address("tenants_consumer_revoke_token", credential.consumer.id, credential.token_id)]
    return [*urls, address("tenants_tenant_invite", cast.id)]


NO_TENANT = {"tenants_notice", "tenants_tenant", "tenants_user", "keys_provider", "keys_platformpolicy"}


def test_every_page_opens_and_has_no_inline_script_or_style(world: World) -> None:
    cast, reader = world.tenant(), world.staff()
    client, stranger = sign_in(reader), sign_in(cast.owner)
    for url in pages_of(world, cast, reader):
        response = client.get(url)
        assert response.status_code == 200, url
        assert FORBIDDEN.findall(response.content.decode()) == [], url
        assert "no-store" in response["Cache-Control"], url
        assert stranger.get(url).status_code == 404, url
        assert Client().get(url).status_code == 302, url


def page_of(client: Client, url: str) -> str:
    """A 404 page without what differs between any two: the form token and the address to come back to."""
    response = client.get(url)
    assert response.status_code == 404
    html = re.sub(r'(?<=name="csrfmiddlewaretoken" value=")[^"]*', "", response.content.decode())
    return html.replace(f'"{url}"', '""')


def test_a_stranger_gets_the_same_page_as_for_a_missing_address(world: World) -> None:
    client = sign_in(world.tenant().owner)
    missing = page_of(client, "/no-such-address/")
    for url in ("/staff/", "/staff/login/", "/staff/tenants/tenant/", "/staff/no-such-page/"):
        assert page_of(client, url) == missing
    assert client.post(address("tenants_tenant_add"), {"name": "Intruder"}).status_code == 404


def test_the_one_sign_in_of_the_portal_leads_to_the_staff_door_and_out_again(world: World) -> None:
    anonymous = Client()
    first = anonymous.get("/staff/keys/key/", follow=True)
    assert first.redirect_chain[-1][0] == "/accounts/login/?next=/staff/keys/key/"
    client = enter(world)
    assert client.get("/staff/login/")["Location"] == "/staff/"
    assert client.get("/staff/password_change/")["Location"] == "/accounts/password/reset/"
    assert client.post("/staff/logout/")["Location"] == "/accounts/login/"
    assert client.get("/staff/").status_code == 302


def test_only_doors_that_write_through_operations_are_registered() -> None:
    from byok_portal.boundary.staff import StaffAdmin  # noqa: PLC0415  # the app registry must be ready

    assert {type(each) for each in admin.site._registry.values() if not isinstance(each, StaffAdmin)} == set()


@pytest.mark.parametrize("table", ["keys_material", "keys_tenantkey", "audit_inbox"])
def test_the_staff_login_cannot_read(world: World, table: str) -> None:
    world.tenant()
    with connections["staff"].cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("byok_staff",)
        with pytest.raises(ProgrammingError, match="permission denied"):
            cursor.execute(f"SELECT 1 FROM {table}")  # noqa: S608  # a name from the list above


def test_the_staff_login_writes_no_tenant_row(world: World) -> None:
    cast = world.tenant()
    for statement in (
        "UPDATE tenants_tenant SET name = 'Taken' WHERE id = %s",
        "DELETE FROM tenants_membership WHERE tenant_id = %s",
        "DELETE FROM keys_provider WHERE id = %s",
        "UPDATE audit_entry SET leaf = 'x' WHERE tenant_id = %s",
    ):
        with (
            connections["staff"].cursor() as cursor,
            pytest.raises(ProgrammingError, match="permission denied"),
        ):
            cursor.execute(statement, [cast.id])


def test_no_page_shows_a_fingerprint_or_a_digest(world: World, admin_connection: psycopg.Connection) -> None:
    cast, client = world.tenant(), enter(world)
    pages = pages_of(world, cast, world.staff())
    hidden = admin_connection.execute(
        "SELECT encode(fingerprint, 'hex') FROM keys_keyversion WHERE tenant_id = %(t)s UNION ALL "
        "SELECT encode(global_fingerprint, 'hex') FROM keys_keyversion WHERE tenant_id = %(t)s UNION ALL "
        "SELECT encode(blob, 'hex') FROM keys_material WHERE tenant_id = %(t)s UNION ALL "
        "SELECT encode(digest, 'hex') FROM tenants_consumertoken WHERE tenant_id = %(t)s",
        {"t": cast.id},
    ).fetchall()
    assert len(hidden) >= 4
    for url in pages:
        html = client.get(url).content.decode().lower()
        assert [value for (value,) in hidden if value in html] == [], url
