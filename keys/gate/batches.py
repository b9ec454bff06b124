"""Requests that wait together are answered together. Must never hold a request back that could go alone.

While every lane is at the database, requests queue; a lane that comes free takes the queue as one batch. Nothing waits
for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from byok_portal.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Taken = TypeVar("Taken", contravariant=True)  # noqa: PLC0105  # named for what it is
Given = TypeVar("Given", covariant=True)  # noqa: PLC0105


class Lane(Protocol[Taken, Given]):
    """Works on one batch at a time."""

    async def work(self, items: Sequence[Taken]) -> Sequence[Given | Exception]:
        """One answer or error per item, in their order. Raises when all failed together."""
        ...


class Batcher(Generic[Item, Answer]):
    """A bounded queue before a few lanes."""

    def __init__(
        self,
        lanes: Sequence[Lane[Item, Answer]],
        *,
        observe: Callable[[int], None],
        most: int = 64,
        waiting: int = 2048,
    ) -> None:
        """`observe` hears the size of each batch; `most` uses make one, `waiting` may queue."""
        self._free = list(lanes)
        self._most, self._limit = most, waiting
        self._queue: deque[tuple[Item, asyncio.Future[Answer], float]] = deque()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = False
        self._observe = observe

    @property
    def waiting(self) -> int:
        """How many wait for a lane."""
        return len(self._queue)

    def oldest(self) -> float:
        """How many seconds the first in the queue has waited."""
        return self._loop.time() - self._queue[0][2] if self._queue else 0.0

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """The answer to come. Raises Unavailable when the queue is full: better said at once than too late."""
        if len(self._queue) >= self._limit:
            raise Unavailable("The gate has more requests than it can answer.", code="overloaded")
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.append((item, future, self._loop.time()))
        if self._free and not self._woken:
            # At the end of this turn of the loop: what arrived with this request goes with it.
            self._woken = True
            self._loop.call_soon(self._start)
        return future

    async def drain(self) -> None:
        """Wait for everything that was submitted."""
        while self._tasks:  # each starts the next before it ends
            await asyncio.wait(self._tasks)

    def _start(self) -> None:
        self._woken = False
        while self._free and self._queue:
            lane, size = self._free.pop(), min(self._most, len(self._queue))
            batch = [self._queue.popleft() for _ in range(size)]
            task = self._loop.create_task(self._serve(lane, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, lane: Lane[Item, Answer], batch: list[tuple[Item, asyncio.Future[Answer], float]]) -> None:
        self._observe(len(batch))
        try:
            answers: Sequence[Answer | Exception] = await lane.work([item for item, _, _ in batch])
        except Exception as error:  # noqa: BLE001  # told to everybody who waits
            answers = [error] * len(batch)
        self._free.append(lane)
        if self._queue:
            self._start()
        for (_, future, _), answer in zip(batch, answers, strict=True):
            if future.done():
                continue  # its caller has gone
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
