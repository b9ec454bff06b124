"""Exposed keys when things come in another order than planned: holds, expiries, late successors, two hands at once."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.utils import timezone

from byok_portal.boundary import actors
from byok_portal.errors import Conflict
from keys import incident_report, selectors, tasks
from keys.models import Exposure, Grant, Incident, IncidentTask, KeyVersion, Succession
from keys.services import assisted, exposing, incidents, lifecycle
from keys.states import IncidentState, KeyState, TaskKind, VersionState
from tenants.models import Notice
from tests.keys.succeeding import Succeeding
from tests.keys.test_assisted import by_role
from tests.keys.test_incidents import Exposed
from tests.portal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.world import World


@pytest.fixture
def exposed(world: World) -> Exposed:
    return Exposed(world)


def expire(exposed: Exposed) -> None:
    """The credential's time is over, and the clock has written it."""
    with exposed.world.inside(exposed.cast):
        KeyVersion.objects.filter(key_id=exposed.key.id).update(expires_at=timezone.now() - timedelta(minutes=1))
    tasks.keep_time()
    assert exposed.version(1).state == VersionState.EXPIRED


def test_a_false_alarm_does_not_lift_a_suspension_that_came_after_the_rotation(exposed: Exposed) -> None:
    incident = exposed.quarantine()
    exposed.rotate()
    assert not exposed.fresh(incident).was_active, "a false alarm would bring nothing back by now"
    exposed.do(lifecycle.resume, key_id=exposed.key.id)
    exposed.do(lifecycle.suspend, key_id=exposed.key.id, note="Legal hold")
    exposed.do(incidents.dismiss, incident_id=incident.id, note="Our own scanner")
    assert exposed.key_state() == KeyState.SUSPENDED
    assert not exposed.use().allowed
    assert exposed.told("key.released") == set()
    assert [entry.detail["resumed"] for entry in exposed.entries("incident.dismissed")] == [False]


def test_a_quarantined_key_whose_credential_expires_is_rotated_out_of_it(exposed: Exposed) -> None:
    incident = exposed.quarantine()
    expire(exposed)
    with pytest.raises(Conflict) as refusal:
        exposed.do(incidents.move, incident_id=incident.id, state="closed", force=True, note="It is gone anyway")
    assert refusal.value.code == "undecided"
    with pytest.raises(Conflict):
        exposed.do(incidents.confirm, incident_id=incident.id)
    exposed.rotate()
    exposed.do(lifecycle.resume, key_id=exposed.key.id)
    assert exposed.use().version == 2
    exposed.do(incidents.confirm, incident_id=incident.id)
    assert (exposed.version(1).state, exposed.key_state()) == (VersionState.COMPROMISED, KeyState.ACTIVE)


def test_a_false_alarm_about_an_expired_credential_leaves_a_key_that_can_be_rotated(exposed: Exposed) -> None:
    incident = exposed.quarantine()
    expire(exposed)
    exposed.do(incidents.dismiss, incident_id=incident.id, note="Nothing found")
    assert (exposed.key_state(), exposed.version(1).exposure) == (KeyState.SUSPENDED, Exposure.NONE)
    exposed.rotate()
    exposed.do(lifecycle.resume, key_id=exposed.key.id)
    assert exposed.use().version == 2


def test_an_expired_suspicion_is_decided_by_the_end_of_its_key(exposed: Exposed) -> None:
    incident = exposed.quarantine()
    expire(exposed)
    exposed.do(lifecycle.revoke, key_id=exposed.key.id, reason="dormant")
    exposed.do(incidents.move, incident_id=incident.id, state="closed", force=True, note="The key has ended")
    assert exposed.fresh(incident).state == IncidentState.CLOSED


def test_a_confirmed_exposure_is_told_to_everybody_once(exposed: Exposed) -> None:
    earlier = exposed.world.consumer(exposed.cast)
    grant = exposed.world.grant(exposed.cast, exposed.key, earlier)
    with exposed.world.inside(exposed.cast):
        moment = timezone.now() - timedelta(days=1)
        Grant.objects.filter(id=grant.id).update(state="revoked", ended_at=moment, end_reason="dormant")
    incident = exposed.quarantine()
    exposed.rotate()
    exposed.do(incidents.confirm, incident_id=incident.id)
    concerned = {exposed.cast.owner.pk, exposed.cast.backup.pk, exposed.credential.consumer.id}
    assert concerned <= exposed.told("key.exposure_confirmed")
    assert earlier.consumer.id not in exposed.told("key.exposure_confirmed")
    exposed.do(incidents.change_since, incident_id=incident.id, suspected_since=timezone.now() - timedelta(days=3))
    assert earlier.consumer.id in exposed.told("key.exposure_confirmed")
    with exposed.world.inside(exposed.cast):
        own = Notice.objects.filter(kind="key.exposure_confirmed", recipient_id=exposed.cast.owner.pk)
        assert own.count() == 1


