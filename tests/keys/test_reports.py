"""The report of an incident, issued as a document: it verifies when the portal and its database are gone."""

from __future__ import annotations

import json
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from byok_portal.boundary import actors
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.permissions import Permission
from keys.services import exposing, uses
from tests.audit.verifying import run_copy
from tests.pages.browser import at, sign_in

if TYPE_CHECKING:
    from pathlib import Path

    from byok_portal.boundary.actors import Actor
    from tests.world import Cast, Credential, World


def exposed(world: World) -> tuple[Cast, Credential, Any]:
    """A key that was used, and then suspected; all of it numbered."""
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast, scopes=("audit:read", "incident:respond", "key:use"))
    world.grant(cast, key, credential)
    with world.bound(cast):
        uses.use(
            actor=caller_of(cast, credential),
            token_id=credential.token_id,
            key_reference=key.slug,
            scope="secrets:read",
            purpose="nightly report",
        )
        since = timezone.now() - timedelta(hours=1)
        incident = exposing.compromise(actor=cast.actor, key_id=key.id, reason="key_compromise", suspected_since=since)
    call_command("sequencer", "--once")
    return cast, credential, incident


def caller_of(cast: Cast, credential: Credential) -> Actor:
    scopes = frozenset({Permission.KEY_USE})
    origin = Origin(address="127.0.0.1")
    return actors.consumer(credential.consumer.id, tenant_id=cast.id, scopes=scopes, label="", origin=origin)


def test_an_issued_report_verifies_offline_with_the_entries_that_it_rests_on(world: World, tmp_path: Path) -> None:
    cast, credential, incident = exposed(world)
    client = Client(headers=credential.headers)
    base = f"/api/v1/tenants/{cast.slug}"
    issued = client.post(f"{base}/incidents/{incident.id}/report/issue/", headers={"Idempotency-Key": "one"})
    assert issued.status_code == 201, issued.content
    again = client.post(f"{base}/incidents/{incident.id}/report/issue/", headers={"Idempotency-Key": "one"})
    assert again.json() == issued.json()
    call_command("sequencer", "--once")
    answer: Any = client.get(f"{base}/documents/{issued.json()['id']}/bundle/")
    path = tmp_path / "report.zip"
    path.write_bytes(b"".join(answer.streaming_content))
    with zipfile.ZipFile(path) as archive:
        archive.extract("log.vkey", tmp_path)
        statement = json.loads(archive.read("document.json"))["statement"]
        assert b"@" not in archive.read("document.html").replace(b"@media", b"")
    checked = run_copy(tmp_path, path, "--log-key", tmp_path / "log.vkey")
    assert checked.code == 0, checked.out + checked.err
    assert "1 key.compromised" in checked.out
    assert "key.used" in checked.out
    assert statement["incident"]["exposure"] == "confirmed"
    assert [step["action"] for step in statement["timeline"]].count("key.compromised") == 1


def test_the_page_issues_it_and_leads_to_the_document(world: World) -> None:
    cast, _, incident = exposed(world)
    browser = sign_in(cast.owner)
    answer = browser.post(at("keys:incident-issue", cast, incident.id))
    assert answer.status_code == 302
    assert "/audit/documents/" in answer["Location"]
    assert browser.get(answer["Location"]).status_code == 200
    assert answer["Location"] in browser.get(at("keys:incident-report", cast, incident.id)).content.decode()
    assert sign_in(cast.auditor).post(at("keys:incident-issue", cast, incident.id)).status_code == 403
