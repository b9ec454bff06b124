"""Many uses of many keys at several doors while changes are made; what was answered when, on one clock."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.calling import Answer, Caller, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import psycopg

    from keys.models import Grant, Key
    from tests.world import Cast, Credential

DENIED = 403
UNAUTHENTICATED = 401


@dataclass(eq=False, slots=True)
class Mark:
    """One key as one consumer uses it, and the changes that race against its uses."""

    cast: Cast
    key: Key
    credential: Credential
    grant: Grant
    delivery: str = "decision"
    begun: list[float] = field(default_factory=list)
    """When each change that ends its use was asked for."""
    ended: list[float] = field(default_factory=list)
    """When each change that ends its use had been answered."""
    undone: list[tuple[float, float]] = field(default_factory=list)
    """When the undoing of each was asked for, and when that was answered."""

    @property
    def use(self) -> bytes:
        """The request that is sent over and over."""
        path = f"/api/v1/tenants/{self.cast.slug}/keys/{self.key.slug}/use/"
        document = {"scope": "secrets:read", "purpose": "race", "delivery": self.delivery}
        return request("POST", path, token=self.credential.token, document=document)

    @property
    def closed(self) -> list[tuple[float, float]]:
        """Periods without an allowed use: from the answer of a change until its undoing was asked for."""
        return list(itertools.zip_longest(self.ended, [asked for asked, _ in self.undone], fillvalue=float("inf")))

    @property
    def open(self) -> list[tuple[float, float]]:
        """Periods without a refused use: until the first change was asked for, and from each undoing to the next."""
        return list(zip([float("-inf"), *(done for _, done in self.undone)], [*self.begun, float("inf")], strict=False))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one use was told, and at which door."""

    mark: Mark
    port: int
    answer: Answer

    @property
    def allowed(self) -> bool:
        return self.answer.status == 200


class Race:
    """`uses` requests to each port, going on until every change has been made."""

    def __init__(self, marks: list[Mark], uses: dict[int, int], *, callers: dict[int, int]) -> None:
        self.receipts: list[Receipt] = []
        self.hot: Mark | None = None
        """What is about to change: half of all uses are of it."""
        self._marks, self._uses, self._count = marks, uses, callers
        self._requests = {mark: mark.use for mark in marks}
        self._changing = True
        self._reached = asyncio.Condition()

    async def run(self, changes: list[Callable[[Race], Awaitable[None]]]) -> None:
        """Race, with the changes spread over the uses."""
        loads = [self._load(port) for port, count in self._count.items() for _ in range(count)]
        await asyncio.gather(self._change(changes), *loads)

    @asynccontextmanager
    async def ending(self, mark: Mark, *also: Mark) -> AsyncIterator[None]:
        """Around a change that ends the use of marks; at once afterwards each door is asked for the first."""
        self.hot = mark
        await asyncio.sleep(0.02)  # only so that some of it are under way
        for each in (mark, *also):
            each.begun.append(time.monotonic())
        yield
        moment = time.monotonic()
        for each in (mark, *also):
            each.ended.append(moment)
        await self.ask_everywhere(mark)
        self.hot = None

    async def ask_everywhere(self, mark: Mark) -> None:
        """One use at each door, now."""
        await asyncio.gather(*(self._ask_once(mark, port) for port in self._uses))

    async def _ask_once(self, mark: Mark, port: int) -> None:
        # A new connection: one that idles for seconds is closed by the server, perhaps just as we ask.
        with closing(Caller(port)) as caller:
            self.receipts.append(Receipt(mark, port, await caller.ask(self._requests[mark])))

    async def _load(self, port: int) -> None:
        chance = random.Random(port)  # noqa: S311  # which key comes next is no secret
        with closing(Caller(port)) as caller:
            while self._uses[port] > 0 or self._changing:
                self._uses[port] -= 1
                mark = self.hot if self.hot is not None and chance.random() < 0.5 else chance.choice(self._marks)
                self.receipts.append(Receipt(mark, port, await caller.ask(self._requests[mark])))
                if len(self.receipts) % 50 == 0:
                    async with self._reached:
                        self._reached.notify_all()
                if self._uses[port] <= 0:
                    await asyncio.sleep(0.01)  # changes go on; what is left of the machine is for them

    async def _change(self, changes: list[Callable[[Race], Awaitable[None]]]) -> None:
        total = sum(self._uses.values())
        try:
            for number, change in enumerate(changes, start=1):
                goal = total * number // (len(changes) + 2)
                async with self._reached:
                    await self._reached.wait_for(lambda: len(self.receipts) >= goal)  # noqa: B023  # awaited here
                await change(self)
        finally:
            self._changing = False


def stale(receipts: list[Receipt]) -> list[Receipt]:
    """Allowed uses that began after a change was answered that ended them, and were over before its undoing."""
    return [each for each in receipts if each.allowed and _within(each, each.mark.closed)]


def wrongly_refused(receipts: list[Receipt]) -> list[Receipt]:
    """Refused uses that were over before a change was asked for, and began after the last one was undone."""
    return [each for each in receipts if not each.allowed and _within(each, each.mark.open)]


def _within(receipt: Receipt, periods: list[tuple[float, float]]) -> bool:
    answer = receipt.answer
    return any(start < answer.started and answer.ended < end for start, end in periods)


def recorded(admin: psycopg.Connection, tenants: list[object]) -> list[tuple[str, str, str]]:
    """(id, outcome, code) of every use of the tenants that is on record, numbered or not yet."""
    rows = admin.execute(
        """
        SELECT body->>'id', body->>'outcome', coalesce(body->'detail'->>'code', 'allowed') FROM (
          SELECT body::jsonb AS body FROM audit_inbox WHERE tenant_id = ANY (%(tenants)s)
          UNION ALL SELECT leaf::jsonb->'body' FROM audit_entry WHERE tenant_id = ANY (%(tenants)s)
        ) events WHERE body->>'action' = 'key.used'
        """,
        {"tenants": tenants},
    )
    return [(event, outcome, code) for event, outcome, code in rows]
