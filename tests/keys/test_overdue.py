"""The way out of being overdue: rotating works from every state, and nothing makes a version younger than it is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from byok_portal.boundary.models import Job
from byok_portal.errors import Conflict, Refused
from keys import tasks
from keys.decision import Code
from keys.services import clocks, draining, lifecycle
from keys.states import ClockReason, KeyState, VersionState
from tests.keys.ageing import STRICT, Ageing, suspend_by_clock

if TYPE_CHECKING:
    from tests.world import World


@pytest.fixture
def ageing(world: World) -> Ageing:
    return Ageing(world)


@pytest.mark.parametrize("written", [True, False])
def test_the_remedy_works_a_suspended_key_is_rotated_and_active_again(ageing: Ageing, *, written: bool) -> None:
    ageing.age(101)
    ageing.ask(**STRICT)
    if written:
        tasks.keep_time()
    assert ageing.use().code == Code.KEY_SUSPENDED
    ageing.rotate(hours=1)
    assert (ageing.use().allowed, ageing.use().version) == (True, 2)
    assert ageing.use(version=1).allowed, "it drains"
    key = ageing.now
    assert (key.state, key.suspends_for) == (KeyState.ACTIVE, ClockReason.OVERDUE)
    assert key.suspends_at is not None
    assert key.suspends_at > timezone.now() + timedelta(days=99)
    assert ageing.actions("key.suspended", "key.resumed", "key.rotated") == (
        ["key.suspended", "key.resumed", "key.rotated"] if written else ["key.rotated"]
    )


def test_a_key_that_is_still_overdue_is_not_resumed(ageing: Ageing) -> None:
    suspend_by_clock(ageing)
    with ageing.world.bound(ageing.cast), pytest.raises(Refused) as refusal:
        lifecycle.resume(actor=ageing.cast.actor, key_id=ageing.key.id)
    assert refusal.value.code == "key_overdue"
    ageing.ask(rotation_days=365)
    assert ageing.now.state == KeyState.SUSPENDED, "a policy brings nothing back by itself"
    with ageing.world.bound(ageing.cast):
        lifecycle.resume(actor=ageing.cast.actor, key_id=ageing.key.id)
    assert ageing.use().allowed
    assert ageing.now.suspends_at is None


def test_a_moment_that_has_come_stays_whether_or_not_the_job_has_written_it(ageing: Ageing) -> None:
    ageing.age(101)
    ageing.ask(**STRICT)
    ageing.ask(rotation_days=365)
    assert ageing.use().code == Code.KEY_SUSPENDED
    tasks.keep_time()
    assert ageing.now.state == KeyState.SUSPENDED


def test_rotating_an_overdue_key_that_a_person_suspended_keeps_it_suspended(ageing: Ageing) -> None:
    ageing.ask(**STRICT)
    with ageing.world.bound(ageing.cast):
        lifecycle.suspend(actor=ageing.cast.actor, key_id=ageing.key.id)
    with pytest.raises(Conflict, match="suspended"):
        ageing.rotate()
    ageing.age(101)
    ageing.ask(**STRICT)
    with ageing.world.bound(ageing.cast), pytest.raises(Refused):
        lifecycle.resume(actor=ageing.cast.actor, key_id=ageing.key.id)
    ageing.rotate(hours=0)
    assert (ageing.now.state, ageing.version(2).state) == (KeyState.SUSPENDED, VersionState.SUSPENDED)
    assert ageing.use().code == Code.KEY_SUSPENDED
    with ageing.world.bound(ageing.cast):
        lifecycle.resume(actor=ageing.cast.actor, key_id=ageing.key.id)
    assert ageing.use().version == 2


def test_neither_a_drain_nor_a_roll_back_makes_a_version_younger(ageing: Ageing) -> None:
    ageing.age(95)
    ageing.ask(**STRICT)
    before = ageing.now.suspends_at
    ageing.rotate(hours=2)
    assert ageing.now.suspends_at != before
    ageing.change(draining.roll_back, note="The new one lacks a path")
    assert (ageing.now.suspends_at, ageing.version(1).state) == (before, VersionState.ACTIVE)


def test_a_version_that_drains_ends_with_its_lifetime_when_the_policy_comes_later(ageing: Ageing) -> None:
    ageing.age(20)
    ageing.rotate(hours=200)
    ageing.ask(max_lifetime_days=21)
    version = ageing.version(1)
    assert version.activated_at is not None
    assert version.drain_until == version.activated_at + timedelta(days=21)
    with ageing.world.inside(ageing.cast):
        job = Job.objects.get(kind="key.finish_drain", subject_id=version.id)
    assert job.run_after == version.drain_until
    ageing.ask(max_lifetime_days=19)
    assert ageing.use(version=1).code == Code.NO_USABLE_VERSION
    assert ageing.use().allowed


def test_another_reason_that_comes_first_suspends_and_is_not_lost_by_a_rotation(
    ageing: Ageing, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = timezone.now() + timedelta(days=2)
    ageing.ask(**STRICT)
    monkeypatch.setitem(clocks._sources, ClockReason.NOT_RECERTIFIED, lambda ids: dict.fromkeys(ids, soon))
    ageing.rotate(hours=1)
    assert (ageing.now.suspends_at, ageing.now.suspends_for) == (soon, "not_recertified")
    monkeypatch.delitem(clocks._sources, ClockReason.NOT_RECERTIFIED)
    ageing.ask(rotation_days=365)
    assert ageing.now.suspends_at == soon, "what nobody knows about is left alone"