@pytest.mark.parametrize("kind", ["key.quarantined", "key.compromised"])
def test_consumers_that_an_earlier_moment_brings_in_are_told(exposed: Exposed, kind: str) -> None:
    earlier = exposed.world.consumer(exposed.cast)
    grant = exposed.world.grant(exposed.cast, exposed.key, earlier)
    with exposed.world.inside(exposed.cast):
        moment = timezone.now() - timedelta(days=1)
        Grant.objects.filter(id=grant.id).update(state="revoked", ended_at=moment, end_reason="dormant")
    incident = exposed.quarantine() if kind == "key.quarantined" else exposed.compromise()
    assert earlier.consumer.id not in exposed.told(kind)
    exposed.do(incidents.change_since, incident_id=incident.id, suspected_since=timezone.now() - timedelta(days=3))
    assert earlier.consumer.id in exposed.told(kind)


def test_a_consumer_whose_grant_was_over_before_the_moment_is_not_concerned(exposed: Exposed) -> None:
    """Its end is written by the end of the key, as the clock had not come by yet."""
    over = exposed.world.consumer(exposed.cast)
    grant = exposed.world.grant(exposed.cast, exposed.key, over)
    with exposed.world.inside(exposed.cast):
        end = timezone.now() - timedelta(minutes=1)
        Grant.objects.filter(id=grant.id).update(starts_at=end - timedelta(days=1), expires_at=end)
    incident = exposed.compromise()
    assert f"replace {over.consumer.name}" not in exposed.tasks(incident)
    assert over.consumer.id not in exposed.told("key.compromised")
    assert f"replace {exposed.credential.consumer.name}" in exposed.tasks(incident)


