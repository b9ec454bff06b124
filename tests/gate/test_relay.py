"""What the gate hands to the web: the caller's own bytes, to the web alone, nothing kept between two callers."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.gate import gates
from tests.providers.edge import Answer, Edge, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

Fixture = tuple[int, Edge]


@pytest.fixture(scope="module")
def relayed(world_setup: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    """A gate before a web of the test's own, which gives everybody a cookie and says what it has seen."""

    def web(seen: Any) -> Answer:
        if seen.path == "/cut":
            return Answer(raw=b"5\r\nhello\r\nno number\r\n", headers={"Transfer-Encoding": "chunked"})
        body = {"path": seen.path, "headers": seen.headers, "length": len(seen.body)}
        return Answer(document=body, headers={"Set-Cookie": "session=somebody; Path=/"})

    with serve(web) as edge, gates.running(tmp_path_factory.mktemp("gate"), web=edge.url) as port:
        yield port, edge


def ask(
    relayed: Fixture, path: str, body: bytes = b"", method: str = "GET", headers: dict[str, str] | None = None
) -> Any:
    status, _, answer = gates.call(relayed[0], path, body, headers or {}, method)
    assert status == 200, answer
    return json.loads(answer)


def speak(port: int, request: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        found = b""
        while piece := connection.recv(65536):
            found += piece
            if b"\r\n\r\n" in found and b"Connection: close" not in request:
                break
        return found


def test_nothing_of_one_caller_is_left_for_the_next(relayed: Fixture) -> None:
    """A jar of cookies between them would give everybody the session of who signed in last."""
    for _ in range(3):
        assert "cookie" not in ask(relayed, "/anything")["headers"]
    assert ask(relayed, "/anything", headers={"Cookie": "session=mine"})["headers"]["cookie"] == "session=mine"
    assert "cookie" not in ask(relayed, "/anything")["headers"]


def test_the_web_gets_the_callers_headers_and_no_others(relayed: Fixture) -> None:
    hops = {"TE": "trailers", "Connection": "X-Hop", "X-Hop": "1"}
    sent = {"User-Agent": "stranger", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", **hops}
    seen = ask(relayed, "/anything", headers=sent)["headers"]
    assert seen.pop("x-forwarded-for") == "203.0.113.9, 127.0.0.1"
    assert seen.pop("x-forwarded-proto") == "http"
    assert seen == {"host": "testserver", "accept-encoding": "identity", "user-agent": "stranger"}


@pytest.mark.parametrize("path", ["/a/../b/./c", "/x//y", "/%2e%2e/%41", '/a"b', "/a?b=%20&c=/../d"])
def test_an_address_arrives_as_it_was_written(relayed: Fixture, path: str) -> None:
    assert ask(relayed, path)["path"] == path


@pytest.mark.parametrize("form", ["*@{other}/x", "http://{other}/x", "@{other}/x", "*"])
def test_a_request_cannot_choose_where_it_goes(relayed: Fixture, form: str) -> None:
    with serve(lambda _: Answer()) as other:
        target = form.format(other=other.url.removeprefix("http://"))
        answer = speak(relayed[0], f"GET {target} HTTP/1.1\r\nHost: testserver\r\nConnection: close\r\n\r\n".encode())
        assert other.seen == []
    # An absolute address is a path to this server, whatever host it names.
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200" if form.startswith("http") else b"HTTP/1.1 400"))


def test_two_hosts_are_a_bad_request(relayed: Fixture) -> None:
    answer = speak(relayed[0], b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"malformed_request" in answer


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 17_000, 200_000, 3_000_000])
def test_a_body_arrives_whole_also_one_that_could_have_been_a_use(relayed: Fixture, size: int) -> None:
    path = "/api/v1/tenants/acme/keys/reports/use/"
    for address in (path, "/elsewhere"):
        seen = ask(relayed, address, b"x" * size, "POST", {"Content-Type": "text/plain"})
        assert seen["length"] == size


def test_half_a_request_never_becomes_a_whole_one(relayed: Fixture) -> None:
    before = len(relayed[1].seen)
    with socket.create_connection(("127.0.0.1", relayed[0]), timeout=10) as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nHost: testserver\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    ask(relayed, "/after")
    assert [seen.path for seen in relayed[1].seen[before:]] == ["/after"]


def test_an_answer_that_breaks_off_is_cut(relayed: Fixture) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError, http.client.RemoteDisconnected)):
        gates.call(relayed[0], "/cut", b"", {}, "GET")


def test_a_caller_of_the_old_protocol_gets_a_length(relayed: Fixture) -> None:
    answer = speak(relayed[0], b"GET /x HTTP/1.0\r\nHost: testserver\r\nConnection: close\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"content-length" in head
    assert b"chunked" not in head
