"""What the clock brings: it holds in every decision with no job having run, and is written once when one does."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.utils import timezone

from byok_portal.boundary import actors, jobs
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.models import Job
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, InvalidInput, Refused
from keys import context, rulebook, tasks
from keys.decision import Code, decide
from keys.facts import UseRequest
from keys.models import AppliedPolicy, Key, KeyVersion
from keys.services import expiry, introspection, lifecycle, policies
from keys.states import Delivery, KeyState, VersionState
from tests.keys.ageing import STRICT, Ageing, entries, floor_taken_away, set_floor, suspend_by_clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import psycopg

    from byok_portal.boundary.actors import Actor
    from byok_portal.quickstart.openbao_admin import BaoToken
    from tests.world import World


@pytest.fixture
def ageing(world: World) -> Ageing:
    return Ageing(world)


@pytest.fixture
def _no_floor(admin_connection: psycopg.Connection) -> Iterator[None]:
    with floor_taken_away(admin_connection):
        yield


def answer_at(ageing: Ageing, moment: datetime) -> str:
    """What a use at that moment is answered, with the database as it is."""
    with ageing.world.inside(ageing.cast):
        loaded = context.load(token_id=ageing.credential.token_id, key_reference=str(ageing.key.id))
    request = UseRequest("secrets:read", "report", None, Delivery.DECISION, "127.0.0.1")
    return decide(loaded.context, request, moment).code


def test_the_suspension_holds_from_its_moment_on_with_no_job_having_run(ageing: Ageing) -> None:
    ageing.age(95)
    ageing.ask(**STRICT)
    stored = ageing.now.suspends_at
    assert stored is not None
    assert abs(stored - timezone.now() - timedelta(days=5)) < timedelta(minutes=1)
    assert answer_at(ageing, stored - timedelta(seconds=1)) == Code.ALLOWED
    assert answer_at(ageing, stored) == Code.KEY_SUSPENDED
    ageing.age(101)
    ageing.ask(**STRICT)
    assert ageing.use().code == Code.KEY_SUSPENDED
    assert ageing.now.state == KeyState.ACTIVE, "nothing has been written yet"


@pytest.mark.parametrize("days", [1, 20])
def test_a_policy_that_is_only_scheduled_suspends_at_its_start_with_nothing_running_then(
    ageing: Ageing, days: int
) -> None:
    ageing.age(200)
    start = timezone.now() + timedelta(days=days)
    ageing.ask(**STRICT, starts_at=start)
    assert ageing.now.suspends_at == start
    assert ageing.use().allowed
    assert answer_at(ageing, start - timedelta(seconds=1)) == Code.ALLOWED
    assert answer_at(ageing, start) == Code.KEY_SUSPENDED


def test_a_key_of_its_own_policy_is_suspended_and_the_others_are_not(ageing: Ageing) -> None:
    other = ageing.world.key(ageing.cast)
    ageing.ask_key(**STRICT)
    with ageing.world.inside(ageing.cast):
        found = dict(Key.objects.values_list("id", "suspends_at"))
    assert (found[ageing.key.id] is not None, found[other.id]) == (True, None)


def test_a_key_that_is_activated_under_a_policy_has_its_clock_from_the_start(ageing: Ageing) -> None:
    ageing.ask(**STRICT)
    key = ageing.world.key(ageing.cast)
    with ageing.world.inside(ageing.cast):
        key.refresh_from_db()
        since = KeyVersion.objects.get(key_id=key.id).activated_at
    assert since is not None
    assert key.suspends_at == since + timedelta(days=100)
    assert key.rotation_due_at == since + timedelta(days=90)


@pytest.mark.parametrize("days", [0, 20])
def test_a_policy_that_suspends_keys_as_soon_as_it_starts_must_say_so(ageing: Ageing, days: int) -> None:
    ageing.age(101)
    start, actor = timezone.now() + timedelta(days=days), ageing.cast.actor
    with ageing.world.bound(ageing.cast), pytest.raises(Refused, match="1 of the keys") as refusal:
        policies.set_tenant(actor=actor, rules=STRICT, starts_at=start)
    assert (refusal.value.code, refusal.value.field) == ("suspends_keys", "accept_suspensions")
    assert (ageing.now.suspends_at, ageing.policy().rotation_days) == (None, None)
    with ageing.world.bound(ageing.cast):
        row = policies.set_tenant(actor=actor, rules=STRICT, starts_at=start, accept_suspensions=True)
        again = policies.set_tenant(actor=actor, rules=STRICT, starts_at=start, replaces=row.number)
    assert again.number == 2, "what was suspended before is no news"


def test_a_maximum_lifetime_refuses_an_old_version_whatever_overdue_says(ageing: Ageing) -> None:
    ageing.age(31)
    ageing.ask(max_lifetime_days=30, overdue="notify")
    assert ageing.use().code == Code.KEY_SUSPENDED


def test_the_clock_writes_the_suspension_once_with_its_reason(ageing: Ageing) -> None:
    suspend_by_clock(ageing)
    tasks.keep_time()
    with ageing.world.bound(ageing.cast), pytest.raises(Conflict):
        expiry.suspend(actor=worker(), key_id=ageing.key.id)
    found = [each for each in entries(ageing.world, ageing.cast.id) if each.action == "key.suspended"]
    assert [(each.actor_kind, each.body["detail"]["reason"]) for each in found] == [("worker", "overdue")]
    assert ageing.version(1).state == VersionState.SUSPENDED
    assert ageing.use().code == Code.KEY_SUSPENDED


def test_two_workers_at_once_write_it_once(ageing: Ageing) -> None:
    ageing.age(101)
    ageing.ask(**STRICT)
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait(10)
        try:
            tasks.keep_time()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ageing.actions("key.suspended") == ["key.suspended"]


def test_a_worker_that_dies_in_the_middle_has_written_nothing_and_the_next_one_does(
    ageing: Ageing, monkeypatch: pytest.MonkeyPatch
) -> None:
    ageing.age(101)
    ageing.ask(**STRICT)

    def die(**_values: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(expiry, "append", die)
        with ageing.world.bound(ageing.cast), pytest.raises(RuntimeError):
            expiry.suspend(actor=worker(), key_id=ageing.key.id)
        tasks.keep_time()  # one key that cannot be written stops neither the sweep nor the worker
    assert (ageing.now.state, ageing.version(1).state) == (KeyState.ACTIVE, VersionState.ACTIVE)
    tasks.keep_time()
    assert ageing.now.state == KeyState.SUSPENDED
    assert ageing.actions("key.suspended") == ["key.suspended"]


@pytest.mark.usefixtures("_no_floor")
def test_a_platform_policy_counts_from_its_start_before_any_job_has_brought_it(ageing: Ageing) -> None:
    token = ageing.world.bao_token()
    other = ageing.world.key(ageing.cast, token=token)
    ageing.age(101)
    with ageing.world.inside(ageing.cast):
        KeyVersion.objects.filter(key_id=other.id).update(activated_at=timezone.now() - timedelta(days=101))
    assert (ageing.use().allowed, is_live(ageing, token)) == (True, True)
    set_floor(ageing.world, **STRICT)
    assert ageing.now.suspends_at is None
    assert (ageing.use().code, is_live(ageing, token)) == (Code.KEY_SUSPENDED, False)


@pytest.mark.usefixtures("_no_floor")
def test_a_job_per_tenant_brings_a_platform_policy_once(ageing: Ageing) -> None:
    ageing.age(20)
    row = set_floor(ageing.world, **STRICT)
    tasks.keep_time()
    tasks.keep_time()
    with ageing.world.inside(ageing.cast):
        job = Job.objects.get(tenant_id=ageing.cast.id, kind=policies.APPLY)
    assert jobs.run(str(ageing.cast.id), str(job.id)) == "done"
    with ageing.world.inside(ageing.cast):
        assert AppliedPolicy.objects.get().number == row.number
        assert not rulebook.is_behind()
    assert ageing.now.suspends_at is not None
    with ageing.world.bound(ageing.cast), pytest.raises(Conflict):
        policies.apply(actor=worker())
    found = [each for each in entries(ageing.world, ageing.cast.id) if each.action == "policy.applied"]
    assert [each.body["detail"] for each in found] == [{"number": row.number, "keys": 1}]
    assert ageing.cast.id not in expiry.list_behind()


@pytest.mark.usefixtures("_no_floor")
def test_a_scheduled_platform_policy_is_brought_before_it_starts(ageing: Ageing) -> None:
    ageing.age(200)
    start = timezone.now() + timedelta(days=3)
    set_floor(ageing.world, **STRICT, starts_at=start)
    with ageing.world.bound(ageing.cast):
        policies.apply(actor=worker())
    assert ageing.now.suspends_at == start


def test_a_policy_and_an_activation_at_once_leave_no_key_without_its_clock(ageing: Ageing) -> None:
    for _ in range(3):
        key = ageing.world.key(ageing.cast, activate=False)
        barrier = threading.Barrier(2)

        def activate(key_id: Any = key.id, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(10)
            try:
                with ageing.world.bound(ageing.cast):
                    lifecycle.activate(actor=ageing.cast.actor, key_id=key_id, accept_excess=True, note="Accepted")
            finally:
                connections.close_all()

        thread = threading.Thread(target=activate)
        thread.start()
        barrier.wait(10)
        ageing.ask(**STRICT)
        thread.join(20)
        with ageing.world.inside(ageing.cast):
            key.refresh_from_db()
            assert (key.state, key.suspends_at) == (KeyState.ACTIVE, rulebook.find_suspension(key.id))
        assert key.suspends_at is not None
        ageing.ask(rotation_days=365)


def test_a_policy_that_is_refused_moves_no_clock(ageing: Ageing) -> None:
    ageing.ask(**STRICT)
    before = ageing.now.suspends_at
    with pytest.raises(InvalidInput):
        ageing.ask(rotation_days=-1)
    assert ageing.now.suspends_at == before


def worker() -> Actor:
    return actors.worker(PLATFORM)


def is_live(ageing: Ageing, token: BaoToken) -> bool:
    actor = actors.consumer(
        ageing.credential.consumer.id,
        tenant_id=ageing.cast.id,
        scopes=frozenset({Permission.CREDENTIAL_INTROSPECT}),
        label="",
        origin=Origin(),
    )
    with ageing.world.bound(ageing.cast):
        return introspection.introspect(actor=actor, plaintext=Secret(token.token)).active
