"""Twenty thousand uses race against ends of every kind, over two gates and a web: not one stale answer, each on record
exactly once.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from bench.calling import Caller, request
from tests import spawning
from tests.gate import gates
from tests.gate.racing import UNAUTHENTICATED, Mark, Race, recorded, stale, wrongly_refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import psycopg

    from byok_portal.boundary.actors import Actor
    from keys.models import Key
    from tests.world import World

    Change = Callable[[Race], Awaitable[None]]

USES, AT_WEB = 20_000, 1_200
RIGHTS = ("key:suspend", "key:resume", "key:revoke", "grant:end", "consumer:end")
REVOKED, SUSPENDED, GRANTS_ENDED, CONSUMERS_ENDED, OFFBOARDED = 6, 10, 8, 4, 3


@pytest.fixture(scope="module")
def doors(world_setup: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, int]]:
    """Ports of two gates and of the web behind them; a sequencer numbers what they record."""
    folder = tmp_path_factory.mktemp("doors")
    with gates.web(folder) as web, spawning.start("sequencer") as sequencer:
        behind = f"http://127.0.0.1:{web}"
        with gates.running(folder, web=behind) as one, gates.running(folder, web=behind) as other:
            yield one, other, web
        sequencer.terminate()


class Stage:
    """A tenant whose marks are changed one after another, by a consumer with the rights to, through the API."""

    def __init__(self, world: World, doors: tuple[int, ...]) -> None:
        self._world, self._doors = world, doors
        self.cast = world.tenant()
        self._operator = world.consumer(self.cast, scopes=RIGHTS)
        self._asked = 0

    @cached_property
    def key(self) -> Key:
        """One that many consumers use."""
        return self._world.key(self.cast)

    def mark(self, *, own: bool = False, delivery: str = "decision") -> Mark:
        """A consumer with a grant on that key, or on one of its own."""
        key, credential = self._world.key(self.cast) if own else self.key, self._world.consumer(self.cast)
        return Mark(self.cast, key, credential, self._world.grant(self.cast, key, credential), delivery)

    async def change(self, path: str, **document: str) -> None:
        """Through each door in turn: what a gate does not know it has the web answer."""
        self._asked += 1
        asked = request(
            "POST", f"/api/v1/tenants/{self.cast.slug}/{path}", token=self._operator.token, document=document
        )
        with closing(Caller(self._doors[self._asked % len(self._doors)])) as caller:
            answer = await caller.ask(asked)
        assert answer.status == 200, answer.body

    def revoke(self, mark: Mark) -> Change:
        async def act(race: Race) -> None:
            async with race.ending(mark):
                await self.change(f"keys/{mark.key.slug}/revoke/", reason="cessation_of_operation")

        return act

    def suspend(self, mark: Mark) -> Change:
        async def act(race: Race) -> None:
            async with race.ending(mark):
                await self.change(f"keys/{mark.key.slug}/suspend/", note="race")
            asked = time.monotonic()
            await self.change(f"keys/{mark.key.slug}/resume/", note="race")
            mark.undone.append((asked, time.monotonic()))
            await race.ask_everywhere(mark)

        return act

    def end_grant(self, mark: Mark) -> Change:
        async def act(race: Race) -> None:
            async with race.ending(mark):
                path = f"keys/{mark.key.slug}/grants/{mark.grant.id}/end/"
                await self.change(path, reason="privilege_withdrawn")

        return act

    def end_consumer(self, mark: Mark) -> Change:
        async def act(race: Race) -> None:
            async with race.ending(mark):
                await self.change(f"consumers/{mark.credential.consumer.slug}/end/", reason="privilege_withdrawn")

        return act


def offboard(world: World, staff: Actor, marks: list[Mark]) -> Change:
    """The end of a tenant, which only staff may start: in a thread, as the staff admin calls it."""
    from keys.services import offboarding  # noqa: PLC0415  # settings must be ready

    cast = marks[0].cast

    def start() -> None:
        try:
            with world.bound(cast):
                offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
        finally:
            connections.close_all()

    async def act(race: Race) -> None:
        async with race.ending(*marks):
            await asyncio.to_thread(start)

    return act


def in_turns(*kinds: list[Change]) -> list[Change]:
    """All changes, so that those of one kind are spread over the whole."""
    placed = [((place + 0.5) / len(kind), change) for kind in kinds for place, change in enumerate(kind)]
    return [change for _, change in sorted(placed, key=lambda each: each[0])]


def test_no_answer_is_stale_and_each_is_on_record_once(
    world: World, doors: tuple[int, int, int], admin_connection: psycopg.Connection
) -> None:
    stage, staff = Stage(world, doors), world.staff_actor()
    revoked = [stage.mark(own=True) for _ in range(REVOKED)]
    suspended = [stage.mark(own=True), stage.mark(own=True, delivery="lease")]
    ended, left = [[stage.mark() for _ in range(count)] for count in (GRANTS_ENDED, CONSUMERS_ENDED)]
    steady = [stage.mark(), stage.mark(delivery="lease")]
    others = [Stage(world, doors) for _ in range(OFFBOARDED)]
    leaving = [[other.mark(), other.mark(delivery="lease")] for other in others]
    marks = [*revoked, *ended, *left, *suspended, *steady, *itertools.chain(*leaving)]
    changes = in_turns(
        [stage.revoke(mark) for mark in revoked],
        [stage.suspend(suspended[turn % 2]) for turn in range(SUSPENDED)],
        [stage.end_grant(mark) for mark in ended],
        [stage.end_consumer(mark) for mark in left],
        [offboard(world, staff, pair) for pair in leaving],
    )
    one, other, web = doors

    async def race() -> Race:
        at_gates = (USES - AT_WEB) // 2
        racing = Race(marks, {one: at_gates, other: at_gates, web: AT_WEB}, callers={one: 20, other: 20, web: 6})
        await racing.run(changes)
        return racing

    receipts = asyncio.run(race()).receipts
    assert len(receipts) >= USES
    assert all(mark.ended for mark in marks if mark not in steady)
    assert stale(receipts) == []
    assert wrongly_refused(receipts) == []
    # Who is not known has no entry: there is nobody to write it to.
    strangers = [each for each in receipts if not each.answer.audit_id]
    assert {each.answer.status for each in strangers} == {UNAUTHENTICATED}
    assert {each.mark for each in strangers} <= {*left, *itertools.chain(*leaving)}
    answered = [
        (each.answer.audit_id, "allowed" if each.allowed else "denied", each.answer.code)
        for each in receipts
        if each.answer.audit_id
    ]
    assert sorted(answered) == sorted(recorded(admin_connection, list({mark.cast.id for mark in marks})))


def test_a_rate_is_one_over_all_processes(
    world: World, doors: tuple[int, int, int], admin_connection: psycopg.Connection
) -> None:
    """Counted in the windows of the database, so that a minute that begins meanwhile changes nothing."""
    rate, callers, each = 40, 4, 25
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    mark = Mark(cast, key, credential, world.grant(cast, key, credential, rate_per_minute=rate))

    async def race() -> Race:
        racing = Race([mark], dict.fromkeys(doors, callers * each), callers=dict.fromkeys(doors, callers))
        await racing.run([])
        return racing

    receipts = asyncio.run(race()).receipts
    windows = [
        int(uses)
        for (uses,) in admin_connection.execute("SELECT uses FROM keys_ratewindow WHERE grant_id = %s", [mark.grant.id])
    ]
    told = Counter(each.answer.code for each in receipts)
    assert told.keys() == {"allowed", "rate_exceeded"}
    assert told["allowed"] == sum(min(uses, rate) for uses in windows)
    assert told.total() == sum(windows) >= 3 * callers * each
    assert {each.port for each in receipts if not each.allowed} == set(doors)
    assert Counter(recorded(admin_connection, [cast.id])).keys() == {
        (each.answer.audit_id, "allowed" if each.allowed else "denied", each.answer.code) for each in receipts
    }
