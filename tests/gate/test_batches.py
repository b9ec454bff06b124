"""Who waits together goes together, and nobody waits for long because one batch does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from byok_portal.errors import Unavailable
from keys.gate.batches import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence


class SlowLane:
    """Finishes when it is told to."""

    def __init__(self) -> None:
        self.begun: list[tuple[list[Any], Callable[[Sequence[Any]], None]]] = []

    def begin(self, items: Sequence[Any], finish: Callable[[Sequence[Any]], None]) -> None:
        self.begun.append((list(items), finish))

    def finish(self, batch: int) -> None:
        items, finish = self.begun[batch]
        finish([f"{item} done" for item in items])


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))


def make(lanes: int = 2, **options: Any) -> tuple[Batcher[Any, Any], list[SlowLane], list[int]]:
    sizes: list[int] = []
    found = [SlowLane() for _ in range(lanes)]
    return Batcher(found, observe=sizes.append, **options), found, sizes


def test_what_arrives_while_a_batch_is_under_way_goes_as_the_next() -> None:
    async def work() -> None:
        batcher, (spare, lane), sizes = make(patience=10)
        first = batcher.ask(1)
        others = [batcher.ask(n) for n in (2, 3, 4)]
        assert sizes == [1]
        lane.finish(0)
        assert await first == "1 done"
        assert sizes == [1, 3]
        lane.finish(1)
        assert await asyncio.gather(*others) == ["2 done", "3 done", "4 done"]
        assert not spare.begun

    run(work)


def test_another_lane_takes_what_has_waited_for_long() -> None:
    async def work() -> None:
        batcher, (spare, lane), sizes = make(patience=0.02)
        stuck = batcher.ask(1)
        others = [batcher.ask(2), batcher.ask(3)]
        for _ in range(1000):
            if spare.begun:
                break
            await asyncio.sleep(0.01)
        spare.finish(0)
        assert await asyncio.gather(*others) == ["2 done", "3 done"]
        assert not stuck.done()
        later = batcher.ask(4)  # the lane that is held up is not waited for either
        for _ in range(1000):
            if len(spare.begun) == 2:
                break
            await asyncio.sleep(0.01)
        spare.finish(1)
        assert await later == "4 done"
        lane.finish(0)
        assert await stuck == "1 done"
        await batcher.drain()
        assert sizes == [1, 2, 1]

    run(work)


def test_a_full_queue_is_said_at_once_and_a_batch_has_its_limit() -> None:
    async def work() -> None:
        batcher, (lane,), sizes = make(lanes=1, most=2, waiting=3)
        asked = [batcher.ask(n) for n in range(4)]
        with pytest.raises(Unavailable) as full:
            batcher.ask(4)
        assert full.value.code == "overloaded"
        for batch in range(3):
            lane.finish(batch)
        assert await asyncio.gather(*asked) == [f"{n} done" for n in range(4)]
        assert sizes == [1, 2, 1]

    run(work)


def test_a_lane_that_cannot_begin_and_a_caller_that_cannot_hear_hold_nobody_up() -> None:
    class Broken(SlowLane):
        def begin(self, items: Sequence[Any], finish: Callable[[Sequence[Any]], None]) -> None:
            if "bad" in items:
                raise ZeroDivisionError
            finish(items)

    async def work() -> None:
        nothing: dict[Any, Any] = {}
        sizes: list[int] = []
        batcher: Batcher[Any, Any] = Batcher([Broken()], observe=sizes.append, most=1)
        bad, good = batcher.ask("bad"), batcher.ask("good")
        batcher.submit("deaf", nothing.__getitem__)
        last = batcher.ask("last")
        with pytest.raises(ZeroDivisionError):
            await bad
        assert [await good, await last] == ["good", "last"]
        await batcher.drain()

    run(work)
