"""Real uses that a drill makes: through the decision path of this process, and over HTTP at each web origin.

Every use opens a connection of its own, so that each process behind an origin has its turn.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import urllib3
from django.conf import settings

from keys.canaries import PROCESS_HEADER, name_process
from keys.services import uses

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret

PURPOSE: Final = "drill"
UNREACHABLE: Final = "unreachable"
_TIMEOUT: Final = 5.0
_ALLOWED: Final = 200
_REFUSED: Final = frozenset({401, 403, 404})


@dataclass(frozen=True, slots=True)
class Answered:
    """One use: who answered, what, and when it began and ended (monotonic seconds). `allowed` None: no answer."""

    place: str
    process: str
    allowed: bool | None
    code: str
    began: float
    ended: float


class Asker(Protocol):
    """A place that answers uses."""

    @property
    def place(self) -> str:
        """Its name."""
        ...

    def ask(self, version: int | None = None) -> Answered:
        """Make one use. Never raises for a place that is down."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """Whose uses they are, of what."""

    tenant_id: UUID
    key_id: UUID
    token_id: UUID
    scope: str
    actor: Actor
    plaintext: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class HereAsker:
    """The process that runs the drill."""

    probe: Probe
    place: str = "worker"

    def ask(self, version: int | None = None) -> Answered:
        """Through the same operation as the API door."""
        probe, began = self.probe, time.monotonic()
        decision = uses.use(
            actor=probe.actor,
            token_id=probe.token_id,
            key_reference=str(probe.key_id),
            scope=probe.scope,
            purpose=PURPOSE,
            version=version,
        ).decision
        code = decision.code.value
        return Answered(self.place, name_process(), decision.allowed, code, began, time.monotonic())


@dataclass(frozen=True, slots=True)
class HttpAsker:
    """The processes behind one web origin."""

    probe: Probe
    place: str

    def ask(self, version: int | None = None) -> Answered:
        """As a consumer would, with its token."""
        probe, began = self.probe, time.monotonic()
        body = {"scope": probe.scope, "purpose": PURPOSE, **({"version": version} if version else {})}
        headers = {
            "Authorization": f"Bearer {probe.plaintext.reveal_text()}",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        url = f"{self.place.rstrip('/')}/api/v1/tenants/{probe.tenant_id}/keys/{probe.key_id}/use/"
        try:
            with urllib3.PoolManager(num_pools=1, timeout=_TIMEOUT, retries=False) as pool:
                answer = pool.request("POST", url, body=json.dumps(body), headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError:
            return Answered(self.place, "", None, UNREACHABLE, began, time.monotonic())
        allowed = True if answer.status == _ALLOWED else False if answer.status in _REFUSED else None
        process = answer.headers.get(PROCESS_HEADER, "")
        return Answered(self.place, process, allowed, _code_of(answer.data, allowed), began, time.monotonic())


def list_askers(probe: Probe) -> list[Asker]:
    """Everything that answers uses: this process, and the origins of `BYOK_DRILL_ORIGINS`."""
    return [HereAsker(probe), *(HttpAsker(probe, origin) for origin in settings.DRILL_ORIGINS)]


def _code_of(data: bytes, allowed: bool | None) -> str:  # noqa: FBT001  # three answers, not a switch
    if allowed is None:
        return UNREACHABLE
    try:
        return str(json.loads(data)["code"])[:60]
    except (ValueError, KeyError, TypeError):
        return ""
