from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError

from audit.canonical import canonicalise
from audit.models import Document, Entry
from byok_portal.errors import Conflict
from keys import certificates
from keys.models import KeyVersion
from keys.services import certifying, offboarding
from tenants.models import Offboarding, OffboardingStep
from tenants.selectors import find_certificate
from tests.audit.verifying import run_copy
from tests.keys.test_endings import end_project, make_project, work
from tests.pages.browser import at, sign_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World


def plain(value: Any) -> bool:
    """Whether it is JSON and nothing else, all the way down."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and plain(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in {str, int, bool}


def test_the_statement_of_a_tenants_end_says_what_was_done_and_nothing_personal(world: World) -> None:
    cast, staff = world.tenant(), world.staff_actor()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    with world.bound(cast):
        run = offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
    with world.inside(cast), pytest.raises(Conflict) as early:
        certificates.statement_of(Offboarding.objects.get())
    assert early.value.code == "offboarding_runs"
    assert work(world, cast, run.id) == "done"
    world.sequence()
    with world.inside(cast):
        done = Offboarding.objects.get()
        statement, events = certificates.statement_of(done), certificates.events_of(done)
        version = KeyVersion.objects.get()
        numbered = Entry.objects.filter(tenant_id=cast.id, event_id__in=events)
        actions = sorted(entry.action for entry in numbered)
    assert plain(statement)
    canonicalise(statement)
    assert statement["subject"] == {"kind": "tenant", "id": str(cast.id), "slug": cast.slug}
    assert statement["times"]["requested"] <= statement["times"]["refused_from"] <= statement["times"]["finished"]
    assert statement["counts"] == {"steps": 5, "done": 5, "residual": 0, "settled_by_hand": 0}
    assert [step["kind"] for step in statement["steps"]] == [
        "revoke_key",
        "revoke_upstream",
        "end_consumer",
        "shred_keys",
        "close",
    ]
    assert [(each["number"], each["upstream"]) for each in statement["versions"]] == [(1, "revoked_confirmed")]
    assert statement["shred"]["remaining"] == {"live_keys": 0, "live_grants": 0, "live_consumers": 0}
    assert "backup" in statement["shred"]["statement"]
    text = json.dumps(statement)
    assert "@" not in text
    assert bytes(version.fingerprint).hex() not in text
    assert len(events) == len(set(events)) == len(actions)
    assert {
        "tenant.offboarding_started",
        "offboarding.planned",
        "key.revoked",
        "key.upstream_revoked",
        "consumer.ended",
        "tenant.keys_shredded",
        "tenant.offboarded",
    } <= set(actions)


def test_the_statement_of_a_project_tells_a_word_of_people_from_a_providers_answer(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    made = make_project(world, cast, key)
    run = end_project(world, cast, made)
    with world.inside(cast):
        step = OffboardingStep.objects.get(kind="revoke_upstream")
        OffboardingStep.objects.filter(id=step.id).update(state="calling")
        said = {"instruction": "Delete it there", "note": "Silent"}
        OffboardingStep.objects.filter(id=step.id).update(state="residual", **said)
    assert work(world, cast, run.id) == "done"
    with world.inside(cast):
        [issued] = Document.objects.values_list("body", flat=True)
    with world.bound(cast):
        offboarding.settle_residual(actor=cast.actor, run_id=run.id, position=step.position, note="Done")
    with world.inside(cast):
        again = Document.objects.order_by("-created_at")[0].body
        statement = certificates.statement_of(Offboarding.objects.get())
    assert [json.loads(text)["statement"]["counts"]["residual"] for text in (issued, again)] == [1, 0]
    assert json.loads(again)["statement"] == statement
    [residual] = statement["residuals"]
    assert (residual["instruction"], residual["settled_by_hand"]) == ("Delete it there", True)
    assert residual["settled_by"] == {"kind": "person", "id": str(cast.owner.pk), "role": "owner"}
    assert [each["upstream"] for each in statement["versions"]] == ["valid"]
    assert statement["started_by"]["role"] == "owner"
    assert statement["shred"]["versions"] == 1


def test_the_certificate_verifies_offline_when_the_tenant_and_its_keys_are_gone(world: World, tmp_path: Path) -> None:
    cast, staff = world.tenant(), world.staff_actor()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    with world.bound(cast):
        run = offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
    assert work(world, cast, run.id) == "done"
    call_command("sequencer", "--once")
    browser = sign_in(cast.owner)
    leads = browser.get(at("tenants:certificate", cast))
    assert leads.status_code == 302, leads.content
    assert leads["Location"] in browser.get(at("tenants:offboarding", cast)).content.decode()
    assert "Offboarding certificate" in browser.get(leads["Location"]).content.decode()
    taken: Any = browser.get(f"{leads['Location']}bundle.zip")
    path = tmp_path / "certificate.zip"
    path.write_bytes(b"".join(taken.streaming_content))
    with zipfile.ZipFile(path) as archive:
        archive.extract("log.vkey", tmp_path)
        document = json.loads(archive.read("document.json"))
    answer = run_copy(tmp_path, path, "--log-key", tmp_path / "log.vkey", "--tenant", cast.id)
    assert answer.code == 0, answer.out + answer.err
    for part in ("1 key.revoked", "1 key.upstream_revoked", "1 tenant.keys_shredded", "1 tenant.offboarded"):
        assert part in answer.out
    assert document["statement"]["tenant"]["state"] == "offboarded"


def test_each_end_of_one_subject_has_its_own_certificate(world: World) -> None:
    cast, other = world.tenant(), world.tenant()
    first = end_project(world, cast, make_project(world, cast, world.key(cast)))
    with world.inside(cast):
        assert find_certificate(Offboarding.objects.get()) is None
    assert work(world, cast, first.id) == "done"
    with world.inside(cast):
        run = Offboarding.objects.get()
        own = find_certificate(run)
        assert own is not None
        assert own.id == Document.objects.get().id
        # Of the same subject, later: found by subject and time, each would pass for the other's.
        again = Offboarding.objects.create(
            subject_kind=run.subject_kind,
            subject_id=run.subject_id,
            reason=run.reason,
            state="done",
            event_ids=[],
            started_by_id=cast.owner.pk,
            started_by_kind="person",
            finished_at=run.finished_at,
        )
        assert find_certificate(again) is None
        later = certifying.issue(cast.actor, again)
    with world.inside(cast):
        found = [find_certificate(each) for each in Offboarding.objects.order_by("created_at")]
    assert [each and each.id for each in found] == [own.id, later.id]
    with world.inside(other):
        assert find_certificate(again) is None
    with pytest.raises(DatabaseError), world.inside(other):
        Offboarding.objects.create(
            subject_kind="tenant",
            subject_id=other.id,
            reason="contract_ended",
            started_by_id=other.owner.pk,
            certificate_id=own.id,
        )
