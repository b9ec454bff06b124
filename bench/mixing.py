"""Mixed load, as a platform makes it: uses, leases, brokered calls, introspection, pages, lists and changes, paced.

Keeps what was acknowledged: whose record is on which id, how long each kind took, and what was not answered well.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from bench.calling import Answer, Caller, request
from bench.driving import UPSTREAM_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.driving import Use

GOOD: Final = frozenset({200})
HELD: Final = frozenset({200, 403})
"""Uses of keys that the load itself suspends now and then."""
CHANGED: Final = frozenset({200, 409})
"""409: the change whose answer was lost had been made."""
_PATIENCE: Final = 15.0
_CALLED: Final = "call"


@dataclass(slots=True)
class Ledger:
    """What was answered."""

    acknowledged: dict[bytes, bool] = field(default_factory=dict)
    """Ids of entries, each with whether it was an allowed brokered call, which has a second entry."""
    seconds: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("f")))
    faults: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, kind: str, answer: Answer, good: frozenset[int]) -> bool:
        """Whether it was a good answer."""
        if answer.audit_id:
            called = kind == _CALLED and answer.status == 200
            self.acknowledged[UUID(answer.audit_id).bytes] = called
        if answer.status not in good:
            self.faults[kind][f"{answer.status} {answer.code}".strip()] += 1
            return False
        self.seconds[kind].append(answer.ended - answer.started)
        return True

    def latency(self, kind: str) -> tuple[int, float, float]:
        """(answers, milliseconds at the median, at 99 %)"""
        found = sorted(self.seconds[kind])
        return len(found), statistics.median(found) * 1000, found[len(found) * 99 // 100] * 1000


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection that asks again and again; `pause` seconds between, more or less."""

    kind: str
    port: int
    ask: Callable[[], bytes]
    good: frozenset[int] = GOOD
    pause: float = 0.05

    async def run(self, ledger: Ledger, stopped: asyncio.Event) -> None:
        """Until stopped. A request is never sent twice."""
        caller = Caller(self.port, patience=_PATIENCE)
        while not stopped.is_set():
            good = False
            try:
                good = ledger.add(self.kind, await caller.ask(self.ask()), self.good)
            except OSError as error:
                ledger.faults[self.kind][type(error).__name__] += 1
            await asyncio.sleep(self.pause * random.uniform(0.5, 1.5) if good else 0.1)
        caller.close()


@dataclass(frozen=True, slots=True)
class Cast:
    """Who asks for what: keys with their tokens, an operator's token for each tenant, and a person's session."""

    uses: Sequence[Use]
    operators: dict[str, str]
    tenant: str
    cookie: str

    def use(self, **more: str) -> bytes:
        """One use of some key."""
        return use_of(random.choice(self.uses), **more)

    def call(self) -> bytes:
        """One brokered call."""
        tenant, key, token = random.choice(self.uses)
        path = f"/api/v1/tenants/{tenant}/keys/{key}/proxy/{UPSTREAM_PATH}"
        return request("GET", path, token=token, more={"Byok-Purpose": "report"})

    def introspect(self) -> bytes:
        """Whether some credential is known."""
        token = random.choice(list(self.operators.values()))
        return request("POST", "/api/v1/introspect/", token=token, document={"token": f"hvs.{random.random()}"})

    def listing(self) -> bytes:
        """A list of the API."""
        tenant = random.choice(list(self.operators))
        path = random.choice(("keys/", "consumers/", "audit/events/"))
        return request("GET", f"/api/v1/tenants/{tenant}/{path}", token=self.operators[tenant])

    def page(self) -> bytes:
        """A page of the web."""
        path = random.choice(("keys/", "audit/", ""))
        return request("GET", f"/t/{self.tenant}/{path}", more={"Cookie": self.cookie})

    def change(self) -> bytes:
        """A suspension or its end; of what is in that state already it is a conflict."""
        tenant, key, _ = self.uses[random.randrange(len(self.uses) // 10)]
        what = random.choice(("suspend", "resume", "resume"))
        path = f"/api/v1/tenants/{tenant}/keys/{key}/{what}/"
        return request("POST", path, token=self.operators[tenant], document={"note": "bench"})


def use_of(use: Use, **more: str) -> bytes:
    """The request for one use."""
    tenant, key, token = use
    document = {"scope": "secrets:read", "purpose": "report", **more}
    return request("POST", f"/api/v1/tenants/{tenant}/keys/{key}/use/", token=token, document=document)


def flows(cast: Cast, gates: Sequence[int], web: int) -> list[Flow]:
    """What one platform does at two gates and at the web."""
    found = [Flow("change", web, cast.change, CHANGED, 0.5)]
    for gate in gates:
        found += [Flow("use", gate, cast.use, HELD) for _ in range(4)]
        found += [Flow("lease", gate, lambda: cast.use(delivery="lease"), HELD) for _ in range(2)]
        found += [
            Flow(_CALLED, gate, cast.call, HELD, 0.1),
            Flow("introspection", gate, cast.introspect, GOOD, 0.2),
            Flow("list", gate, cast.listing, GOOD, 0.5),
            Flow("page", gate, cast.page, GOOD, 1.0),
        ]
    return [*found, Flow("use at the web", web, cast.use, HELD, 0.2)]
