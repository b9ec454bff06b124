"""A gate that dies in the middle of its work loses no use that it answered, and never answers late or stale."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.gate import gates
from tests.portal import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from keys.models import Key
    from tests.world import Cast, Credential, World

USE = json.dumps({"scope": "secrets:read", "purpose": "load"}).encode()


class Callers:
    """Threads that ask for one use after another on connections that they keep."""

    def __init__(self, port: int, path: str, credential: Credential, count: int) -> None:
        self.answers: list[tuple[int, str, str]] = []
        self.stopped = threading.Event()
        self._port, self._path = port, path
        self._headers = {"Content-Type": "application/json", "Host": "testserver", **credential.headers}
        self.threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        with contextlib.closing(connection):
            while not self.stopped.is_set():
                try:
                    connection.request("POST", self._path, USE, self._headers)
                    answer = connection.getresponse()
                    document: dict[str, Any] = json.loads(answer.read())
                except (OSError, http.client.HTTPException, ValueError):
                    return
                self.answers.append((answer.status, answer.headers.get("Audit-Id", ""), document["code"]))

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


def recorded(admin: psycopg.Connection, tenant_id: object) -> list[str]:
    rows = admin.execute(
        "SELECT event_id::text FROM audit_inbox WHERE tenant_id = %s AND body LIKE '%%key.used%%' "
        "UNION ALL SELECT event_id::text FROM audit_entry WHERE tenant_id = %s AND leaf LIKE '%%key.used%%'",
        [tenant_id, tenant_id],
    )
    return [row[0] for row in rows]


def test_every_answer_of_a_gate_that_was_killed_is_on_record_once(
    story: tuple[Cast, Key, Credential, str], admin_connection: psycopg.Connection, tmp_path: Path
) -> None:
    cast, _, credential, path = story
    for _ in range(3):
        port = free_port()
        process = gates.start(tmp_path, port=port)
        gates.wait_open(port, tmp_path)
        callers = Callers(port, path, credential, 8)
        threading.Event().wait(0.7)
        process.kill()
        process.wait(10)
        answers = callers.stop()
        assert len(answers) > 20
        assert {(status, code) for status, _, code in answers} == {(200, "allowed")}
        found = recorded(admin_connection, cast.id)
        assert len(found) == len(set(found))
        assert {audit_id for _, audit_id, _ in answers} <= set(found)


def test_a_use_that_starts_after_a_revoke_was_answered_is_refused_by_every_gate(
    story: tuple[Cast, Key, Credential, str], world: World, tmp_path: Path
) -> None:
    from keys.services import lifecycle  # noqa: PLC0415  # settings must be ready

    cast, key, credential, path = story
    with gates.running(tmp_path) as one, gates.running(tmp_path) as other:
        both = [Callers(port, path, credential, 4) for port in (one, other)]
        threading.Event().wait(0.4)
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
    threading.Event().wait(0.5)
    process.terminate()
    process.wait(20)
    answers = callers.stop()
    assert len(answers) > 20
    assert {status for status, _, _ in answers} == {200}


def ask(port: int, path: str, credential: Credential) -> str:
    _, _, body = gates.call(port, path, USE, {"Content-Type": "application/json", **credential.headers})
    return str(json.loads(body)["code"])
