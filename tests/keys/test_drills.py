"""Drills: real uses before and after a real end, timed where they are answered; alarms of canaries; schedules."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.db import connections
from django.utils import timezone

from byok_portal.boundary import jobs
from byok_portal.boundary.models import Job
from byok_portal.errors import PortalError
from keys import canaries, drill_results, posture, tasks
from keys.findings import Kind
from keys.models import Drill, DrillSchedule, Grant, Key, KeyVersion
from keys.probes import Answered
from keys.services import drills, lifecycle, uses
from keys.states import DrillState, KeyState, VersionState
from tenants.models import Consumer
from tests.keys.ageing import Ageing, entries
from tests.keys.test_use import caller
from tests.tenants.mailing import inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.conf import LazySettings

    from tests.world import World


class Rehearsing(Ageing):
    """A canary key, and whoever uses it although nobody has a reason to."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.key = world.key(self.cast)  # nobody may use a key that becomes a canary
        with world.bound(self.cast):
            drills.set_canary(actor=self.cast.actor, key_id=self.key.id, is_canary=True)
        world.grant(self.cast, self.key, self.credential)

    def start(self, kind: str = "revocation", **values: Any) -> Drill:
        with self.world.bound(self.cast):
            return drills.start(actor=self.cast.actor, kind=kind, **{"key_id": self.key.id, **values})

    def work(self, kind: str = drills.RUN) -> list[str]:
        """Run the tenant's jobs of a kind now, as a worker would; when one asks to come later, it comes."""
        with self.world.inside(self.cast):
            Job.objects.filter(tenant_id=self.cast.id, kind=kind, state="queued").update(run_after=timezone.now())
            due = list(Job.objects.filter(tenant_id=self.cast.id, kind=kind, state="queued"))
        return [jobs.run(str(self.cast.id), str(row.id)) for row in due]

    def drill(self) -> Drill:
        with self.world.inside(self.cast):
            return Drill.objects.select_related("consumer").latest("created_at")

    def alarms(self) -> list[str]:
        return [notice.kind for notice in inbox(self.cast, self.cast.owner.pk) if notice.kind == "key.canary_used"]


@pytest.fixture
def rehearsing(world: World, settings: LazySettings) -> Rehearsing:
    settings.DRILL_ORIGINS = []
    return Rehearsing(world)


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's signature
        """Nothing."""


@pytest.fixture
def origin() -> Iterator[str]:
    """The portal behind a real socket."""
    from byok_portal.wsgi import application  # noqa: PLC0415

    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)

    def serve() -> None:
        server.serve_forever(poll_interval=0.01)
        connections.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PortalError) as error:
        call()
    return error.value.code


def test_a_revocation_is_measured_at_each_place_and_confirmed_by_the_provider(
    rehearsing: Rehearsing, origin: str, settings: LazySettings
) -> None:
    settings.DRILL_ORIGINS = [origin]
    rehearsing.start()
    assert rehearsing.work() == ["retry"]
    assert rehearsing.drill().state == DrillState.CONFIRMING
    assert rehearsing.work() == ["retry"], "the provider has not been asked yet"
    assert rehearsing.work(lifecycle.REVOKE_UPSTREAM) == ["done"]
    assert rehearsing.work() == ["done"]
    drill = rehearsing.drill()
    assert (drill.state, drill.code) == (DrillState.PASSED, "")
    assert drill.upstream_ms is not None
    rows = {row["place"]: row for row in drill.results}
    assert set(rows) == {"worker", origin}
    for row in rows.values():
        assert (row["before"], row["allowed_after"], row["refused"], row["code"]) == (3, 0, 5, "key_revoked")
        assert 0 <= row["first_refused_ms"] <= drill.target_ms
        assert row["process"] == canaries.name_process()
    assert rehearsing.now.state == KeyState.REVOKED
    assert rehearsing.version(1).upstream_status == "revoked_confirmed"
    actions = rehearsing.actions("drill.started", "drill.prepared", "key.revoked", "drill.measured", "drill.finished")
    assert actions == ["drill.started", "drill.prepared", "key.revoked", "drill.measured", "drill.finished"]
    linked = dict(drill.entries)
    ids = {str(entry.event_id) for entry in entries(rehearsing.world, rehearsing.cast.id)}
    assert linked["key.revoked"] in ids
    assert rehearsing.alarms() == [], "a drill's own uses call nobody"


