"""The story of the portal, through its doors only: admin, web, API, workers; real PostgreSQL, real OpenBao."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from playwright.sync_api import sync_playwright

from tests.canary import find_in_bytes, find_in_database, find_in_files, forms_of, mail_folder
from tests.journey.visitor import Visitor, shown_once, visitor
from tests.portal import Portal, running, wait_until
from tests.world import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from tests.world import World


@pytest.fixture
def portal(world: World, tmp_path: Path) -> Iterator[Portal]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def doors(portal: Portal) -> Iterator[Any]:
    with sync_playwright() as playwright:
        yield lambda: visitor(playwright, portal.url)


def sign_in(person: Visitor, email: str, path: str) -> None:
    person.post("/accounts/login/", {"login": email, "password": PASSWORD})
    person.get(path)


def open_tenant(staff: Visitor, slug: str) -> str:
    ends = timezone.now().date() + timedelta(days=200)
    page = staff.post(
        "/staff/tenants/tenant/add/",
        {
            "name": slug.title(),
            "slug": slug,
            "contract_ends_on": ends,
            "owner_email": f"owner@{slug}.example",
        },
    )
    return shown_once(page)


def accept(person: Visitor, link: str) -> None:
    path = "/" + link.split("/", 3)[3]
    person.post(path, {"name": "Tenant owner", "password": PASSWORD})


def test_a_tenant_brings_a_key_a_service_uses_it_and_offboarding_ends_it(  # noqa: PLR0915  # one story, told in order
    world: World, portal: Portal, doors: Any, admin_connection: psycopg.Connection
) -> None:
    staff_user, acme, globex = world.staff(), world.name("acme"), world.name("globex")
    upstream_user = world.name("reader")
    first, second = world.bao_token(upstream_user), world.bao_token(upstream_user)
    stranger = world.bao_token()
    staff, owner, backup, rival, robot = doors(), doors(), doors(), doors(), doors()

    # 1. Staff open Acme (and Globex) and register the partner system.
    sign_in(staff, staff_user.email, "/staff/")
    accept(owner, open_tenant(staff, acme))
    accept(rival, open_tenant(staff, globex))
    tenant_id = admin_connection.execute("SELECT id FROM tenants_tenant WHERE slug = %s", [acme]).fetchone()[0]  # type: ignore[index]
    token = shown_once(
        staff.post(
            "/staff/tenants/consumer/add/",
            {
                "tenant": tenant_id,
                "name": "report-service",
                "kind": "service",
                "environment": "production",
                "operated_by": "platform",
                "contact": "",
                "scopes": ["key:use"],
                "days": "30",
            },
        )
    )
    row = admin_connection.execute("SELECT id FROM tenants_consumer WHERE tenant_id = %s", [tenant_id]).fetchone()
    consumer_id = row[0] if row else None
    bearer = {"Authorization": f"Bearer {token}"}

    # 2. The owner invites a backup, then registers a key with a chosen scope and a real token.
    invited = owner.post(f"/t/{acme}/invite/", {"email": f"backup@{acme}.example", "role": "owner"})
    accept(backup, shown_once(invited))
    people: dict[str, Any] = dict(
        admin_connection.execute(
            "SELECT u.email, u.id FROM tenants_user u JOIN tenants_membership m ON m.user_id = u.id "
            "WHERE m.tenant_id = %s",
            [tenant_id],
        ).fetchall()
    )
    registration = {
        "provider": "openbao",
        "name": "Nightly reports",
        "environment": "production",
        "custody": "sealed",
        "endpoint": world.bao_server.address,
        "param_mount": "secret",
        "param_prefix": "reports/",
        "scope": ["secrets:read"],
        "purpose": "Nightly report",
        "owner": people[f"owner@{acme}.example"],
        "backup_owner": people[f"backup@{acme}.example"],
        "ends_on": timezone.now().date() + timedelta(days=90),
        "justification": "",
    }
    form = f"/t/{acme}/register-key/?provider=openbao"
    world.bao.revoke_accessor(stranger.accessor)
    refused = owner.post(form, {**registration, "secret": stranger.token}, status=422)
    assert "refuses this credential" in refused
    owner.post(form, {**registration, "secret": first.token})
    key = f"/t/{acme}/keys/nightly-reports/"

    # 3. Control is proven: the evidence and the excess are on the page; nothing can use it before activation.
    detail = owner.get(key)
    assert first.accessor in detail
    assert "report-reader" in detail
    use = f"/api/v1/tenants/{acme}/keys/nightly-reports/use/"
    asked = {"scope": "secrets:read", "purpose": "nightly report"}
    assert robot.call("POST", use, headers=bearer, data=asked).status == 404
    owner.post(f"{key}activate/", {"accept_excess": "on", "note": "Listing is part of the reader policy"})

    # 4. The owner grants one scope for 30 days from one network.
    owner.post(
        f"{key}grant/",
        {
            "consumer": consumer_id,
            "scope": ["secrets:read"],
            "delivery": ["decision", "lease", "broker"],
            "days": "30",
            "networks": "127.0.0.1/32",
            "rate_per_minute": "",
            "reason": "Nightly report",
        },
    )

    # 5. The service asks for a decision, a lease, and reads a real secret through the portal.
    decision = robot.call("POST", use, headers=bearer, data=asked)
    assert decision.status == 200, decision.text()
    lease = Visitor(robot.context).call("POST", use, headers=bearer, data={**asked, "delivery": "lease"})
    assert lease.json()["lease"]["secret"] == first.token
    proxy = f"/api/v1/tenants/{acme}/keys/nightly-reports/proxy"
    purposed = {**bearer, "Byok-Purpose": "nightly report"}
    read = robot.call("GET", f"{proxy}/v1/secret/data/reports/q3", headers=purposed)
    assert read.json()["data"]["data"] == {"total": "42"}
    for method, path in (("GET", "/v1/secret/data/payroll/q3"), ("DELETE", "/v1/secret/data/reports/q3")):
        denied = robot.call(method, proxy + path, headers=purposed)
        assert denied.status == 403
        assert denied.headers["audit-id"]

    # 6. The owner sees each use; staff see it too, without any secret; Globex sees none of it.
    def numbered() -> bool:
        page = owner.get(f"/t/{acme}/audit/?action=key.used")
        return "call_not_allowed" in page and page.count("report-service") >= 4

    wait_until(numbered, seconds=40)
    trail = owner.get(f"/t/{acme}/audit/?action=key.used")
    for word in ("allowed", "denied", "secrets:read", "127.0.0.1/32", "report-service"):
        assert word.lower() in trail.lower(), word
    assert "key.used" in staff.get("/staff/audit/entry/")
    missing = rival.get(f"/t/{world.name('nobody')}/keys/", status=404)
    for path in (f"/t/{acme}/", key, f"/t/{acme}/audit/", f"/t/{acme}/consumers/", f"/t/{acme}/members/"):
        assert rival.get(path, status=404) == missing
    assert rival.call("POST", use, headers={}, data=asked).status == 401

    # 7. Rotation with a drain window; another account's token is refused; then the end, here and at OpenBao.
    other = world.bao_token()
    rotate = {"drain": "24", "accept_excess": "on", "note": "Yearly rotation"}
    assert "another account" in owner.post(f"{key}rotate/", {**rotate, "secret": other.token}, status=422)
    owner.post(f"{key}rotate/", {**rotate, "secret": second.token})
    assert robot.call("POST", use, headers=bearer, data=asked).json()["version"] == 2
    assert robot.call("POST", use, headers=bearer, data={**asked, "version": 1}).json()["version"] == 1
    ended = {"reason": "cessation_of_operation", "note": "", "confirm_name": "Nightly reports"}
    owner.post(f"{key}revoke/", ended)
    refusal = robot.call("POST", use, headers=bearer, data=asked)
    assert (refusal.status, refusal.json()["code"]) == (403, "key_revoked")
    wait_until(lambda: confirmed_versions(admin_connection, tenant_id) == 2, seconds=60)
    assert owner.get(key).lower().count("confirmed dead") >= 2
    assert world.bao.find_accessor(first.accessor) is None
    assert world.bao.find_accessor(second.accessor) is None

    # 8. Offboarding: refused from the commit on; the worker is killed in the middle and it still ends.
    third = world.bao_token()
    owner.post(form, {**registration, "name": "Last one", "secret": third.token})
    owner.post(f"/t/{acme}/keys/last-one/activate/", {"accept_excess": "on", "note": "Reader policy"})
    grant = {"consumer": consumer_id, "scope": ["secrets:read"], "delivery": ["decision"], "days": "5"}
    owner.post(f"/t/{acme}/keys/last-one/grant/", {**grant, "networks": "", "rate_per_minute": "", "reason": "Last"})
    last = f"/api/v1/tenants/{acme}/keys/last-one/use/"
    assert robot.call("POST", last, headers=bearer, data=asked).status == 200
    start = {"tenant": tenant_id, "reason": "contract_ended", "note": ""}
    review = staff.post("/staff/tenants/offboarding/add/", start)
    assert "Will be refused" in review
    digest = re.search(r'name="digest" value="([0-9a-f]{64})"', review)
    assert digest
    staff.post("/staff/tenants/offboarding/add/", {**start, "confirmation": acme, "digest": digest[1]})
    after = robot.call("POST", last, headers=bearer, data=asked)
    assert (after.status, after.json()["code"]) in {(403, "tenant_not_active"), (401, "unauthenticated")}
    portal.kill("worker")
    portal.start("worker")
    wait_until(lambda: tenant_state(admin_connection, acme) == "offboarded", seconds=60)
    progress = owner.get(f"/t/{acme}/offboarding/")
    assert "Destroy the tenant" in progress
    assert world.bao.find_accessor(third.accessor) is None
    assert world.bao.count_audit("auth/token/revoke-self", third.accessor) == 1

    # The canary: no credential is anywhere in the world that it passed through.
    time.sleep(0.5)
    people_heard = "\n".join(text for each in (staff, owner, backup, rival, robot) for text in each.heard)
    for secret in (first.token, second.token, third.token, stranger.token, other.token):
        assert find_in_database(admin_connection, secret) == []
        assert find_in_files([portal.folder, mail_folder()], secret) == []
        assert find_in_bytes("answers", people_heard.encode(), forms_of(secret)) == []
    assert find_in_database(admin_connection, token) == []
    assert find_in_files([portal.folder], token) == []
    assert json.dumps(people_heard).count(token) <= 3


def confirmed_versions(admin: psycopg.Connection, tenant_id: Any) -> int:
    row = admin.execute(
        "SELECT count(*) FROM keys_keyversion WHERE tenant_id = %s AND upstream_status = 'revoked_confirmed'",
        [tenant_id],
    ).fetchone()
    return int(row[0]) if row else 0


def tenant_state(admin: psycopg.Connection, slug: str) -> str:
    row = admin.execute("SELECT state FROM tenants_tenant WHERE slug = %s", [slug]).fetchone()
    assert row
    return str(row[0])
