"""Requests that wait together are answered together. Must never hold a request back that could go alone.

While a batch is at the database, requests queue, and go as the next one when it is back: fewer and larger batches cost
less than several at once. Only when the first of them has waited for long does another lane take them.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog

from byok_portal.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Taken = TypeVar("Taken", contravariant=True)  # noqa: PLC0105  # named for what it is
Given = TypeVar("Given", covariant=True)  # noqa: PLC0105
log = structlog.get_logger("byok.gate")


class Lane(Protocol[Taken, Given]):
    """Works on one batch at a time."""

    def begin(self, items: Sequence[Taken], finish: Callable[[Sequence[Given | Exception]], None]) -> None:
        """Work on a batch; `finish` is told one answer or error per item, in their order, once."""
        ...


class TaskLane(Generic[Item, Answer]):
    """A lane whose work is a coroutine."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def begin(self, items: Sequence[Item], finish: Callable[[Sequence[Answer | Exception]], None]) -> None:
        """As `Lane`."""
        self._task = asyncio.get_running_loop().create_task(self._run(items, finish))

    async def work(self, items: Sequence[Item]) -> Sequence[Answer | Exception]:
        """One answer or error per item, in their order. Raises when all failed together."""
        raise NotImplementedError

    async def _run(self, items: Sequence[Item], finish: Callable[[Sequence[Answer | Exception]], None]) -> None:
        try:
            answers = await self.work(items)
        except Exception as error:  # noqa: BLE001  # told to everybody who waits
            answers = [error] * len(items)
        finish(answers)


class Batcher(Generic[Item, Answer]):
    """A bounded queue before a few lanes."""

    def __init__(
        self,
        lanes: Sequence[Lane[Item, Answer]],
        *,
        observe: Callable[[int], None],
        most: int = 64,
        waiting: int = 2048,
        patience: float = 0.01,
    ) -> None:
        """`observe` hears the size of each batch; `most` uses make one, `waiting` may queue.

        `patience`: seconds that the first in the queue waits for the lane that is at work before another begins.
        """
        self._free = list(lanes)
        self._lanes = len(self._free)
        self._most, self._limit, self._patience = most, waiting, patience
        self._is_timed = False
        self._queue: deque[tuple[Item, Callable[[Answer | Exception], None], float]] = deque()
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self._observe = observe

    @property
    def waiting(self) -> int:
        """How many wait for a lane."""
        return len(self._queue)

    @property
    def is_busy(self) -> bool:
        """Whether what is submitted now must wait for a batch under way."""
        return len(self._free) < self._lanes

    def oldest(self) -> float:
        """How many seconds the first in the queue has waited."""
        return self._loop.time() - self._queue[0][2] if self._queue else 0.0

    def submit(self, item: Item, done: Callable[[Answer | Exception], None]) -> None:
        """Have `done` told the answer. Raises Unavailable when the queue is full: better said at once than too late."""
        if len(self._queue) >= self._limit:
            raise Unavailable("The gate has more requests than it can answer.", code="overloaded")
        self._queue.append((item, done, self._loop.time()))
        if len(self._free) == self._lanes:
            self._idle.clear()
            self._start()
        elif not self._is_timed:
            self._is_timed = True
            self._loop.call_later(self._patience, self._look)

    def ask(self, item: Item) -> asyncio.Future[Answer]:
        """The answer to come. Raises as `submit`."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        self.submit(item, functools.partial(_settle, future))
        return future

    async def drain(self) -> None:
        """Wait for everything that was submitted."""
        await self._idle.wait()

    def _look(self) -> None:
        """Whether the first in the queue has waited for too long."""
        self._is_timed = False
        if not self._queue or not self._free:
            return  # when a lane comes free, it takes what waits
        left = self._patience - self.oldest()
        if left <= 0:
            self._start()
            left = self._patience
        if self._queue:
            self._is_timed = True
            self._loop.call_later(left, self._look)

    def _start(self) -> None:
        if not (self._free and self._queue):
            return
        lane, size = self._free.pop(), min(self._most, len(self._queue))
        batch = [self._queue.popleft() for _ in range(size)]
        self._observe(size)
        finish = functools.partial(self._finish, lane, batch)
        try:
            lane.begin([item for item, _, _ in batch], finish)
        except Exception as error:  # noqa: BLE001  # told to everybody who waits
            finish([error] * size)

    def _finish(
        self,
        lane: Lane[Item, Answer],
        batch: Sequence[tuple[Item, Callable[[Answer | Exception], None], float]],
        answers: Sequence[Answer | Exception],
    ) -> None:
        """The next batch first: the database works on it while these answers are sent."""
        self._free.append(lane)
        if self._queue:
            self._start()
        elif len(self._free) == self._lanes:
            self._idle.set()
        for (_, done, _), answer in zip(batch, answers, strict=True):
            try:
                done(answer)
            except Exception as error:  # one caller's trouble is not the others'
                log.exception("unhandled", error=type(error).__name__)


def _settle(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():
        return  # its caller has gone
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
