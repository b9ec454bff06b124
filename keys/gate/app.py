"""The gate as an ASGI application: uses are answered here, everything else by the web behind it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.conf import settings
from django.db import connections
from django.http.request import split_domain_port, validate_host

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.requests import address_behind
from byok_portal.errors import PortalError
from keys.gate import asking, metrics
from keys.gate.batches import Batcher
from keys.gate.judging import Judge, Permit
from keys.gate.lanes import Database, UseLane
from keys.gate.relay import Relay
from keys.gate.replies import Reply, Writer

if TYPE_CHECKING:
    from keys.gate.judging import Answer
    from keys.gate.relay import Receive, Scope, Send

LANES: Final = 2
"""Batches at the database at once: while one is flushed to disk, the next is read."""
log = structlog.get_logger("byok.gate")
_JSON: Final = b"application/json"


class Gate:
    """One per process; `start` and `stop` are called by the server's lifespan."""

    def __init__(self, *, web: str) -> None:
        self._web = web
        self._redirects: bool = settings.SECURE_SSL_REDIRECT
        self._hosts: set[bytes] = set()

    async def start(self) -> None:
        """Ready caches and lanes; links open with their first batch."""
        self._writer = Writer()
        parameters = _parameters()
        self._databases = [Database(parameters) for _ in range(LANES)]
        judge = Judge(self._writer)
        self._uses: Batcher[asking.Asked, Answer] = Batcher(
            [UseLane(each, judge) for each in self._databases], observe=metrics.BATCH.observe
        )
        metrics.WAITING.set_function(lambda: self._uses.waiting)
        self._relay = Relay(self._web)

    async def stop(self) -> None:
        """Answer what is under way, then leave."""
        await self._uses.drain()
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
        started = time.perf_counter()
        route, read, more = "web", b"", True
        reply: Reply | None = None
        try:
            place = asking.find_use(scope["path"]) if scope["method"] == "POST" else None
            if place is not None and not scope["query_string"]:
                read, more = await _read(receive)
                answer = None if more else await self._use(scope, place, read)
                if isinstance(answer, Reply):
                    route, reply = "use", answer
            if reply is None:
                metrics.PASSED.inc()
                await self._relay.serve(scope, receive, send, read=read, more=more)
        except PortalError as error:
            reply = self._writer.problem(error, request_id=new_id())
        except Exception as error:  # the type and the stack, never the text: it may quote what the caller sent
            log.exception("unhandled", error=type(error).__name__)
            failed = PortalError("The portal failed to answer. The request id names this failure in its log.")
            reply = self._writer.problem(failed, request_id=new_id())
        if reply is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})
            metrics.ANSWERS.labels(route, reply.status).inc()
        metrics.SECONDS.labels(route).observe(time.perf_counter() - started)

    async def _use(self, scope: Scope, place: asking.Place, body: bytes) -> Answer | None:
        """The answer to one use; None when the web shall give it."""
        headers = dict(scope["headers"])
        if not self._is_plain(scope, headers):
            return None
        request_id = new_id()
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        address = address_behind(forwarded, (scope["client"] or ("",))[0])
        use = asking.find_body(body, address)
        if use is None:
            return None
        try:
            asked = asking.Asked(
                place,
                asking.digest_of(headers.get(b"authorization", b"").decode("latin-1")),
                use,
                request_id,
                headers.get(b"user-agent", b"").decode("latin-1")[:200],
            )
            answer = await self._uses.submit(asked)
        except PortalError as error:
            return self._writer.problem(error, request_id=request_id)
        return answer if isinstance(answer, Reply | Permit) else None

    def _is_plain(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether nothing about the request wants more than the gate knows: a body of JSON, for a host of ours."""
        kind = headers.get(b"content-type", b"").split(b";")[0].strip()
        accept = headers.get(b"accept", b"*/*")
        if kind != _JSON or not (accept == b"*/*" or b"application/json" in accept or b"*/*" in accept):
            return False
        if len(headers) != len(scope["headers"]):
            return False  # a header that came twice
        if self._redirects and headers.get(b"x-forwarded-proto") != b"https":
            return False
        return self._is_ours(headers.get(b"host", b""))

    def _is_ours(self, host: bytes) -> bool:
        if host in self._hosts:
            return True
        domain, _port = split_domain_port(host.decode("latin-1"))
        allowed = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
        if not domain or not validate_host(domain, allowed):
            return False
        self._hosts.add(host)  # few: only those that are allowed
        return True


async def _read(receive: Receive) -> tuple[bytes, bool]:
    """(body so far, whether there is more): a whole one, or so much that the web should have it."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts), False
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if not more or size > asking.BODY_MAX:
            return b"".join(parts), more or size > asking.BODY_MAX


def _parameters() -> dict[str, Any]:
    """How to reach the database, from Django's settings: this process's login is the gate's."""
    parameters = connections[binding.DEFAULT].get_connection_params()
    wanted = ("host", "port", "user", "password", "dbname", "connect_timeout", "sslmode", "options")
    return {name: parameters[name] for name in wanted if parameters.get(name)} | {
        "application_name": "byok-gate",
        "keepalives_idle": 5,
    }
