"""A real worker (django-q2 under its watchdog): killed idle, killed busy, wedged. The work is done once, in the end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import transaction

from byok_portal.boundary import binding, jobs
from byok_portal.boundary.models import Job
from keys.models import KeyVersion
from keys.services import lifecycle
from tests.portal import Portal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import Cast, World


@pytest.fixture
def worker(world: World, tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path)
    portal.start("worker")
    try:
        since = time.time()
        wait_until(lambda: pulse_after(since), seconds=40)
        yield portal
    finally:
        portal.stop()


def pulse_after(moment: float) -> bool:
    beat = jobs.find_pulse()
    return beat is not None and beat.timestamp() > moment


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, the oldest first."""
    found: list[int] = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def upstream_of(world: World, cast: Cast) -> str:
    with world.inside(cast):
        return KeyVersion.objects.get().upstream_status


def test_jobs_are_done_after_every_process_of_the_cluster_was_killed(world: World, worker: Portal) -> None:
    supervisor = worker.processes["worker"].pid
    # Idle worker processes die holding the queue's lock: the cluster wedges for ever and cannot know it.
    for pid in descendants(supervisor)[-3:]:
        kill(pid)
    cast, token = world.tenant(), world.bao_token()
    key = world.key(cast, token=token)
    with world.bound(cast):
        lifecycle.revoke(actor=cast.actor, key_id=key.id, reason="cessation_of_operation")
    wait_until(lambda: upstream_of(world, cast) == "revoked_confirmed", seconds=60)
    assert world.bao.find_accessor(token.accessor) is None
    assert world.bao.count_audit("auth/token/revoke-self", token.accessor) == 1


def test_no_process_outlives_a_killed_worker(worker: Portal) -> None:
    supervisor = worker.processes["worker"].pid
    below = descendants(supervisor)
    assert len(below) >= 3
    worker.kill("worker")
    wait_until(lambda: not any(is_alive(pid) for pid in below), seconds=15)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_job_that_always_fails_ends_as_a_dead_letter_with_its_reason(world: World) -> None:
    cast = world.tenant()

    def fail(running: jobs.Running) -> None:
        message = "nothing of this text may be stored"
        raise ValueError(message)

    jobs.REGISTRY["test.fails"] = fail
    with world.bound(cast), binding.reading():
        job = jobs.enqueue("test.fails", subject_id=cast.id, max_attempts=2)
    assert jobs.run(str(cast.id), str(job.id)) == "retry"
    with world.inside(cast):
        Job.objects.filter(id=job.id).update(run_after=job.run_after)
    assert jobs.run(str(cast.id), str(job.id)) == "dead"
    with world.inside(cast):
        dead = Job.objects.get(id=job.id)
    assert (dead.state, dead.attempts, dead.last_error) == ("dead", 2, "ValueError")
    assert jobs.run(str(cast.id), str(job.id)) == "not due"


def test_two_workers_that_wake_for_one_job_do_it_once(world: World) -> None:
    cast, runs = world.tenant(), []
    jobs.REGISTRY["test.counts"] = lambda running: runs.append(running.subject_id)
    with world.bound(cast), binding.reading():
        job = jobs.enqueue("test.counts", subject_id=cast.id)
    assert [jobs.run(str(cast.id), str(job.id)) for _ in range(3)] == ["done", "not due", "not due"]
    assert runs == [cast.id]


def test_an_enqueued_job_is_gone_when_its_transaction_is_rolled_back(world: World) -> None:
    cast = world.tenant()
    with world.bound(cast), transaction.atomic():
        jobs.enqueue("test.counts", subject_id=cast.id)
        transaction.set_rollback(True)
    with world.inside(cast):
        assert not Job.objects.filter(tenant_id=cast.id).exists()


def test_a_worker_that_lost_its_lease_touches_the_job_no_more(world: World) -> None:
    cast, seen = world.tenant(), []

    def stall(running: jobs.Running) -> None:
        with binding.reading():
            Job.objects.filter(id=running.job.id).update(attempts=running.job.attempts + 1)
        try:
            running.keep()
        except jobs.LeaseLost:
            seen.append("stopped")
            raise

    jobs.REGISTRY["test.stalls"] = stall
    with world.bound(cast), binding.reading():
        job = jobs.enqueue("test.stalls", subject_id=cast.id)
    assert jobs.run(str(cast.id), str(job.id)) == "lease lost"
    with world.inside(cast):
        left = Job.objects.get(id=job.id)
    assert (seen, left.state, left.attempts) == (["stopped"], "running", 2)


def test_a_cluster_whose_workers_are_all_at_work_counts_as_alive(world: World) -> None:
    cast, seen = world.tenant(), []

    def look(running: jobs.Running) -> None:
        with binding.reading():
            seen.append(jobs.is_working())

    jobs.REGISTRY["test.looks"] = look
    with world.bound(cast), binding.reading():
        job = jobs.enqueue("test.looks", subject_id=cast.id)
    assert jobs.run(str(cast.id), str(job.id)) == "done"
    assert seen == [True]
