"""Callers of every door at once, who note what was acknowledged, and when each door answered again after a fault."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

USE: Final = json.dumps({"scope": "secrets:read", "purpose": "load"}).encode()
FAILURE: Final = 500
AGAIN: Final = 503
_PAUSE: Final = 0.05
"""Between two tries at a door that is away."""


@dataclass(slots=True)
class Caller:
    """One thread at one door. `acknowledged`: (moment, Audit-Id) of each answer; `promised`: what failures named.

    `unexpected`: the bodies of refusals that say something else than to try again.
    """

    door: str
    port: int
    token: str
    paths: tuple[str, ...]
    body: bytes
    good: frozenset[int]
    acknowledged: list[tuple[float, str]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    promised: list[tuple[int, str]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    broken: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, name=self.door)
        self.thread.start()

    def _run(self) -> None:
        turn = 0
        while not self.stopped.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
            try:
                while not self.stopped.is_set():
                    # A change whose answer was lost may have been made: the next of the two is right either way.
                    self._ask(connection, self.paths[turn % len(self.paths)])
                    turn += 1
            except (OSError, http.client.HTTPException, ValueError):
                self.broken += 1
                turn += 1
                self.stopped.wait(_PAUSE)
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> None:
        headers = {
            "Host": "localhost",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.token}",
        }
        connection.request("POST", path, self.body, headers)
        answer = connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
        audit_id = answer.headers.get("Audit-Id", "")
        if audit_id and answer.status < FAILURE:
            self.acknowledged.append((time.monotonic(), audit_id))
        elif audit_id:
            self.promised.append((answer.status, audit_id))
        if answer.status not in self.good:
            self.refused.append((answer.status, str(document.get("code", ""))))
            if answer.status != AGAIN:
                self.unexpected.append(f"{self.door}: {document}")
            self.stopped.wait(_PAUSE)

    def count_since(self, moment: float) -> int:
        return sum(at > moment for at, _ in self.acknowledged)

    def seconds_to_answer(self, moment: float) -> float:
        """From then to the next acknowledged answer."""
        return next(at for at, _ in self.acknowledged if at > moment) - moment


@contextlib.contextmanager
def flowing(callers: list[Caller]) -> Any:
    """All of them, until the block ends."""
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        for caller in callers:
            caller.stopped.set()
        for caller in callers:
            if caller.thread is not None:
                caller.thread.join(20)


def callers_of(gates: list[int], webs: list[int], tenants: list[dict[str, Any]]) -> list[Caller]:
    """Uses at both gates and both webs; at each web one tenant's key is held and let go, again and again."""
    found = []
    for number, (gate, web, tenant) in enumerate(zip(gates, webs, tenants, strict=True), start=1):
        base = f"/api/v1/tenants/{tenant['slug']}/keys"
        used, changed = f"{base}/{tenant['used']}/use/", f"{base}/{tenant['changed']}"
        ok = frozenset({200})
        found += [
            *(Caller(f"gate {number}: uses", gate, tenant["token"], (used,), USE, ok) for _ in range(2)),
            Caller(f"web {number}: uses", web, tenant["token"], (used,), USE, ok),
            Caller(
                *(f"web {number}: changes", web, tenant["token"]),
                (f"{changed}/suspend/", f"{changed}/resume/"),
                b"{}",
                frozenset({200, 409}),  # 409: the change whose answer was lost had been made
            ),
        ]
    return found
