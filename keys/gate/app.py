"""The gate as an ASGI application: uses are answered here, everything else by the web behind it."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import connections

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from byok_portal.errors import PortalError
from keys.facts import UseRequest
from keys.gate import asking, metrics
from keys.gate.batches import Batcher
from keys.gate.brokering import BrokenCallError, Broker, Outgoing
from keys.gate.heads import Heads
from keys.gate.introspecting import IntrospectLane, Presented
from keys.gate.judging import Judge, PassOn, Permit, clock
from keys.gate.lanes import RecordLane, UseLane
from keys.gate.links import Database
from keys.gate.relay import BrokenAnswerError, CallerGoneError, Relay, malformed
from keys.gate.remembering import FactsMemory
from keys.gate.replies import Reply, Writer
from keys.gate.wire import address_of, is_json, read_body, send_reply
from keys.states import Delivery
from tenants.rules import require_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from keys.gate.heads import Head
    from keys.gate.judging import Answer
    from keys.gate.records import Record
    from keys.gate.relay import Receive, Scope, Send
    from keys.gate.serving import ShortCycle

LANES: Final = 2
"""Links to the database for uses: one, and another for when that one is held up."""
log = structlog.get_logger("byok.gate")
_CALLS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_DJANGOS: Final = frozenset({"client_encoding", "context", "cursor_factory", "prepare_threshold", "autocommit"})
"""What Django tells psycopg; the rest is libpq's, such as `target_session_attrs` of an address with several hosts."""
_FAILED: Final = PortalError("The portal failed to answer. The request id names this failure in its log.")