def test_an_offboarding_drill_ends_its_own_consumer_and_leaves_the_canary(rehearsing: Rehearsing) -> None:
    rehearsing.start("offboarding")
    assert rehearsing.work() == ["done"]
    drill = rehearsing.drill()
    assert (drill.state, drill.results[0]["code"]) == (DrillState.PASSED, "consumer_unknown")
    assert rehearsing.now.state == KeyState.ACTIVE
    with rehearsing.world.inside(rehearsing.cast):
        assert drill.consumer is not None
        assert Consumer.objects.get(id=drill.consumer.id).state == "ended"
        assert [row.state for row in Grant.objects.filter(consumer=drill.consumer)] == ["revoked"]
    assert rehearsing.use().allowed, "the grants of others stay"


def test_a_rotation_drill_fails_no_use_in_the_overlap(
    rehearsing: Rehearsing, origin: str, settings: LazySettings
) -> None:
    settings.DRILL_ORIGINS = [origin]
    assert refusal(lambda: rehearsing.start("rotation")) == "not_assisted"
    rehearsing.key = rehearsing.world.key(rehearsing.cast, token=rehearsing.world.bao_robot())
    with rehearsing.world.bound(rehearsing.cast):
        drills.set_canary(actor=rehearsing.cast.actor, key_id=rehearsing.key.id, is_canary=True)
    rehearsing.start("rotation")
    assert rehearsing.work() == ["done"]
    drill = rehearsing.drill()
    assert (drill.state, drill.code) == (DrillState.PASSED, ""), drill.results
    rows = {row["place"]: row for row in drill.results}
    assert (rows["worker"]["failed"], rows["worker"]["overlap"], rows["worker"]["refused"]) == (0, 9, 5)
    assert rows[origin]["failed"] == 0
    assert rows[origin]["overlap"] >= 9
    with rehearsing.world.inside(rehearsing.cast):
        states = dict(KeyVersion.objects.filter(key_id=rehearsing.key.id).values_list("number", "state"))
    assert states == {1: VersionState.REVOKED, 2: VersionState.ACTIVE}


def test_a_place_that_cannot_be_reached_fails_the_drill_and_tells_the_owners(
    rehearsing: Rehearsing, settings: LazySettings
) -> None:
    settings.DRILL_ORIGINS = ["http://127.0.0.1:9"]
    rehearsing.start("offboarding")
    assert rehearsing.work() == ["done"]
    assert (rehearsing.drill().state, rehearsing.drill().code) == (DrillState.FAILED, "unreachable")
    kinds = [notice.kind for notice in inbox(rehearsing.cast, rehearsing.cast.owner.pk)]
    assert "drill.failed" in kinds


def test_a_worker_that_died_in_the_middle_measured_nothing(rehearsing: Rehearsing) -> None:
    drill = rehearsing.start()
    with rehearsing.world.inside(rehearsing.cast):
        Drill.objects.filter(id=drill.id).update(state="running", begun_at=timezone.now())
    assert rehearsing.work() == ["done"]
    assert (rehearsing.drill().state, rehearsing.drill().code) == (DrillState.FAILED, "interrupted")
    assert rehearsing.now.state == KeyState.ACTIVE


def test_any_other_use_of_a_canary_is_an_alarm_allowed_or_not(rehearsing: Rehearsing) -> None:
    assert rehearsing.use().allowed
    assert rehearsing.alarms() == ["key.canary_used"]
    thief = rehearsing.world.consumer(rehearsing.cast)
    with rehearsing.world.bound(rehearsing.cast):
        answer = uses.use(
            actor=caller(rehearsing.cast, thief),
            token_id=thief.token_id,
            key_reference=rehearsing.key.slug,
            scope="secrets:read",
            purpose="look",
        )
    assert answer.decision.code == "not_found"
    assert rehearsing.alarms() == ["key.canary_used"] * 2
    with rehearsing.world.bound(rehearsing.cast):
        drills.set_canary(actor=rehearsing.cast.actor, key_id=rehearsing.key.id, is_canary=False)
    assert rehearsing.use().allowed
    assert len(rehearsing.alarms()) == 2


