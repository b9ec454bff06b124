"""Makes the calls that were allowed, streaming both ways. Must never call before the intent is on record, nor twice.

The upstream side is the portal's one outgoing client, which judges every address; it blocks, so each call has a thread.
Pieces go between it and the event loop one at a time, so memory does not grow with what is carried.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from audit.models import Outcome
from audit.services.recording import Event, Target
from byok_portal.errors import InvalidInput, PortalError, Unavailable
from keys.gate.records import Record, record_of
from keys.gate.relay import CallerGoneError
from keys.providers import get_adapter, messages
from keys.providers.contract import Upstream
from keys.upstream.http import STREAM_LIMITS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from uuid import UUID

    from keys.gate.asking import Call
    from keys.gate.judging import Permit
    from keys.gate.relay import Receive
    from keys.upstream.http import Opened, Request

_T = TypeVar("_T")
CALLS: Final = 64
"""Calls under way at once in one gate; each holds a thread."""
CALLS_PER_TENANT: Final = 16
"""One silent provider of one tenant must not hold every thread."""
REQUEST_MAX: Final = 64 * 1024 * 1024
_SWITCH_SECONDS: Final = 0.0005
"""How long the loop may keep a thread that has an answer waiting; Python's own 5 ms would be most of a call."""
_WHOLE: Final = 64 * 1024
"""An answer up to this size goes out in one piece, with its length."""


@dataclass(slots=True)
class Outgoing:
    """Where an answer goes: `begin` once, then `write`. Each is awaited, so a slow reader slows the upstream down."""

    begin: Callable[[int, Mapping[str, str], int | None], Awaitable[None]]
    write: Callable[[bytes, bool], Awaitable[None]]


class Broker:
    """One per gate."""

    def __init__(self, append: Callable[[Record], Awaitable[None]]) -> None:
        """`append`: commits one more event."""
        self._append = append
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._threads = ThreadPoolExecutor(CALLS, thread_name_prefix="call")
        self._taken: Counter[UUID] = Counter()

    def close(self) -> None:
        """Leave; calls under way end with their limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def make(
        self, permit: Permit, call: Call, headers: Mapping[str, str], receive: Receive, outgoing: Outgoing
    ) -> None:
        """Make the call and put its outcome on record, before the last byte leaves.

        Raises PortalError while nothing has been sent; `audit_id` on it is the record of the failure.
        """
        run = _Run(permit, call, headers, receive, outgoing, asyncio.get_running_loop(), self._append)
        try:
            with self._slot(permit.tenant_id):
                # What can be done here is: each step between the loop and a thread waits for both.
                first = await run.read()
                end = await run.loop.run_in_executor(self._threads, run.carry_out, first)
                await run.finish(end)
        except Exception as error:
            # Whatever went wrong, the record says that the call was made and failed. Never the error's text.
            code = error.code if isinstance(error, PortalError) else type(error).__name__
            record = run.outcome(Outcome.FAILED, {"code": code})
            await self._append(record)
            raise BrokenCallError(error, record.event_id, begun=run.begun) from error

    @contextmanager
    def _slot(self, tenant_id: UUID) -> Iterator[None]:
        if self._taken.total() >= CALLS or self._taken[tenant_id] >= CALLS_PER_TENANT:
            raise Unavailable("Too many calls of this tenant wait for its providers.", code="too_many_calls")
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            self._taken += Counter()  # drops the zeros


class BrokenCallError(Exception):
    """A call that failed: why, the entry that says so, and whether an answer had begun."""

    def __init__(self, cause: Exception, audit_id: UUID, *, begun: bool) -> None:
        super().__init__(type(cause).__name__)
        self.cause, self.audit_id, self.begun = cause, audit_id, begun


@dataclass(frozen=True, slots=True)
class _End:
    """What is left to send when the upstream has said everything; of a small answer, all of it."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    size: int


@dataclass(slots=True)
class _Run:
    permit: Permit
    call: Call
    headers: Mapping[str, str]
    receive: Receive
    outgoing: Outgoing
    loop: asyncio.AbstractEventLoop
    append: Callable[[Record], Awaitable[None]]
    begun: bool = False

    async def read(self) -> tuple[bytes, bool]:
        """(a piece of the caller's body, whether there is more)"""
        message = await self.receive()
        if message["type"] != "http.request":
            raise CallerGoneError
        return message.get("body", b""), message.get("more_body", False)

    def carry_out(self, first: tuple[bytes, bool]) -> _End:
        """In a thread of its own; `first` is how the caller's body begins."""
        permit = self.permit
        upstream = Upstream(
            entry=permit.entry,
            base_url=permit.endpoint,
            parameters=permit.parameters,
            allow_private=permit.allow_private,
        )
        request = self._prepare(upstream, *first)
        with messages.stream(upstream, permit.plaintext, request) as opened:
            return self._pass_back(opened)

    async def finish(self, end: _End) -> None:
        """Put the outcome on record, and then let the last byte go."""
        await self.append(self.outcome(Outcome.ALLOWED, {"status": end.status, "bytes": end.size}))
        with suppress(CallerGoneError):
            if not self.begun:
                self.begun = True
                await self.outgoing.begin(end.status, end.headers, len(end.data))
            await self.outgoing.write(end.data, False)  # noqa: FBT003  # the last

    def outcome(self, outcome: Outcome, detail: dict[str, Any]) -> Record:
        """The event that says how the call ended."""
        permit = self.permit
        event = Event("key.called", Target("key", permit.key_id), {"use": str(permit.audit_id), **detail})
        return record_of(permit.actor, event, outcome, {}, permit.tenant_id, permit.audit_key)

    def _prepare(self, upstream: Upstream, first: bytes, more: bool) -> Request:  # noqa: FBT001
        call, headers = self.call, dict(self.headers)
        body: bytes | Iterator[bytes] | None = self._pieces(first) if more else first
        return get_adapter(upstream.entry).prepare(
            upstream,
            self.permit.plaintext,
            call.method,
            call.path,
            call.query,
            headers,
            body or None,
            STREAM_LIMITS,
        )

    def _pieces(self, first: bytes) -> Iterator[bytes]:
        size, piece, more = 0, first, True
        while True:
            size += len(piece)
            if size > REQUEST_MAX:
                raise InvalidInput("The request's body is too large.", code="body_too_large", field="body")
            if piece:
                yield piece
            if not more:
                return
            piece, more = self._await(self.read())

    def _pass_back(self, opened: Opened) -> _End:
        """Small answers whole, with their length; others piece by piece, but for their end."""
        size, held = 0, bytearray()
        is_small = opened.length is not None and opened.length <= _WHOLE
        for piece in opened.pieces:
            size += len(piece)
            held += piece
            if not is_small:
                self._await(self._send(opened, bytes(held)))
                held.clear()
        return _End(opened.status, opened.headers, bytes(held), size)

    async def _send(self, opened: Opened, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            await self.outgoing.begin(opened.status, opened.headers, None)
        await self.outgoing.write(data, True)  # noqa: FBT003  # there is more

    def _await(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()
