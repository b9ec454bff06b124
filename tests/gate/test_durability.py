"""A gate that dies in the middle of its work loses no use that it answered, and never answers late or stale."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.gate import gates
from tests.portal import free_port, wait_until
from tests.providers.edge import Answer as Says
from tests.providers.edge import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from keys.models import Key
    from tests.world import Cast, Credential, World

USE = json.dumps({"scope": "secrets:read", "purpose": "load"}).encode()
CALL = "/proxy/v1/secret/data/reports/q3"
LEASE = json.dumps({"scope": "secrets:read", "purpose": "load", "delivery": "lease"}).encode()
CALLERS = 8


class Callers:
    """Threads that ask for one use after another on connections that they keep; without a body, for one call."""

    def __init__(self, port: int, path: str, credential: Credential, count: int, body: bytes | None = USE) -> None:
        self.answers: list[tuple[int, str, str]] = []
        self.stopped = threading.Event()
        self._port, self._path, self._body = port, path, body
        self._headers = {"Host": "testserver", **credential.headers}
        self._headers |= {"Byok-Purpose": "load"} if body is None else {"Content-Type": "application/json"}
        self.threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        with contextlib.closing(connection):
            while not self.stopped.is_set():
                try:
                    connection.request("GET" if self._body is None else "POST", self._path, self._body, self._headers)
                    answer = connection.getresponse()
                    document: dict[str, Any] = json.loads(answer.read())
                except (OSError, http.client.HTTPException, ValueError):
                    return
                self.answers.append((answer.status, answer.headers.get("Audit-Id", ""), document.get("code", "")))

    def wait_for(self, count: int) -> None:
        """Until that many were answered."""
        wait_until(lambda: len(self.answers) >= count)

    def stop(self) -> list[tuple[int, str, str]]:
        self.stopped.set()
        for thread in self.threads:
            thread.join(20)
        return self.answers


@pytest.fixture
def story(world: World) -> tuple[Cast, Key, Credential, str]:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    return cast, key, credential, f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"


def events(admin: psycopg.Connection, tenant_id: object, action: str) -> list[dict[str, Any]]:
    """What is on record, numbered or not."""
    rows = admin.execute(
        """
        SELECT body FROM (SELECT body::jsonb AS body FROM audit_inbox WHERE tenant_id = %(tenant)s UNION ALL
                          SELECT leaf::jsonb->'body' FROM audit_entry WHERE tenant_id = %(tenant)s) events
         WHERE body->>'action' = %(action)s
        """,
        {"tenant": tenant_id, "action": action},
    )
    return [body for (body,) in rows]


@contextlib.contextmanager
def killed(folder: Path) -> Iterator[int]:
    """The port of a gate that is killed at the end of the block, in the middle of whatever it does."""
    port = free_port()
    process = gates.start(folder, port=port)
    try:
        gates.wait_open(port, folder)
        yield port
    finally:
        process.kill()
        process.wait(10)


def test_every_answer_of_a_gate_that_was_killed_is_on_record_once(
    story: tuple[Cast, Key, Credential, str], admin_connection: psycopg.Connection, tmp_path: Path
) -> None:
    cast, _, credential, path = story
    for body in (USE, LEASE, USE):
        with killed(tmp_path) as port:
            callers = Callers(port, path, credential, CALLERS, body)
            callers.wait_for(100)
        answers = callers.stop()
        assert {(status, code) for status, _, code in answers} == {(200, "allowed")}
        found = [event["id"] for event in events(admin_connection, cast.id, "key.used")]
        assert len(found) == len(set(found))
        assert {audit_id for _, audit_id, _ in answers} <= set(found)


def test_a_gate_that_was_killed_has_made_no_call_without_its_intent_on_record(
    story: tuple[Cast, Key, Credential, str], admin_connection: psycopg.Connection, tmp_path: Path
) -> None:
    """Slow calls, so that some are under way when it ends: those are on record as intended, without an outcome."""
    cast, key, credential, path = story
    with serve(lambda _: Says(document={"data": "x"}, seconds=0.02)) as edge:
        admin_connection.execute("UPDATE keys_key SET endpoint = %s WHERE id = %s", [edge.url, key.id])
        with killed(tmp_path) as port:
            callers = Callers(port, path.replace("/use/", CALL), credential, CALLERS, None)
            callers.wait_for(100)
        answers = callers.stop()
    assert {status for status, _, _ in answers} == {200}
    intents = {event["id"] for event in events(admin_connection, cast.id, "key.used")}
    ends = events(admin_connection, cast.id, "key.called")
    ended = {event["detail"]["use"]: event["detail"]["status"] for event in ends}
    assert len(answers) <= len(edge.seen) <= len(intents)
    assert len(ended) == len(ends)
    assert {audit_id for _, audit_id, _ in answers} <= ended.keys() <= intents
    assert set(ended.values()) == {200}
    assert len(intents) - len(ended) <= CALLERS


def test_what_a_rate_has_counted_is_not_given_back_when_a_gate_is_killed(
    world: World, admin_connection: psycopg.Connection, tmp_path: Path
) -> None:
    """A crash can only refuse too early."""
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    grant = world.grant(cast, key, credential, rate_per_minute=10_000)
    for _ in range(2):
        with killed(tmp_path) as port:
            path = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"
            callers = Callers(port, path, credential, CALLERS)
            callers.wait_for(100)
        assert {code for _, _, code in callers.stop()} == {"allowed"}
    windows = admin_connection.execute("SELECT uses FROM keys_ratewindow WHERE grant_id = %s", [grant.id])
    assert sum(uses for (uses,) in windows) >= len(events(admin_connection, cast.id, "key.used"))


def test_a_use_that_starts_after_a_revoke_was_answered_is_refused_by_every_gate(
    story: tuple[Cast, Key, Credential, str], world: World, tmp_path: Path
) -> None:
    from keys.services import lifecycle  # noqa: PLC0415  # settings must be ready

    cast, key, credential, path = story
    with gates.running(tmp_path) as one, gates.running(tmp_path) as other:
        both = [Callers(port, path, credential, 4) for port in (one, other)]
        for callers in both:
            callers.wait_for(50)
        for _ in range(20):
            with world.bound(cast):
                lifecycle.suspend(actor=cast.actor, key_id=key.id, note="race")
            for port in (one, other):
                assert ask(port, path, credential) == "key_suspended"
            with world.bound(cast):
                lifecycle.resume(actor=cast.actor, key_id=key.id)
            for port in (one, other):
                assert ask(port, path, credential) == "allowed"
        answers = [answer for callers in both for answer in callers.stop()]
    assert {code for _, _, code in answers} == {"allowed", "key_suspended"}


def test_a_gate_that_is_told_to_stop_answers_what_it_has_taken(
    story: tuple[Cast, Key, Credential, str], tmp_path: Path
) -> None:
    _, _, credential, path = story
    port = free_port()
    process = gates.start(tmp_path, port=port)
    gates.wait_open(port, tmp_path)
    callers = Callers(port, path, credential, 8)
    callers.wait_for(100)
    process.terminate()
    process.wait(20)
    answers = callers.stop()
    assert {status for status, _, _ in answers} == {200}


def ask(port: int, path: str, credential: Credential) -> str:
    _, _, body = gates.call(port, path, USE, {"Content-Type": "application/json", **credential.headers})
    return str(json.loads(body)["code"])
