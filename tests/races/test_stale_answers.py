"""A use that starts after an end was answered is refused: over a hundred racing trials, not one stale answer.

`BYOK_RACES=10` makes it more than a thousand.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections

from byok_portal.boundary import actors
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.permissions import Permission
from keys.services import grants, lifecycle, offboarding, uses
from tenants.services import consumers, tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from keys.models import Grant, Key
    from tests.world import Cast, Credential, World

CALLERS = 2
TIMES = int(os.environ.get("BYOK_RACES", "1"))


@dataclass(slots=True)
class Race:
    """Threads that use one key as fast as they can, each on its own connection; every answer keeps its start time."""

    world: World
    cast: Cast
    key: Key
    credential: Credential
    answers: list[tuple[float, bool]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def call(self) -> None:
        actor = actors.consumer(
            self.credential.consumer.id,
            tenant_id=self.cast.id,
            scopes=frozenset({Permission.KEY_USE}),
            label="racer",
            origin=Origin(address="127.0.0.1"),
        )
        try:
            with self.world.bound(self.cast):
                while not self.stop.is_set():
                    started = time.monotonic()
                    answer = uses.use(
                        actor=actor,
                        token_id=self.credential.token_id,
                        key_reference=str(self.key.id),
                        scope="secrets:read",
                        purpose="race",
                    )
                    self.answers.append((started, answer.decision.allowed))
        except BaseException as error:  # noqa: BLE001  # shown by the test, in its own thread
            self.failures.append(error)
        finally:
            connections.close_all()

    def stale_since(self, moment: float, *, until: float) -> list[tuple[float, bool]]:
        """Allowed answers of uses that started in a period in which none may be allowed."""
        return [each for each in list(self.answers) if each[1] and moment <= each[0] < until]

    def wait_for_denial(self, moment: float) -> None:
        """Until every caller has had a use refused that started after `moment`."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if sum(1 for started, allowed in list(self.answers)[-50:] if started >= moment and not allowed) >= CALLERS:
                return
            time.sleep(0.001)
        raise AssertionError("no use was refused after the end was answered")


@contextmanager
def racing(world: World, cast: Cast, key: Key, credential: Credential) -> Iterator[Race]:
    race = Race(world, cast, key, credential)
    threads = [threading.Thread(target=race.call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield race
    finally:
        race.stop.set()
        for thread in threads:
            thread.join()
        assert race.failures == []


def ready(world: World) -> tuple[Cast, Key, Credential, Grant]:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    return cast, key, credential, world.grant(cast, key, credential)


def reversible_trials(race: Race, end: Callable[[], object], undo: Callable[[], object], *, times: int) -> int:
    """`times` ends, each answered while callers race, each undone; returns how many uses were seen refused."""
    for _ in range(times):
        end()
        answered = time.monotonic()
        race.wait_for_denial(answered)
        closed = time.monotonic()
        assert race.stale_since(answered, until=closed) == []
        undo()
        race.answers.clear()
    return times


def test_no_use_is_allowed_after_a_suspension_was_answered(world: World) -> None:
    cast, key, credential, _ = ready(world)
    staff = world.staff_actor()
    with racing(world, cast, key, credential) as race, world.bound(cast):
        done = reversible_trials(
            race,
            lambda: lifecycle.suspend(actor=cast.actor, key_id=key.id),
            lambda: lifecycle.resume(actor=cast.actor, key_id=key.id),
            times=50 * TIMES,
        )
        done += reversible_trials(
            race,
            lambda: tenants.suspend_tenant(actor=staff),
            lambda: tenants.resume_tenant(actor=staff),
            times=35 * TIMES,
        )
    assert done == 85 * TIMES


def test_no_use_is_allowed_after_a_grant_or_a_token_ended(world: World) -> None:
    cast, key, credential, _ = ready(world)
    with racing(world, cast, key, credential) as race, world.bound(cast):
        for _ in range(15 * TIMES):
            grant = race_grant(world, cast, key, credential)
            grants.end(actor=cast.actor, key_id=key.id, grant_id=grant.id, reason="privilege_withdrawn")
            answered = time.monotonic()
            race.wait_for_denial(answered)
            assert race.stale_since(answered, until=time.monotonic()) == []
            race.answers.clear()
            world.grant(cast, key, credential)
        consumers.revoke_token(actor=cast.actor, consumer_id=credential.consumer.id, token_id=credential.token_id)
        answered = time.monotonic()
        race.wait_for_denial(answered)
        assert race.stale_since(answered, until=time.monotonic()) == []


def race_grant(world: World, cast: Cast, key: Key, credential: Credential) -> Grant:
    from keys.models import Grant  # noqa: PLC0415

    with world.inside(cast):
        return Grant.objects.get(key_id=key.id, consumer_id=credential.consumer.id, state="active")


def test_no_use_is_allowed_after_a_revocation_was_answered(world: World) -> None:
    cast = world.tenant()
    for _ in range(10 * TIMES):
        key, credential = world.key(cast), world.consumer(cast)
        world.grant(cast, key, credential)
        with racing(world, cast, key, credential) as race, world.bound(cast):
            lifecycle.revoke(actor=cast.actor, key_id=key.id, reason="cessation_of_operation")
            answered = time.monotonic()
            race.wait_for_denial(answered)
        assert race.stale_since(answered, until=time.monotonic()) == []


def test_no_use_is_allowed_after_an_offboarding_was_answered(world: World) -> None:
    staff = world.staff_actor()
    for _ in range(5 * TIMES):
        cast, key, credential, _grant = ready(world)
        with racing(world, cast, key, credential) as race, world.bound(cast):
            offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
            answered = time.monotonic()
            race.wait_for_denial(answered)
        assert race.stale_since(answered, until=time.monotonic()) == []


def test_no_use_is_allowed_after_the_clock_ended_a_grant_with_no_job_running(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast, key, credential, grant = ready(world)
    with racing(world, cast, key, credential) as race:
        for _ in range(25 * TIMES):
            moment = _end_soon(admin_connection, grant)
            time.sleep(max(0.0, moment - time.monotonic()))
            race.wait_for_denial(moment)
            assert race.stale_since(moment, until=time.monotonic()) == []
            race.answers.clear()


def _end_soon(admin: psycopg.Connection, grant: Grant) -> float:
    """Move the grant's end 20 ms ahead; returns that moment on the monotonic clock, plus a millisecond."""
    admin.execute(
        "UPDATE keys_grant SET expires_at = clock_timestamp() + interval '20 ms', starts_at = now() - interval '1 day' "
        "WHERE id = %s",
        [grant.id],
    )
    after = time.monotonic()
    return after + 0.021
