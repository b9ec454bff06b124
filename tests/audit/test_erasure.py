"""Erasing personal data: gone beside the entries, recorded, and the entries stay as they were."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from audit.models import Entry
from audit.services import erasure
from byok_portal.boundary import binding
from byok_portal.errors import Forbidden, InvalidInput, NotFound
from tests.audit.recordings import act, body_of, opened, sealed_of

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    from byok_portal.boundary.actors import Actor
    from tests.world import Cast, World


def erased(cast: Cast, kind: str, subject_id: UUID, actor: Actor | None = None) -> erasure.Erasure:
    with binding.bind_tenant(cast.id):
        return erasure.erase(actor=actor or cast.actor, kind=kind, subject_id=subject_id)


def test_erasing_one_event_leaves_its_entry_and_says_so(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    event, other = act(cast), act(cast)
    world.sequence()
    with world.inside(cast):
        leaf = Entry.objects.get(event_id=event).leaf
    done = erased(cast, "event", event)
    assert done.count == 1
    assert opened(cast, event, other).keys() == {other}
    body = body_of(admin_connection, done.audit_id)
    assert (body["action"], body["detail"]) == ("audit.personal_data_erased", {"count": 1})
    assert body["target"] == {"kind": "event", "id": str(event)}
    with world.inside(cast):
        assert Entry.objects.get(event_id=event).leaf == leaf
    assert erased(cast, "event", event).count == 0


def test_erasing_a_person_takes_what_they_did_and_what_was_done_to_them(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast, bystander = world.tenant(), world.tenant()
    backup = world.actor(cast, cast.backup, "owner")
    did, others, elsewhere = act(cast, backup), act(cast), act(bystander)
    world.sequence()
    with world.inside(cast):
        entries = [e for e in Entry.objects.all() if cast.backup.pk in (e.actor_id, e.target_id)]
        theirs = [e.event_id for e in entries]
    assert did in theirs
    assert len(theirs) > 1  # their invitation and their joining too
    held = opened(cast, *theirs)
    done = erased(cast, "person", cast.backup.pk)
    assert done.count == len(held) > 1
    assert opened(cast, *theirs) == {}
    assert opened(cast, others).keys() == {others}
    assert opened(bystander, elsewhere).keys() == {elsewhere}


def test_only_owners_erase_and_only_what_exists_in_their_tenant(world: World) -> None:
    cast, stranger = world.tenant(), world.tenant()
    event = act(cast)
    world.sequence()
    with pytest.raises(Forbidden):
        erased(cast, "event", event, world.actor(cast, cast.auditor, "auditor"))
    with pytest.raises(NotFound):
        erased(stranger, "event", event)
    with pytest.raises(InvalidInput):
        erased(cast, "tenant", cast.id)
    assert erased(stranger, "person", cast.actor.id).count == 0
    assert opened(cast, event).keys() == {event}


def test_the_api_erases_with_its_own_scope_only(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    event = act(cast)
    world.sequence()
    path, document = f"/api/v1/tenants/{cast.slug}/audit/erasures/", {"kind": "event", "id": str(event)}
    reader, eraser = (world.consumer(cast, scopes=(scope,)) for scope in ("audit:read", "audit:erase"))
    refused = Client().post(path, document, content_type="application/json", headers=reader.headers)
    assert refused.status_code == 403
    assert sealed_of(admin_connection, event) is not None
    answer = Client().post(path, document, content_type="application/json", headers=eraser.headers)
    assert (answer.status_code, answer.json()["count"]) == (201, 1)
    assert answer.json()["audit_id"] == answer["Audit-Id"] == answer["X-Request-Id"]
    assert body_of(admin_connection, answer.json()["audit_id"])["req"] == ""
    assert sealed_of(admin_connection, event) is None


def test_an_event_without_a_number_is_erased_by_its_id(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    world.sequence()
    event = act(cast)
    assert erased(cast, "event", event).count == 1
    assert sealed_of(admin_connection, event) is None
    world.sequence()
    with world.inside(cast):
        assert Entry.objects.filter(event_id=event).exists()


def test_what_has_no_number_yet_is_erased_where_the_same_name_acted(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    backup = world.actor(cast, cast.backup, "owner")
    act(cast, backup)
    world.sequence()
    theirs, others = act(cast, backup), act(cast)
    done = erased(cast, "person", cast.backup.pk)
    assert sealed_of(admin_connection, theirs) is None
    assert sealed_of(admin_connection, others) is not None
    assert done.waiting == 1
    world.sequence()
    assert erased(cast, "person", cast.backup.pk).waiting == 0


def test_an_erasure_walks_every_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "BATCH", 2)
    cast = world.tenant()
    backup = world.actor(cast, cast.backup, "owner")
    events = [act(cast, backup) for _ in range(5)]
    world.sequence()
    assert erased(cast, "person", cast.backup.pk).count >= 5
    assert opened(cast, *events) == {}


def test_a_reason_and_a_note_are_recorded_and_only_known_reasons(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    event = act(cast)
    with binding.bind_tenant(cast.id):
        erase_event = functools.partial(erasure.erase, actor=cast.actor, kind="event", subject_id=event)
        with pytest.raises(InvalidInput):
            erase_event(reason="because")
        with pytest.raises(InvalidInput):
            erase_event(note="x" * 501)
        done = erase_event(reason="requested_by_person", note="Ticket 4711")
    body = body_of(admin_connection, done.audit_id)
    assert body["detail"] == {"count": 1, "reason": "requested_by_person"}
    assert "4711" not in str(body)
    assert opened(cast, done.audit_id)[done.audit_id].data["note"] == "Ticket 4711"
