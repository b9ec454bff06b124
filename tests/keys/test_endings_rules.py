"""Rules of endings that hold at the edges: agreements, very large ends, silent providers, two at the same moment."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from audit.models import Document
from audit.services import documents
from byok_portal.boundary.models import Job
from byok_portal.boundary.permissions import TOKEN_PERMISSIONS, Permission
from byok_portal.errors import Conflict
from keys.models import Key, KeyVersion
from keys.services import offboarding, projects
from keys.services.cascade import SILENT_MAX
from tenants.models import Offboarding, OffboardingStep, Tenant
from tenants.services import projects as tenant_projects
from tenants.services import tenants
from tests.keys.test_endings import end_project, make_project, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from tests.world import Cast, World

SILENT = "http://127.0.0.1:9"
"""Nothing listens on this port."""


@contextmanager
def beside(admin: psycopg.Connection, held: str, *values: object) -> Iterator[psycopg.Connection]:
    """Another connection that holds what it locked in an open transaction until the block ends."""
    with psycopg.connect(admin.info.dsn, password=admin.info.password) as other:
        other.execute(held, values)
        yield other
        other.commit()


def start(world: World, cast: Cast, call: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            with world.bound(cast):
                call()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def wait_for_a_lock(admin: psycopg.Connection, thread: threading.Thread) -> None:
    """Until it waits for somebody, or is through."""
    for _ in range(100):
        row = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        if (row and row[0]) or not thread.is_alive():
            return
        time.sleep(0.05)


def certificates_of(world: World, cast: Cast) -> list[dict[str, Any]]:
    with world.inside(cast):
        bodies = Document.objects.filter(tenant_id=cast.id).order_by("created_at").values_list("body", flat=True)
        return [json.loads(body)["statement"] for body in bodies]


def leave_to_people(run: Offboarding, label: str) -> int:
    """A step that only people can do, bound to its tenant. Returns its position."""
    position = OffboardingStep.objects.filter(offboarding_id=run.id).count() + 1
    values = {"kind": "replace_token", "subject_id": uuid4(), "label": label, "state": "residual"}
    OffboardingStep.objects.create(offboarding=run, position=position, **values)
    return position


def test_nobody_agrees_to_a_last_day_that_has_passed_and_no_token_agrees_at_all(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast, yesterday = world.tenant(), timezone.now().date() - timedelta(days=1)
    assert Permission.TENANT_AGREE not in TOKEN_PERMISSIONS
    set_day = "UPDATE tenants_tenant SET contract_ends_on = %s WHERE id = %s"
    admin_connection.execute(set_day, [yesterday, cast.id])
    with world.bound(cast), pytest.raises(Conflict) as over:
        tenants.agree_automatic_end(actor=cast.actor, agreed=True)
    assert (over.value.code, "the contract" in over.value.detail) == ("already_over", True)
    with world.inside(cast):
        assert not Tenant.objects.get(id=cast.id).ends_automatically
    admin_connection.execute(set_day, [yesterday + timedelta(days=1), cast.id])
    with world.bound(cast):
        assert tenants.agree_automatic_end(actor=cast.actor, agreed=True).ends_automatically


def test_an_end_with_more_entries_than_a_document_holds_ends_with_a_certificate_that_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = world.tenant()
    small, large = make_project(world, cast, world.key(cast)), make_project(world, cast, world.key(cast))
    assert work(world, cast, end_project(world, cast, small).id) == "done"
    monkeypatch.setattr(documents, "EVENTS_MAX", 5)
    run = end_project(world, cast, large)
    assert work(world, cast, run.id) == "done"
    whole, part = certificates_of(world, cast)
    assert (whole["evidence"]["complete"], part["evidence"]["complete"]) == (True, False)
    assert whole["evidence"]["handed_out"] == whole["evidence"]["entries"] == part["evidence"]["entries"]
    assert part["evidence"]["handed_out"] == 5
    assert "too large" in part["evidence"]["statement"]
    with world.inside(cast):
        issued = Document.objects.order_by("-created_at")[0]
        last = OffboardingStep.objects.get(offboarding_id=run.id, kind="close")
        run.refresh_from_db()
    assert set(run.event_ids) <= set(issued.events), "its start, its plan and its end"
    assert issued.events[-1] == last.event_ids[-1]


def test_a_certificate_is_issued_again_only_when_the_last_residual_is_settled(world: World) -> None:
    cast = world.tenant()
    run = end_project(world, cast, make_project(world, cast, world.key(cast)))
    with world.inside(cast):
        left = [leave_to_people(run, f"Token {number}") for number in range(2)]
    assert work(world, cast, run.id) == "done"
    for position, expected in zip(left, (1, 2), strict=True):
        with world.bound(cast):
            offboarding.settle_residual(actor=cast.actor, run_id=run.id, position=position, note="Replaced")
        assert len(certificates_of(world, cast)) == expected
    assert [each["counts"]["residual"] for each in certificates_of(world, cast)] == [2, 0]


def test_a_residual_that_is_settled_while_its_run_ends_is_in_a_certificate(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    run = end_project(world, cast, make_project(world, cast, world.key(cast)))
    with world.inside(cast):
        position = leave_to_people(run, "A token")
    close = "UPDATE tenants_offboarding SET state = 'done', finished_at = now() WHERE id = %s"
    with beside(admin_connection, close, run.id):
        settling = start(
            world,
            cast,
            lambda: offboarding.settle_residual(actor=cast.actor, run_id=run.id, position=position, note="Replaced"),
        )
        wait_for_a_lock(admin_connection, settling)
    settling.join(20)
    [found] = certificates_of(world, cast)
    assert found["counts"]["settled_by_hand"] == 1


def test_no_address_gets_into_a_certificate(world: World) -> None:
    cast = world.tenant()
    name = world.name("login-robot@acme.example")
    run = end_project(world, cast, make_project(world, cast, world.key(cast, name=name)))
    assert work(world, cast, run.id) == "done"
    [found] = certificates_of(world, cast)
    assert "@" not in json.dumps(found)
    assert "[address removed]" in json.dumps(found)


def test_a_silent_provider_is_passed_over_and_others_take_their_turns(world: World) -> None:
    cast = world.tenant()
    keys = [world.key(cast) for _ in range(SILENT_MAX + 2)]
    run = end_project(world, cast, make_project(world, cast, *keys))
    silent, answering = [key.id for key in keys[:-1]], keys[-1].id
    with world.inside(cast):
        Key.objects.filter(id__in=silent).update(endpoint=SILENT)
    assert work(world, cast, run.id) == "retry"
    with world.inside(cast):
        versions = KeyVersion.objects.filter(key_id__in=silent)
        assert versions.exclude(revoke_called_at=None).count() == SILENT_MAX, "the last one is not even called"
        assert KeyVersion.objects.get(key_id=answering).upstream_status == "revoked_confirmed"
    order = _calls(world, cast)
    assert order.index(answering) == 1, "the second turn, although it was the last one made"
    for left in (3, 2, 1, 0):
        with world.inside(cast):
            Job.objects.filter(subject_id=run.id, tenant_id=cast.id).update(run_after="2026-01-01T00:00Z")
        assert work(world, cast, run.id) == ("retry" if left else "done")
    with world.inside(cast):
        steps = OffboardingStep.objects.filter(offboarding_id=run.id, kind="revoke_upstream").order_by("position")
        assert [(step.state, step.attempts) for step in steps] == [("residual", 5)] * len(silent) + [("done", 1)]
        assert "for other credentials either" in steps[SILENT_MAX].note
        assert all("revokes itself in your OpenBao" in step.instruction for step in steps[: len(silent)])


def _calls(world: World, cast: Cast) -> list[UUID]:
    with world.inside(cast):
        return list(
            KeyVersion.objects.exclude(revoke_called_at=None)
            .order_by("revoke_called_at")
            .values_list("key_id", flat=True)
        )


def test_what_is_due_comes_in_no_fixed_order_so_that_nothing_starves(
    world: World, admin_connection: psycopg.Connection
) -> None:
    today = timezone.now().date()
    casts = [world.tenant() for _ in range(2)]
    for cast in casts:
        admin_connection.execute(
            "UPDATE tenants_tenant SET ends_automatically = true, contract_ends_on = %s WHERE id = %s",
            [today - timedelta(days=1), cast.id],
        )
    found = {offboarding.list_due(today, limit=1)[0][0] for _ in range(60)}
    assert len(found) > 1


def test_a_key_that_moves_locks_both_projects_by_id_before_it_locks_either_alone(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    key = world.key(cast)
    first = make_project(world, cast, key)
    with world.bound(cast):
        second = tenant_projects.create(actor=cast.actor, name=world.name("second"), purpose="A trial")
    assert first.id < second.id
    with beside(admin_connection, "SELECT FROM tenants_project WHERE id = %s FOR UPDATE", first.id):
        moving = start(
            world, cast, lambda: projects.assign_key(actor=cast.actor, key_id=key.id, project=str(second.id))
        )
        wait_for_a_lock(admin_connection, moving)
        assert moving.is_alive()
        # Raises LockNotAvailable when it was locked before the first.
        admin_connection.execute("SELECT FROM tenants_project WHERE id = %s FOR UPDATE NOWAIT", [second.id])
    moving.join(20)
    with world.inside(cast):
        assert Key.objects.get(id=key.id).project_id == second.id
