"""An assisted rotation survives kill -9 at statements and calls: nothing is lost, and no successor lives on unknown."""

from __future__ import annotations

import os
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.db import connections

from byok_portal.boundary import jobs
from byok_portal.boundary.models import Job
from keys.models import KeyVersion, Succession
from keys.services import assisted
from keys.states import VersionState
from tests.crash.test_offboarding import Fuse, revive
from tests.keys.succeeding import Succeeding
from tests.portal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.world import World

LOST_SECONDS = 3
"""How long a successor that is lost with its process lives in these tests."""
STEP = 23


def in_child(work: Callable[[], object], *, kill_at: int) -> bool:
    """Do it in a forked process that is killed at a step. Returns whether it came to its end alive."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            Fuse(kill_at).arm()
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFEXITED(status)


@pytest.mark.parametrize("offset", [1, 6])
def test_killing_the_process_at_any_statement_or_call_loses_nothing(
    world: World, admin_connection: psycopg.Connection, offset: int
) -> None:
    succeeding = Succeeding(world)
    kills = 0
    for kill_at in count(offset, STEP):
        alive = in_child(succeeding.rotate, kill_at=kill_at)
        if succeeding.states()[1] != VersionState.ACTIVE:
            break
        assert not alive, "it gave up without having been killed"
        kills += 1
        assert kills < 60
        # The worker that tidies up is killed too, and comes again.
        tidy_up(succeeding, admin_connection, kill_at=3 + kill_at % 31)
        tidy_up(succeeding, admin_connection, kill_at=-1)
    assert kills > 5
    _assert_whole(succeeding)


def tidy_up(succeeding: Succeeding, admin: psycopg.Connection, *, kill_at: int) -> None:
    """What time and the workers do: attempts lapse, their jobs run, and then the revocations that these enqueue."""
    admin.execute("UPDATE keys_succession SET lapses_at = now() WHERE tenant_id = %s", [succeeding.cast.id])
    for kind in (assisted.GIVE_UP, "key.revoke_upstream"):
        with succeeding.world.inside(succeeding.cast):
            waiting = Job.objects.filter(tenant_id=succeeding.cast.id, kind=kind, state__in=["queued", "running"])
            ids = list(waiting.values_list("id", flat=True))
        for job_id in ids:
            revive(admin, job_id)
            in_child(partial(jobs.run, str(succeeding.cast.id), str(job_id)), kill_at=kill_at)


def _assert_whole(succeeding: Succeeding) -> None:
    with succeeding.world.inside(succeeding.cast):
        versions = list(KeyVersion.objects.order_by("number"))
        attempts = list(Succession.objects.order_by("created_at"))
    current = [version for version in versions if version.state == VersionState.ACTIVE]
    assert [version.state for version in versions if version.number == 1] == [VersionState.SUPERSEDED]
    assert len(current) == 1
    others = [version for version in versions if version not in current and version.number != 1]
    assert {version.state for version in others} <= {VersionState.REVOKED}
    for version in others:
        # A residual is honest only where the provider's answer died with the worker.
        dead = version.upstream_status == "revoked_confirmed"
        assert dead or "did not tell" in version.upstream_note or version.revoke_called_at, version.upstream_note
    assert [attempt.state for attempt in attempts] == ["given_up"] * (len(attempts) - 1) + ["done"]
    assert any(attempt.version_id is None for attempt in attempts[:-1]), "killed before it was stored"
    assert any(attempt.version_id is not None for attempt in attempts[:-1]), "killed after it was stored"
    lost = [each for each in succeeding.alive() if each["accessor"] != current[0].revoke_evidence["accessor"]]
    assert len(succeeding.alive()) == len(lost) + 1
    never_stored = {str(attempt.id) for attempt in attempts if attempt.version_id is None}
    for each in lost:
        assert each["meta"]["byok_attempt"] in never_stored
        assert each["ttl"] <= settings.SUCCESSOR_SECONDS
        assert "last_renewal" not in each, "nobody keeps it alive"
    assert succeeding.world.bao.find_accessor(succeeding.token.accessor) is not None
    _assert_recorded_once(succeeding, attempts)


def _assert_recorded_once(succeeding: Succeeding, attempts: list[Succession]) -> None:
    def of(action: str) -> list[str]:
        return [body["detail"]["attempt"] for body in succeeding.told(action)]

    assert of("key.successor_asked") == [str(attempt.id) for attempt in attempts]
    assert of("key.successor_given_up") == [str(attempt.id) for attempt in attempts[:-1]]
    made = of("key.successor_made")
    assert made == [str(attempt.id) for attempt in attempts if attempt.version_id]
    assert len(succeeding.told("key.rotated")) == 1
    ended = [body["detail"]["version"] for body in succeeding.told("key.upstream_revoked", "key.upstream_residual")]
    assert len(ended) == len(set(ended)), "an end was recorded twice"


def test_a_successor_that_is_lost_before_it_is_stored_dies_by_itself(world: World, settings: Any) -> None:
    """Killed between OpenBao's answer and the statement that would store it: nobody knows this token."""
    settings.SUCCESSOR_SECONDS = LOST_SECONDS
    succeeding = Succeeding(world)
    for kill_at in count(44):
        assert not in_child(succeeding.rotate, kill_at=kill_at)
        if succeeding.alive():
            break
        with world.inside(succeeding.cast):
            Succession.objects.update(state="given_up")
    assert succeeding.states() == {1: VersionState.ACTIVE}
    (lost,) = succeeding.alive()
    assert lost["ttl"] <= LOST_SECONDS
    wait_until(lambda: succeeding.alive() == [], seconds=LOST_SECONDS + 6)
