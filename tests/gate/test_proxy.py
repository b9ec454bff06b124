"""Brokered calls through the gate: the answers of the web's own door, streamed, on record before and after."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from tests.gate import gates
from tests.gate.test_conformance import Answer, entry, plain
from tests.providers.edge import Answer as Says
from tests.providers.edge import Edge, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from keys.models import Key
    from tests.world import Cast, Credential, World

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 900000\r\n\r\n"
Scene = tuple["Cast", "Key", "Credential", "psycopg.Connection"]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gates.running(tmp_path_factory.mktemp("gate")) as port:
        yield port


@pytest.fixture
def scene(world: World, admin_connection: psycopg.Connection) -> Scene:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    return cast, key, credential, admin_connection


def address(scene: Scene, path: str = "v1/secret/data/reports/q3") -> str:
    return f"/api/v1/tenants/{scene[0].slug}/keys/{scene[1].slug}/proxy/{path}"


def headers(scene: Scene, **more: str) -> dict[str, str]:
    return {**scene[2].headers, "Byok-Purpose": "nightly report", **more}


def ask(gate: int, scene: Scene, path: str = "v1/secret/data/reports/q3", **more: str) -> Answer:
    return gates.call(gate, address(scene, path), b"", headers(scene, **more), "GET")


def redirect(scene: Scene, edge: Edge) -> None:
    """Send the key's calls to a server of the test's own."""
    scene[3].execute("UPDATE keys_key SET endpoint = %s WHERE id = %s", [edge.url, scene[1].id])


def last_calls(scene: Scene) -> list[dict[str, Any]]:
    """What is on record of uses and calls, in their order."""
    rows = scene[3].execute(
        "SELECT body FROM audit_inbox WHERE tenant_id = %(tenant)s AND body ~ %(action)s "
        "UNION ALL SELECT (leaf::jsonb -> 'body')::text FROM audit_entry "
        "WHERE tenant_id = %(tenant)s AND leaf ~ %(action)s",
        {"tenant": scene[0].id, "action": '"action":"key.(used|called)"'},
    )
    return sorted((json.loads(body) for (body,) in rows), key=lambda event: str(event["time"]))


@pytest.mark.parametrize(
    "path",
    ["v1/secret/data/reports/q3", "v1/secret/data/reports/none", "v1/secret/data/other/q3", "v1/sys/mounts", "v1//x"],
)
def test_both_doors_answer_alike_for(gate: int, scene: Scene, path: str) -> None:
    web = Client(headers=headers(scene)).get(address(scene, path))
    there = (web.status_code, {name.lower(): value for name, value in web.headers.items()}, web.content)
    here = ask(gate, scene, path)
    assert comparable(there, scene) == comparable(here, scene)
    assert entry(scene[3], there) == entry(scene[3], here)


def comparable(answer: Answer, scene: Scene) -> Answer:
    status, found, body = plain(answer, scene[1].id)
    if status == 200 or b'"errors":[]' in body:
        document = json.loads(body)
        document.pop("request_id", None)  # OpenBao's own
        body = json.dumps(document).encode()
        found["content-length"] = "?"
    return status, found, body


def test_the_call_is_on_record_before_and_after(gate: int, scene: Scene) -> None:
    status, found, body = ask(gate, scene)
    assert status == 200, body
    assert b'"total":"42"' in body
    intent, outcome = last_calls(scene)[-2:]
    assert intent["id"] == found["audit-id"]
    assert intent["detail"]["broker"] == 1
    assert outcome["action"] == "key.called"
    assert outcome["detail"] == {"use": intent["id"], "status": 200, "bytes": len(body)}


def test_a_provider_that_is_down_is_an_answer_on_record(gate: int, scene: Scene) -> None:
    with serve(lambda _: Says()) as edge:
        redirect(scene, edge)
    status, found, body = ask(gate, scene)
    assert status == 502
    assert json.loads(body)["code"] == "upstream_unavailable"
    intent, outcome = last_calls(scene)[-2:]
    assert (intent["outcome"], outcome["outcome"]) == ("allowed", "failed")
    assert outcome["detail"] == {"use": intent["id"], "code": "upstream_unavailable"}
    assert found["audit-id"] == outcome["id"]


def test_a_large_answer_streams_whole_through_little_memory(gate: int, scene: Scene) -> None:
    data = os.urandom(1024) * 40 * 1024
    with serve(lambda _: Says(raw=data, headers={"Content-Type": "application/octet-stream"})) as edge:
        redirect(scene, edge)
        before = resident(gate)
        status, found, body = ask(gate, scene)
        assert status == 200
        assert body == data
        assert "content-length" not in found
        assert resident(gate) - before < 20
    assert last_calls(scene)[-1]["detail"]["bytes"] == len(data)


def resident(gate: int) -> float:
    """Megabytes of the process that listens there."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"\0gate\0--port\0{gate}\0" in (folder / "cmdline").read_text(errors="replace"):
                lines = (folder / "status").read_text(encoding="ascii").splitlines()
                return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
    raise AssertionError("no gate is running")


@pytest.mark.parametrize("at", [0, 65_500, 65_536 - 10, 200_000])
def test_the_credential_never_comes_back_wherever_it_lies(gate: int, scene: Scene, at: int) -> None:
    held: list[bytes] = []

    def echo(request: Any) -> Says:
        secret = request.headers["x-vault-token"].encode()
        held.append(secret)
        return Says(raw=b"a" * at + secret + b"b" * 100_000, headers={"Content-Type": "text/plain"})

    with serve(echo) as edge:
        redirect(scene, edge)
        status, _, body = ask(gate, scene)
    assert status == 200
    assert held[0] not in body
    assert body == b"a" * at + b"[redacted]" + b"b" * 100_000


def test_no_header_of_ours_or_of_a_connection_goes_upstream(gate: int, scene: Scene) -> None:
    with serve(lambda _: Says(document={})) as edge:
        redirect(scene, edge)
        ask(gate, scene, Cookie="a=b", TE="trailers", Accept="application/json")
        seen = edge.seen[0].headers
    assert not {"authorization", "byok-purpose", "cookie", "te", "connection"} & seen.keys() - {"connection"}
    assert seen["accept"] == "application/json"
    assert "x-vault-token" in seen


def test_a_call_is_made_once_even_when_it_fails(gate: int, scene: Scene) -> None:
    with serve(broken) as edge:
        redirect(scene, edge)
        status, _, _ = ask(gate, scene)
        assert len(edge.seen) == 1
    assert status == 502


def broken(_: Any) -> Says:
    raise ConnectionAbortedError


def test_a_call_without_a_purpose_is_left_to_the_web(gate: int, scene: Scene) -> None:
    status, _, body = gates.call(gate, address(scene), b"", scene[2].headers, "GET")
    assert (status, json.loads(body)["code"]) == (503, "no_web")


def test_an_answer_that_breaks_off_is_cut_not_ended(gate: int, scene: Scene) -> None:
    """Whoever reads it must see that it is not whole."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        scene[3].execute(
            "UPDATE keys_key SET endpoint = %s WHERE id = %s",
            [f"http://127.0.0.1:{server.getsockname()[1]}", scene[1].id],
        )
        cutting = threading.Thread(target=cut_off, args=(server,))
        cutting.start()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            ask(gate, scene)
        cutting.join(10)
    assert last_calls(scene)[-1]["outcome"] == "failed"


def cut_off(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(HEAD + b"x" * 300_000)