def beside(admin: psycopg.Connection, work: Callable[[], object], meanwhile: Callable[[], object]) -> list[Exception]:
    """Do `work` in a thread that meets what `meanwhile` has written and not committed. Returns what was raised."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001  # whatever it is, the test shows it
            failed.append(problem)
        finally:
            connections.close_all()

    def is_waiting() -> bool:
        (count,) = admin.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() or (0,)
        return bool(count)

    thread = threading.Thread(target=run)
    with admin.transaction():
        meanwhile()
        thread.start()
        wait_until(is_waiting, seconds=10)
    thread.join(timeout=20)
    return failed


def test_a_compromise_beside_a_move_of_its_incident_takes_what_is_there_by_then(
    exposed: Exposed, admin_connection: psycopg.Connection
) -> None:
    incident = exposed.quarantine()
    since = timezone.now() - timedelta(days=2)
    write = "UPDATE keys_incident SET state = 'in_progress', suspected_since = %s WHERE id = %s"
    failed = beside(admin_connection, exposed.compromise, lambda: admin_connection.execute(write, [since, incident.id]))
    assert failed == []
    found = exposed.fresh(incident)
    assert (found.state, found.exposure, found.suspected_since) == ("in_progress", "confirmed", since)


def test_two_incidents_of_a_key_that_are_taken_up_at_once_are_one_at_work(
    exposed: Exposed, admin_connection: psycopg.Connection
) -> None:
    first, second = (resolve(exposed, exposed.quarantine()) for _ in range(2))

    def take_up() -> None:
        admin_connection.execute("SELECT 1 FROM keys_key WHERE id = %s FOR NO KEY UPDATE", [exposed.key.id])
        admin_connection.execute("UPDATE keys_incident SET state = 'in_progress' WHERE id = %s", [second.id])

    def move() -> None:
        exposed.do(incidents.move, incident_id=first.id, state="in_progress")

    (problem,) = beside(admin_connection, move, take_up)
    assert isinstance(problem, Conflict)
    assert problem.code == "incident_open"


def resolve(exposed: Exposed, incident: Incident) -> Incident:
    exposed.rotate()
    exposed.do(incidents.move, incident_id=incident.id, state="resolved", force=True, note="Rotated")
    return incident


def test_a_successor_made_while_its_key_is_compromised_belongs_to_the_incident(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeding = Succeeding(world)
    begin = assisted._begin  # the moment between the committed attempt and the provider's answer

    def compromise(*args: Any) -> Succession:
        attempt = begin(*args)
        exposing.compromise(actor=succeeding.cast.actor, key_id=succeeding.key.id, reason="leak_report")
        return attempt

    monkeypatch.setattr(assisted, "_begin", compromise)
    with pytest.raises(Conflict):
        succeeding.rotate()
    with world.inside(succeeding.cast):
        (incident,) = Incident.objects.all()
        made = selectors.list_versions(succeeding.key.id).get(number=2)
        task = IncidentTask.objects.get(kind=TaskKind.REVOKE_UPSTREAM, subject_id=made.id)
        report = incident_report.build(incident).statement
    assert (made.state, incident.versions, incident.reason) == ("compromised", [1, 2], "leak_report")
    assert (task.incident_id, task.state) == (incident.id, "open")
    assert [version["number"] for version in report["versions"]] == [1, 2]
    succeeding.work()
    with world.inside(succeeding.cast):
        assert IncidentTask.objects.get(id=task.id).state == "done"
    assert succeeding.alive() == []


def test_a_successor_that_comes_to_light_after_its_incident_has_ended_opens_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeding = Succeeding(world)
    begin = assisted._begin

    def compromise(*args: Any) -> Succession:
        attempt, actor = begin(*args), succeeding.cast.actor
        first = exposing.compromise(actor=actor, key_id=succeeding.key.id)
        incidents.move(actor=actor, incident_id=first.id, state="closed", force=True, note="All is dead")
        return attempt

    monkeypatch.setattr(assisted, "_begin", compromise)
    with pytest.raises(Conflict):
        succeeding.rotate()
    with world.inside(succeeding.cast):
        found = list(Incident.objects.order_by("created_at").values_list("state", "exposure", "versions"))
        kinds = set(IncidentTask.objects.filter(incident__versions=[2]).values_list("kind", flat=True))
    assert found == [("closed", "confirmed", [1]), ("new", "confirmed", [2])]
    assert {TaskKind.REVOKE_UPSTREAM, TaskKind.TELL} <= kinds


def test_what_a_role_gives_at_once_is_what_the_entry_says_of_a_lost_successor(
    world: World, admin_connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after OpenBao's answer and before the statement that stores it."""
    _role, token = by_role(world, token_period="48h")
    succeeding = Succeeding(world, token)

    def die(*_args: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(assisted, "_keep", die)
    with pytest.raises(SystemExit):
        succeeding.rotate()
    (lost,) = succeeding.alive()
    admin_connection.execute("UPDATE keys_succession SET lapses_at = now() WHERE tenant_id = %s", [succeeding.cast.id])
    with world.inside(succeeding.cast):
        row = Succession.objects.get()
    with world.bound(succeeding.cast):
        assisted.give_up(actor=actors.worker(row.id), succession_id=row.id)
    (told,) = succeeding.told("key.successor_given_up")
    dies_by = datetime.fromisoformat(told["detail"]["dies_by"])
    assert dies_by >= timezone.now() + timedelta(seconds=lost["ttl"] - 1), "an immutable entry must not be too early"
    with world.inside(succeeding.cast):
        notices = list(Notice.objects.filter(kind="key.successor_lost"))
    assert {notice.recipient_id for notice in notices} >= {succeeding.cast.owner.pk}
    assert lost["meta"]["byok_attempt"] in json.dumps(notices[0].facts), "so that people find it"
    world.bao.revoke_accessor(lost["accessor"])


def test_a_successor_that_dies_in_minutes_calls_nobody(world: World, admin_connection: psycopg.Connection) -> None:
    succeeding = Succeeding(world)
    with world.inside(succeeding.cast):
        row = Succession.objects.create(key_id=succeeding.key.id, base=1, lapses_at=timezone.now())
    with world.bound(succeeding.cast):
        assisted.give_up(actor=actors.worker(row.id), succession_id=row.id)
    with world.inside(succeeding.cast):
        assert not Notice.objects.filter(kind="key.successor_lost").exists()