def test_only_a_free_active_canary_is_drilled(rehearsing: Rehearsing) -> None:
    world, cast = rehearsing.world, rehearsing.cast
    plain, other = world.key(cast), Rehearsing(world)
    assert refusal(lambda: rehearsing.start(key_id=plain.id)) == "not_a_canary"
    assert refusal(lambda: rehearsing.start(key_id=other.key.id)) == "not_a_canary"
    assert refusal(lambda: rehearsing.start("fire")) == "unknown_choice"
    first = rehearsing.start()
    assert refusal(rehearsing.start) == "drill_running"
    with world.bound(other.cast), world.inside(other.cast):
        assert refusal(lambda: drills.get(first.id)) == "not_found"
    with world.inside(cast):
        assert Drill.objects.count() == 1


def test_a_schedule_runs_once_for_its_day_with_two_clocks_and_one_for_all_that_were_missed(
    rehearsing: Rehearsing,
) -> None:
    world, cast = rehearsing.world, rehearsing.cast
    with world.bound(cast):
        row = drills.schedule(actor=cast.actor, kind="offboarding", every="monthly")
    with world.inside(cast):
        missed = timezone.now().date() - timedelta(days=70)
        DrillSchedule.objects.update(next_on=missed)
        kinds = {found.finding.kind for found in posture.list_drill_findings()}
    assert kinds == {Kind.DRILL_OVERDUE}

    def tick() -> None:
        tasks.drill()
        connections.close_all()

    threads = [threading.Thread(target=tick) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.inside(cast):
        (drill,) = Drill.objects.all()
        assert DrillSchedule.objects.get(id=row.id).next_on > timezone.now().date()
    assert drill.due_on == missed
    assert rehearsing.work() == ["done"]
    with world.inside(cast):
        assert posture.list_drill_findings() == []


def test_a_schedule_without_a_canary_fails_and_is_found(rehearsing: Rehearsing) -> None:
    world, cast = rehearsing.world, rehearsing.cast
    with world.inside(cast):
        Key.objects.update(is_canary=False)
    with world.bound(cast):
        drills.schedule(actor=cast.actor, kind="revocation", every="quarterly")
    assert tasks.drill() >= 1
    assert (rehearsing.drill().state, rehearsing.drill().code) == (DrillState.FAILED, "no_canary")
    with world.inside(cast):
        assert [found.finding.kind for found in posture.list_drill_findings()] == [Kind.DRILL_FAILED]
    with world.bound(cast):
        drills.schedule(actor=cast.actor, kind="revocation")
        assert refusal(lambda: drills.schedule(actor=cast.actor, kind="revocation")) == "not_scheduled"
    with world.inside(cast):
        assert posture.list_drill_findings() == [], "nobody wants it any more"


def answered(place: str, began: float, *, allowed: bool | None, process: str = "p") -> Answered:
    return Answered(place, process, allowed, "key_revoked", began, began + 0.01)


@pytest.mark.parametrize(
    ("after", "code"),
    [
        ([answered("a", 10.1, allowed=True), answered("a", 10.2, allowed=False)], "used_after_end"),
        ([answered("a", 10.1, allowed=False), answered("b", 10.1, allowed=None)], "unreachable"),
        ([answered("a", 12.0, allowed=False)], "too_slow"),
        ([answered("a", 9.9, allowed=False)], "not_refused"),
        ([answered("a", 10.1, allowed=False, process="")], "not_measured"),
        ([answered("a", 10.1, allowed=False, process="q")], "not_measured"),
        ([answered("a", 10.1, allowed=False)], ""),
    ],
)
def test_the_verdict_counts_only_uses_that_began_after_the_end(after: list[Answered], code: str) -> None:
    answers = [("before", answered("a", 1, allowed=True)), *(("after", each) for each in after)]
    assert drill_results.measure(answers, ended=10.0, target_ms=1000)[1] == code


def test_a_month_later_exists_in_every_month() -> None:
    assert drills.add_months(date(2027, 1, 31), 1) == date(2027, 2, 28)
    assert drills.add_months(date(2026, 11, 5), 3) == date(2027, 2, 5)
