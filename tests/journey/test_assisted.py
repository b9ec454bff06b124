"""A service keeps calling while its key is rotated with OpenBao's help, rehearsed, finished and at last compromised."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from byok_portal.boundary.permissions import TOKEN_PERMISSIONS
from tests.canary import find_in_database, find_in_files
from tests.keys.succeeding import Succeeding
from tests.portal import Portal, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from tests.world import Credential, World

USE = {"scope": "secrets:read", "purpose": "nightly report"}


@pytest.fixture
def portal(world: World, tmp_path: Path) -> Iterator[Portal]:
    with running(tmp_path) as started:
        yield started


@dataclass(slots=True)
class Caller:
    """Somebody with a token at the portal's API, over real HTTP."""

    url: str
    credential: Credential

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        data = None if body is None else json.dumps(body).encode()
        sent = {**self.credential.headers, "Content-Type": "application/json", "Byok-Purpose": "report", **headers}
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=sent)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # our own address
                return answer.status, json.load(answer), _lower(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), _lower(error.headers)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@dataclass(slots=True)
class Service:
    """Leases a secret and reads one through the portal, over and over; every answer that is not a success is kept."""

    caller: Caller
    address: str
    calls: int = 0
    failed: list[Any] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            status, body, _ = self.caller.ask("POST", f"{self.address}use/", {**USE, "delivery": "lease"})
            self._note(status, body)
            if status == HTTPStatus.OK:
                self.versions.add(body["version"])
            status, body, _ = self.caller.ask("GET", f"{self.address}proxy/v1/secret/data/reports/q3")
            self._note(status, body)

    def _note(self, status: int, body: Any) -> None:
        self.calls += 1
        if status != HTTPStatus.OK:
            self.failed.append((status, body))


def look_up(world: World, token: str) -> int:
    """What OpenBao itself says to the token that asks about itself."""
    request = urllib.request.Request(  # noqa: S310
        f"{world.bao_server.address}/v1/auth/token/lookup-self", headers={"X-Vault-Token": token}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # our own address
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_service_keeps_calling_through_an_assisted_rotation_and_a_compromise_kills_the_token(  # noqa: PLR0915  # one story
    world: World, portal: Portal, admin_connection: psycopg.Connection
) -> None:
    succeeding = Succeeding(world)
    cast, key = succeeding.cast, succeeding.key
    service, laggard = world.consumer(cast), world.consumer(cast)
    for each in (service, laggard):
        world.grant(cast, key, each)
    operator = Caller(portal.url, world.consumer(cast, scopes=tuple(sorted(s.value for s in TOKEN_PERMISSIONS))))
    address = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/"
    old = Caller(portal.url, laggard)
    calling = Service(Caller(portal.url, service), address)
    thread = threading.Thread(target=calling.run)
    thread.start()
    try:
        wait_until(lambda: calling.calls >= 4)
        # 1. The rotation, asked for twice with one Idempotency-Key: one rotation, one answer.
        body, once = {"drain_hours": 1, "replaces": 1}, {"Idempotency-Key": "rotation-1"}
        status, made, _ = operator.ask("POST", f"{address}rotate-assisted/", body, **once)
        assert (status, made["number"]) == (201, 2), made
        again = operator.ask("POST", f"{address}rotate-assisted/", body, **once)
        assert (again[0], again[1], again[2]["idempotent-replay"]) == (201, made, "true")
        refused = operator.ask("POST", f"{address}rotate-assisted/", body, **{"Idempotency-Key": "rotation-2"})
        assert (refused[0], refused[1]["code"]) == (409, "still_draining")
        wait_until(lambda: 2 in calling.versions)
        # 2. Somebody still asks for the old version; the rehearsal of its end names who that is.
        assert old.ask("POST", f"{address}use/", {**USE, "version": 1})[0] == 200
        assert operator.ask("POST", f"{address}versions/1/brownout/", {"minutes": 5})[0] == 200
        dark = old.ask("POST", f"{address}use/", {**USE, "version": 1})
        assert (dark[0], dark[1]["code"]) == (403, "version_brownout")

        def named() -> bool:
            users = operator.ask("GET", f"{address}versions/1/users/")[1]
            return [each["name"] for each in users["refused"]] == [laggard.consumer.name]

        wait_until(named, seconds=40)

        def standing() -> dict[str, str]:
            users = operator.ask("GET", f"{address}versions/1/users/")[1]["users"]
            return {each["name"]: each["standing"] for each in users}

        # Uses are counted as the log is read, a moment after refusals are.
        expected = {laggard.consumer.name: "still", service.consumer.name: "moved"}
        wait_until(lambda: standing() == expected, seconds=40)
        # 3. The end of the drain: the old token revokes itself, and OpenBao says so.
        first, second = succeeding.secret(1).reveal_text(), succeeding.secret(2).reveal_text()
        assert operator.ask("POST", f"{address}versions/1/brownout/end/", {})[0] == 200
        ended = operator.ask("POST", f"{address}versions/1/revoke/", {"force": True, "note": "It moves tonight"})
        assert ended[0] == 200, ended
        wait_until(lambda: succeeding.version(1).upstream_status == "revoked_confirmed", seconds=40)
        assert (look_up(world, first), look_up(world, second)) == (403, 200)
        calls = calling.calls
        wait_until(lambda: calling.calls >= calls + 4)
    finally:
        calling.stop.set()
        thread.join()
    assert calling.failed == []
    assert calling.versions == {1, 2}
    # 4. A compromise: refused here at once, and dead there, proven.
    assert operator.ask("POST", f"{address}compromise/", {})[0] == 200
    assert calling.caller.ask("POST", f"{address}use/", USE)[0] == 403
    wait_until(lambda: succeeding.version(2).upstream_status == "revoked_confirmed", seconds=40)
    assert look_up(world, second) == 403
    assert succeeding.alive() == []
    assert world.bao.count_audit("auth/token/revoke-self", str(succeeding.version(2).revoke_evidence["accessor"])) == 1
    for token in (first, second):
        assert find_in_database(admin_connection, token) == []
        assert find_in_files([portal.folder], token) == []
