"""The faults, and how long each part of a portal takes to answer well again."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg

from bench.calling import Answer, Caller
from bench.mixing import use_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.mixing import Cast, Ledger
    from bench.standing import Keeper, Ports, Servers

PATIENCE: Final = 120.0
SLOW_SECONDS: Final = 3.0
_BODY: Final = b'{"data":{"data":{"total":"42"},"metadata":{"version":1}}}'
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)


class Provider:
    """An upstream whose pace can be changed."""

    pace = 0.0

    async def serve(self, port: int) -> asyncio.Server:
        """Answers on the port of loopback until it is closed."""
        return await asyncio.start_server(self._answer, "127.0.0.1", port)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the last: when the run ends
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self.pace)
                writer.write(_HEAD + _BODY)
                await writer.drain()
        writer.close()


@dataclass(frozen=True, slots=True)
class Fault:
    """`happen` returns when it is there, `mend` when what a person would do about it is done."""

    name: str
    happen: Callable[[], Awaitable[None]]
    mend: Callable[[], Awaitable[None]]
    after: Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Recovery:
    """Seconds from a fault to the first good answer of each part; none where there was none in time."""

    fault: str
    at: float
    seconds: dict[str, float | None] = field(default_factory=dict)


class Breaker:
    """Does one fault after another to a portal, and asks each of its parts when it is well again."""

    def __init__(
        self, servers: Servers, keeper: Keeper, ports: Ports, provider: Provider, cast: Cast, ledger: Ledger
    ) -> None:
        self.servers, self.keeper, self.ports, self.provider = servers, keeper, ports, provider
        self.cast, self.ledger = cast, ledger
        # Of a key that the load does not suspend.
        self._use = use_of(cast.uses[-1])

    def faults(self) -> list[Fault]:
        """Each kind once, in the order of their turns."""
        found = [self._kill(name) for name in ("gate-1", "worker", "sequencer", "web")]
        found += [
            Fault("upstream slow", self._slow, self._quicken, _nothing),
            Fault("database restarted", self._stop_database, self._start_database, _nothing),
            Fault("standby promoted", self._kill_primary, self._promote, self._rebuild),
        ]
        return found

    def start(self) -> Fault:
        """No fault: what is measured is the start of everything."""
        return Fault("start", _nothing, _nothing, _nothing)

    async def do(self, fault: Fault, began: float) -> Recovery:
        """Let it happen, mend it, and wait until every part is well."""
        await fault.happen()
        now, moment = time.monotonic(), time.time()
        parts: dict[str, Callable[[], Awaitable[bool]]] = {
            "gate 1": lambda: self._uses(self.ports.gates[0]),
            "gate 2": lambda: self._uses(self.ports.gates[1]),
            "web": lambda: self._uses(self.ports.web),
            "brokered call": self._calls,
            "sequencer": self._numbers,
            "worker": lambda: self._works(moment),
        }
        waits = [self._wait(now, part) for part in parts.values()]
        _, *seconds = await asyncio.gather(fault.mend(), *waits)
        await fault.after()
        return Recovery(fault.name, now - began, dict(zip(parts, seconds, strict=True)))

    async def _wait(self, since: float, part: Callable[[], Awaitable[bool]]) -> float | None:
        while time.monotonic() - since < PATIENCE:
            with suppress(OSError, psycopg.Error):
                if await part():
                    return time.monotonic() - since
            await asyncio.sleep(0.02)
        return None

    async def ask(self, port: int, request: bytes) -> Answer:
        """One request on a connection of its own; what it acknowledges counts."""
        caller = Caller(port, patience=5)
        try:
            answer = await caller.ask(request)
        finally:
            caller.close()
        if answer.audit_id:
            self.ledger.acknowledged.setdefault(UUID(answer.audit_id).bytes, False)
        return answer

    async def _uses(self, port: int) -> bool:
        return (await self.ask(port, self._use)).status == 200

    async def _calls(self) -> bool:
        answer = await self.ask(self.ports.gates[1], self.cast.call())
        return answer.status in {200, 403} and answer.ended - answer.started < SLOW_SECONDS

    async def _numbers(self) -> bool:
        """Whether a use that begins now gets its number."""
        answer = await self.ask(self.ports.gates[1], self._use)
        deadline = time.monotonic() + 5
        while answer.status == 200 and time.monotonic() < deadline:
            if await asyncio.to_thread(self._has_row, "audit_entry WHERE event_id = %s", answer.audit_id):
                return True
            await asyncio.sleep(0.05)
        return False

    async def _works(self, moment: float) -> bool:
        return await asyncio.to_thread(self._has_row, "boundary_pulse WHERE beat_at > to_timestamp(%s)", moment)

    def _has_row(self, place: str, value: object) -> bool:
        with self.servers.admin() as admin:
            return admin.execute(f"SELECT FROM {place}".encode(), [value]).fetchone() is not None

    def _kill(self, name: str) -> Fault:
        async def kill() -> None:
            self.keeper.kept[name].kill()

        return Fault(f"{name} killed", kill, _nothing, _nothing)

    async def _slow(self) -> None:
        """For as long as a few calls take; uses must not notice."""
        self.provider.pace = SLOW_SECONDS
        began = time.monotonic()
        while time.monotonic() - began < 3 * SLOW_SECONDS:
            answer = await self.ask(self.ports.gates[0], self._use)
            self.ledger.add("use, upstream slow", answer, frozenset({200}))
            await asyncio.sleep(0.05)

    async def _quicken(self) -> None:
        self.provider.pace = 0.0

    async def _stop_database(self) -> None:
        await asyncio.to_thread(self.servers.primary.stop)

    async def _start_database(self) -> None:
        await asyncio.to_thread(self.servers.restart)

    async def _kill_primary(self) -> None:
        await asyncio.to_thread(self.servers.kill_primary)

    async def _promote(self) -> None:
        await asyncio.to_thread(self.servers.promote)

    async def _rebuild(self) -> None:
        await asyncio.to_thread(self.servers.rebuild)


async def _nothing() -> None:
    """It mends itself."""