class Gate:
    """One per process; `start` and `stop` are called by the server's lifespan."""

    def __init__(self, *, web: str) -> None:
        self._web = web
        self.heads = Heads()

    async def start(self) -> None:
        """Ready caches and lanes; links open with their first batch."""
        self._writer = Writer()
        parameters = _parameters()
        self._databases = [Database(parameters) for _ in range(LANES)]
        self._judge, self._facts = Judge(self._writer), FactsMemory()
        self._uses: Batcher[asking.Asked, Answer] = Batcher(
            [UseLane(each, self._judge, self._facts) for each in self._databases], observe=metrics.BATCH.observe
        )
        self._record_database = Database(parameters)
        self._introspect_database = Database(parameters)
        self._databases += [self._record_database, self._introspect_database]
        self._records: Batcher[Record, None] = Batcher(
            [RecordLane(self._record_database)], observe=metrics.BATCH.observe
        )
        self._introspections: Batcher[Presented, Reply | PassOn] = Batcher(
            [IntrospectLane(self._introspect_database, self._writer)], observe=metrics.BATCH.observe
        )
        self._broker = Broker(self._records.ask)
        metrics.watch(self._read_gauges)
        # What is here now stays, and a use makes a hundred objects but no cycle: the collector need not look so often.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        self._relay = Relay(self._web)

    def _read_gauges(self) -> metrics.Gauges:
        links = sum(database.is_open for database in self._databases)
        return metrics.Gauges(waiting=self._uses.waiting, oldest=self._uses.oldest(), links=links)

    async def stop(self) -> None:
        """Answer what is under way, then leave."""
        await self._uses.drain()
        await self._records.drain()
        await self._introspections.drain()
        self._broker.close()
        await self._relay.close()
        for database in self._databases:
            await database.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, route = time.perf_counter(), "web"
        try:
            route = await self._dispatch(scope, receive, send)
        except CallerGoneError:
            return
        except (BrokenCallError, BrokenAnswerError):
            raise  # the server cuts the connection: nobody may take half an answer for a whole one
        except PortalError as error:
            await send_reply(send, self._writer.problem(error, request_id=new_id()))
        except Exception as error:  # the type and the stack, never the text: it may quote what the caller sent
            log.exception("unhandled", error=type(error).__name__)
            await send_reply(send, self._writer.problem(_FAILED, request_id=new_id()))
        metrics.observe(route, time.perf_counter() - started)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> str:
        """Answer, or have the web answer. Returns the route, for the figures."""
        method, path, read, more = scope["method"], scope["path"], b"", True
        place = asking.find_use(path) if method == "POST" else None
        if (place is not None or (method == "POST" and path == asking.INTROSPECT)) and not scope["query_string"]:
            read, is_small, more = await read_body(receive)
            reply = None
            if is_small:
                reply = await (self._use(scope, place, read) if place else self._introspect(scope, read))
            if isinstance(reply, Reply):
                await send_reply(send, reply)
                route = "use" if place else "introspect"
                metrics.count_answer(route, reply.status, reply.code)
                return route
        brokered = asking.find_proxy(path) if method in _CALLS else None
        if brokered is not None and await self._proxy(scope, brokered, receive, send):
            return "proxy"
        metrics.count_passed()
        await self._relay.serve(scope, receive, send, read=read, more=more)
        return "web"

    async def _use(self, scope: Scope, place: asking.Place, body: bytes) -> Reply | None:
        """The answer to one use; None when the web shall give it."""
        head = self.heads.read(scope, place)
        asked = self._ask(head, body) if head is not None else None
        if not isinstance(asked, asking.Asked):
            return asked
        try:
            answer = await self._uses.ask(asked)
        except PortalError as error:
            return self._refuse(asked, error)
        return answer if isinstance(answer, Reply) else None

    def refuse_malformed(self) -> Reply:
        """The answer to bytes that are no HTTP."""
        return self._writer.problem(malformed(), request_id=new_id())

    def serve_use(self, cycle: ShortCycle) -> None:
        """The short way: as `_use`, by call-backs."""
        if cycle.head is None:
            cycle.head = self.heads.read(cycle.scope, cycle.place)
        asked = self._ask(cycle.head, cycle.body) if cycle.head is not None else None
        if asked is None:
            cycle.hand_on()
        elif isinstance(asked, Reply):
            cycle.answer(asked)
        else:
            if self._uses.is_busy:  # what can be done now need not be done when its turn comes
                asked.draft = self._judge.draft(asked, self._facts.find(asked), clock())
            try:
                self._uses.submit(asked, functools.partial(self._answer_use, cycle, asked))
            except PortalError as error:
                cycle.answer(self._refuse(asked, error))

    def _answer_use(self, cycle: ShortCycle, asked: asking.Asked, answer: Answer | Exception) -> None:
        if isinstance(answer, Reply):
            cycle.answer(answer)
        elif isinstance(answer, Exception):
            cycle.answer(self._refuse(asked, answer))
        else:
            cycle.hand_on()

    def _refuse(self, asked: asking.Asked, error: Exception) -> Reply:
        """What a use that failed is told."""
        if not isinstance(error, PortalError):
            log.error("unhandled", error=type(error).__name__, exc_info=error)
            error = _FAILED
        return self._writer.problem(error, request_id=asked.request_id, is_use=True)

    def _ask(self, head: Head, body: bytes) -> asking.Asked | Reply | None:
        """What is asked, or the refusal of it; None when the web shall answer."""
        use = asking.find_body(body, head.address)
        if use is None:
            return None
        request_id = new_id()
        if head.refusal is not None:
            return self._writer.problem(head.refusal, request_id=request_id, is_use=True)
        return asking.Asked(head.place, head.digest, use, request_id, head.agent)

    async def _introspect(self, scope: Scope, body: bytes) -> Reply | PassOn | None:
        headers = dict(scope["headers"])
        plaintext = asking.find_credential(body) if is_json(headers) and self.heads.is_plain(scope, headers) else None
        if plaintext is None:
            return None
        request_id = new_id()
        try:
            digest = asking.digest_of(headers.get(b"authorization", b"").decode("latin-1"))
            agent = headers.get(b"user-agent", b"").decode("latin-1")[:200]
            presented = Presented(digest, plaintext, address_of(scope, headers), agent, request_id)
            return await self._introspections.ask(presented)
        except PortalError as error:
            return self._writer.problem(error, request_id=request_id)

    async def _proxy(self, scope: Scope, brokered: tuple[asking.Place, str], receive: Receive, send: Send) -> bool:
        """Decide a call, make it and answer; False when the web shall."""
        headers = dict(scope["headers"])
        if b"%" in scope["raw_path"] or not self.heads.is_plain(scope, headers):
            return False
        request_id = new_id()
        asked = self._asked_call(scope, headers, brokered, request_id)
        if asked is None:
            return False
        try:
            answer = await self._uses.ask(asked)
        except PortalError as error:
            answer = self._writer.problem(error, request_id=request_id)
        if isinstance(answer, Permit):
            await self._broker_call(asked, answer, scope, receive, send)
        elif isinstance(answer, Reply):
            metrics.count_answer("proxy", answer.status, answer.code)
            await send_reply(send, answer)
        else:
            return False
        return True

    def _asked_call(
        self, scope: Scope, headers: dict[bytes, bytes], brokered: tuple[asking.Place, str], request_id: UUID
    ) -> asking.Asked | None:
        place, path = brokered
        try:
            purpose = require_text(
                headers.get(b"byok-purpose", b"").decode("latin-1"), field="Byok-Purpose", maximum=200
            )
            digest = asking.digest_of(headers.get(b"authorization", b"").decode("latin-1"))
        except PortalError:
            return None  # the web says what is wrong, in its order
        use = UseRequest(
            scope=None,
            purpose=purpose,
            environment=None,
            delivery=Delivery.BROKER,
            address=address_of(scope, headers) or None,
        )
        call = asking.Call(scope["method"], path, scope["query_string"].decode("latin-1"))
        agent = headers.get(b"user-agent", b"").decode("latin-1")[:200]
        return asking.Asked(place, digest, use, request_id, agent, call)

    async def _broker_call(
        self, asked: asking.Asked, permit: Permit, scope: Scope, receive: Receive, send: Send
    ) -> None:
        watch: list[asyncio.Task[Any]] = []

        async def begin(status: int, headers: Mapping[str, str], length: int | None) -> None:
            metrics.count_answer("proxy", status)
            ours = self._writer.brokered(headers, request_id=asked.request_id, audit_id=permit.audit_id, length=length)
            # The request has been read to its end: all that can come now is that the caller has gone.
            watch.append(asyncio.ensure_future(receive()))
            await send({"type": "http.response.start", "status": status, "headers": ours})

        async def write(data: bytes, more: bool) -> None:  # noqa: FBT001  # ASGI's own word
            if watch[0].done():
                raise CallerGoneError
            await send({"type": "http.response.body", "body": data, "more_body": more})

        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            assert asked.call is not None  # noqa: S101  # it was permitted
            await self._broker.make(permit, asked.call, given, receive, Outgoing(begin, write))
        except BrokenCallError as broken:
            if isinstance(broken.cause, CallerGoneError):
                return  # there is nobody to tell
            if broken.begun:
                raise
            error = broken.cause if isinstance(broken.cause, PortalError) else _FAILED
            if error is _FAILED:
                log.exception("unhandled", error=type(broken.cause).__name__)
            reply = self._writer.problem(
                error, request_id=asked.request_id, audit_id=broken.audit_id, allow=asked.methods
            )
            metrics.count_answer("proxy", reply.status, reply.code)
            await send_reply(send, reply)
        finally:
            for task in watch:
                task.cancel()


def _parameters() -> dict[str, Any]:
    """How to reach the database, from Django's settings: this process's login is the gate's."""
    parameters = connections[binding.DEFAULT].get_connection_params()
    given = {name: value for name, value in parameters.items() if name not in _DJANGOS and value not in {None, ""}}
    return {"keepalives_idle": 5, **given, "application_name": "byok-gate"}
