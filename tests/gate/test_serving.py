"""The short way of a use through the protocol: the same answers, in their order, whatever else is on the connection."""

from __future__ import annotations

import json
import re
import socket
import time
from typing import TYPE_CHECKING, BinaryIO

import pytest

from tests.gate import gates

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.world import World

BODY = json.dumps({"scope": "secrets:read", "purpose": "load"}).encode()
_CHANGING = re.compile(rb"(?m)^(date|x-request-id|audit-id): [^\r]*\r\n|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gates.running(tmp_path_factory.mktemp("gate")) as port:
        yield port


@pytest.fixture
def head(world: World) -> bytes:
    """Everything of a request that every use needs."""
    cast = world.tenant()
    key = world.key(cast)
    credential = world.consumer(cast)
    world.grant(cast, key, credential)
    lines = [
        f"POST /api/v1/tenants/{cast.slug}/keys/{key.slug}/use/ HTTP/1.1",
        "Host: testserver",
        "Content-Type: application/json",
        *(f"{name}: {value}" for name, value in credential.headers.items()),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def plain(head: bytes, more: bytes = b"") -> bytes:
    """A use with a body of known length."""
    return head + b"Content-Length: %d\r\n%s\r\n" % (len(BODY), more) + BODY


def chunked(head: bytes) -> bytes:
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def exchange(port: int, *pieces: bytes, answers: int = 1) -> list[bytes]:
    """Send the pieces in writes of their own; the answers, each whole."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        stream = connection.makefile("rb")
        return [read(stream) for _ in range(answers)]


def read(stream: BinaryIO) -> bytes:
    lines = []
    while (line := stream.readline()) not in {b"\r\n", b""}:
        lines.append(line)
    head = b"".join(lines)
    length = re.search(rb"content-length: (\d+)", head)
    return head + b"\r\n" + (stream.read(int(length[1])) if length else b"")


def without_ids(answer: bytes) -> bytes:
    return _CHANGING.sub(b"", answer)


def test_the_short_and_the_long_way_answer_alike(gate: int, head: bytes) -> None:
    (short,) = exchange(gate, plain(head))
    (long,) = exchange(gate, chunked(head))
    assert short.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert without_ids(short) == without_ids(long)


def test_requests_that_are_sent_together_are_answered_in_their_order(gate: int, head: bytes) -> None:
    other = b"GET /somewhere HTTP/1.1\r\nHost: testserver\r\n\r\n"
    scope = plain(head).replace(b"secrets:read", b"secrets:list")
    together = plain(head) + other + scope + chunked(head) + other + plain(head)
    statuses = [answer.split()[1] for answer in exchange(gate, together, answers=6)]
    assert statuses == [b"200", b"503", b"403", b"200", b"503", b"200"]


def test_a_use_that_the_web_must_answer_keeps_its_place(gate: int, head: bytes) -> None:
    odd = plain(head).replace(b'"purpose"', b'"purpoze"')
    statuses = [answer.split()[1] for answer in exchange(gate, odd + plain(head) + odd, answers=3)]
    assert statuses == [b"503", b"200", b"503"]  # a gate without a web says so


def test_a_request_may_come_in_any_pieces(gate: int, head: bytes) -> None:
    request = plain(head)
    pieces = [request[start : start + 7] for start in range(0, len(request), 7)]
    assert exchange(gate, *pieces)[0].startswith(b"HTTP/1.1 200 OK\r\n")


def test_who_asks_to_close_is_answered_and_closed(gate: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gate), timeout=20) as connection:
        connection.sendall(plain(head, b"Connection: close\r\n"))
        stream = connection.makefile("rb")
        answer = read(stream)
        assert stream.read() == b""
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer


def test_who_waits_for_leave_to_send_a_body_gets_it(gate: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gate), timeout=20) as connection:
        connection.sendall(head + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(BODY))
        stream = connection.makefile("rb")
        assert read(stream).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(BODY)
        assert read(stream).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("length", [b"", b"Content-Length: 999999\r\n", b"Content-Length: 99999\r\n"])
def test_a_body_without_a_small_length_is_not_read_the_short_way(gate: int, head: bytes, length: bytes) -> None:
    size = 999999 if b"999999" in length else 99999 if length else 0
    (answer,) = exchange(gate, head + length + b"\r\n" + b" " * size)
    assert answer.split()[1] == b"503"


def test_a_caller_that_leaves_disturbs_nobody(gate: int, head: bytes) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", gate), timeout=20) as connection:
            connection.sendall(plain(head))
        assert exchange(gate, plain(head))[0].startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "nonsense", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", b"\x16\x03\x01\x02\x00"]
)
def test_what_is_no_http_is_told_so_in_the_words_of_the_api(gate: int, nonsense: bytes) -> None:
    (answer,) = exchange(gate, nonsense)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["code"] == "malformed_request"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_head_that_was_read_before_is_answered_like_the_first_time(gate: int, head: bytes) -> None:
    answers = exchange(gate, *[plain(head)] * 3, plain(head)[:40], plain(head)[40:], plain(head) * 2, answers=6)
    assert {without_ids(answer) for answer in answers} == {without_ids(answers[0])}
    assert len({re.search(rb"audit-id: ([^\r]*)", answer)[1] for answer in answers}) == 6  # type: ignore[index]


def test_a_known_head_says_nothing_about_the_body(gate: int, head: bytes) -> None:
    other = BODY.replace(b"secrets:read", b"secrets:list")
    first, denied, again = exchange(gate, plain(head), plain(head).replace(BODY, other), plain(head), answers=3)
    assert [status(each) for each in (first, denied, again)] == [200, 403, 200]
    # One byte more than the head announces begins another request.
    longer = exchange(gate, plain(head), plain(head) + b"GET /nowhere HTTP/1.1\r\nHost: testserver\r\n\r\n", answers=3)
    assert [status(each) for each in longer] == [200, 200, 503]


@pytest.mark.parametrize("change", [(b"Bearer byok", b"Bearer byoK"), (b"testserver", b"elsewhere"), (b"POST", b"PUT")])
def test_a_head_that_differs_by_a_byte_is_another(gate: int, head: bytes, change: tuple[bytes, bytes]) -> None:
    first, other, again = exchange(gate, plain(head), plain(head).replace(*change), plain(head), answers=3)
    assert status(first) == status(again) == 200
    assert status(other) in {401, 503}


def test_a_known_use_that_the_web_must_answer_is_handed_on_and_keeps_its_place(
    gate: int, head: bytes, admin_connection: psycopg.Connection
) -> None:
    slug = re.search(rb"tenants/([^/]*)/", head)[1].decode()  # type: ignore[index]
    canary = "UPDATE keys_key SET is_canary = %s WHERE tenant_id = (SELECT id FROM tenants_tenant WHERE slug = %s)"
    with socket.create_connection(("127.0.0.1", gate), timeout=20) as connection:
        stream = connection.makefile("rb")
        connection.sendall(plain(head))
        answers = [read(stream)]
        admin_connection.execute(canary, [True, slug])
        connection.sendall(plain(head))
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: testserver\r\n\r\n")
        answers += [read(stream), read(stream)]
        admin_connection.execute(canary, [False, slug])
        connection.sendall(plain(head))
        answers.append(read(stream))
    assert [status(each) for each in answers] == [200, 503, 503, 200]
    assert without_ids(answers[1]) == without_ids(answers[2])


def test_a_connection_is_closed_when_it_has_been_quiet_and_not_before(gate: int, head: bytes) -> None:
    """uvicorn keeps it for five seconds after an answer."""
    with socket.create_connection(("127.0.0.1", gate), timeout=20) as connection:
        stream = connection.makefile("rb")
        begun = time.monotonic()
        while time.monotonic() < begun + 6:
            connection.sendall(plain(head))
            assert status(read(stream)) == 200
            time.sleep(0.3)
        quiet = time.monotonic()
        assert connection.recv(1) == b""
        assert 4 < time.monotonic() - quiet < 15
