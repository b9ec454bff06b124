"""The outgoing client: which targets it refuses, and that it keeps its limits. Names resolve to what the
test says.
"""

from __future__ import annotations

import ipaddress
import os
import socket

import pytest

from byok_portal.errors import InvalidInput, UpstreamUnavailable
from keys.upstream import http
from keys.upstream.addresses import find_refusal
from keys.upstream.endpoints import validate_endpoint
from keys.upstream.http import Limits, Request, send
from tests.providers.edge import Answer, serve

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
]
# fmt: off
NEVER = [
    "0.0.0.0",  # noqa: S104  # refused, not bound
    "169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1",
    "fd00:ec2::254",
    "100.100.100.200", "168.63.129.16", "::", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255",
    "192.0.2.1", "198.18.0.1", "2002:7f00:1::", "2002:808:808::1", "2001:0:1::1", "::7f00:1", "64:ff9b:1::1",
    "fe80::5efe:a00:1", "2606:4700::5efe:a00:1", "192.88.99.1", "fec0::1",
]
# fmt: on
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_need_the_entrys_permission(text: str) -> None:
    assert find_refusal(ipaddress.ip_address(text), allow_private=False) is not None
    assert find_refusal(ipaddress.ip_address(text), allow_private=True) is None


@pytest.mark.parametrize("text", NEVER)
def test_metadata_and_odd_addresses_are_refused_always(text: str) -> None:
    for allow_private in (False, True):
        assert find_refusal(ipaddress.ip_address(text), allow_private=allow_private) is not None


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert find_refusal(ipaddress.ip_address(text), allow_private=False) is None


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://bao.acme.example", "scheme"),
        ("ftp://bao.acme.example", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("//bao.acme.example", "scheme"),
        ("https://user:pw@bao.acme.example", "userinfo"),
        ("https://bao.acme.example@evil.example", "userinfo"),
        ("https://bao.acme.example#@evil.example", "malformed"),
        ("https://bao.acme.example/?x=1", "query"),
        ("https://bao.acme.example/a/../b", "malformed"),
        ("https://bao.acme.example/%2e%2e/b", "malformed"),
        ("https://bao.acme.example\\@evil.example", "malformed"),
        ("https://bao.acme.example:0", "malformed"),
        ("https://bao.acme.example:99999", "malformed"),
        ("https://b\u00e4o.example", "malformed"),
        ("https://bao.acme.example\r\nX: 1", "malformed"),
        ("https://", "host"),
        ("https://-bad.example", "host"),
        ("https://2130706433", "host"),
        ("https://0x7f000001", "host"),
        ("https://0177.0.0.1", "host"),
        ("https://127.1", "host"),
        ("https://127.0.0.1", "private_network"),
        ("https://localhost", "private_network"),
        ("https://LOCALHOST.", "private_network"),
        ("https://[::1]", "private_network"),
        ("https://[::ffff:127.0.0.1]", "private_network"),
        ("https://169.254.169.254/latest", "private_network"),
    ],
)
def test_a_bad_endpoint_is_refused_with_its_rule(url: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        validate_endpoint(url, allow_private=False)
    assert (refused.value.field, refused.value.code) == ("endpoint", code)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTPS://Bao.ACME.example.:443/", "https://bao.acme.example"),
        ("https://bao.acme.example:8200/vault/", "https://bao.acme.example:8200/vault"),
        ("https://[2606:4700:0::1111]:8200", "https://[2606:4700::1111]:8200"),
    ],
)
def test_an_endpoint_has_one_spelling(url: str, normal: str) -> None:
    assert validate_endpoint(url, allow_private=False) == normal
    assert validate_endpoint(normal, allow_private=False) == normal


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """The resolver is at the internet's edge: names lead where the test says. Returns the names asked for."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *args: object, **kwargs: object) -> list[object]:
        if host.replace(".", "").isdigit():
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"]])
def test_a_name_that_leads_inside_is_refused_even_when_only_one_address_does(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, *addresses)
    with pytest.raises(InvalidInput) as refused:
        send(Request("GET", "https://rebind.example/"))
    assert refused.value.code == "private_network"


def test_metadata_is_refused_even_where_private_networks_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "169.254.169.254")
    with pytest.raises(InvalidInput):
        send(Request("GET", "http://metadata.example/", allow_private=True))


def test_plain_http_to_a_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "8.8.8.8")
    with pytest.raises(InvalidInput) as refused:
        send(Request("GET", "http://public.example/", allow_private=True))
    assert refused.value.code == "scheme"


def test_the_name_is_resolved_once_and_travels_in_the_host_header(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda _: Answer(200, {"ok": True})) as edge:
        port = edge.url.rpartition(":")[2]
        asked = resolve_to(monkeypatch, "127.0.0.1")
        send(Request("GET", f"http://Name.Example:{port}/x?a=1", allow_private=True))
    assert asked == ["name.example"]
    assert (edge.seen[0].headers["host"], edge.seen[0].path) == (f"name.example:{port}", "/x?a=1")


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda _: Answer(200, {})) as proxy, serve(lambda _: Answer(200, {"real": True})) as edge:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert b"real" in send(Request("GET", edge.url, allow_private=True)).body
    assert proxy.seen == []


def test_a_connection_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda _: Answer(200, {})) as edge:
        send(Request("GET", edge.url, allow_private=True))
        monkeypatch.setattr(socket, "create_connection", None)
        assert send(Request("GET", edge.url, allow_private=True)).status == 200


def test_a_forked_process_does_not_talk_on_its_parents_connections() -> None:
    """Two processes on one connection would get each other's answers, and another tenant's with them."""
    with serve(lambda _: Answer(200, {})) as edge:
        send(Request("GET", edge.url, allow_private=True))
        (kept,) = [each.sock for each in http._POOL.list_idle() if each.port == int(edge.url.rsplit(":", 1)[1])]
        pid = os.fork()
        if pid == 0:
            os._exit(0 if not http._POOL.list_idle() and kept.fileno() == -1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert kept.fileno() != -1, "the parent's own is still open"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, {}, seconds=0.6), "upstream_timeout"),
        (Answer(200, raw=b"x" * 100, trickle=0.05), "upstream_timeout"),
        (Answer(200, raw=b"x" * 100, trickle=0.05, lengthless=True), "upstream_timeout"),
        (Answer(200, raw=b"x" * 2000), "response_too_large"),
    ],
    ids=["silent", "trickling", "without a length", "large"],
)
def test_limits_hold(answer: Answer, code: str) -> None:
    limits = Limits(connect=1, read=0.3, total=0.5, max_bytes=1000)
    with serve(lambda _: answer) as edge, pytest.raises(UpstreamUnavailable) as refused:
        send(Request("GET", edge.url, {"X-Key": "canary-secret"}, allow_private=True, limits=limits))
    assert refused.value.code == code
    assert "canary" not in str(refused.value)


def test_a_certificate_for_nobody_is_refused() -> None:
    with serve(lambda _: Answer(200, {})) as edge, pytest.raises(UpstreamUnavailable):
        send(Request("GET", edge.url.replace("http:", "https:"), allow_private=True, limits=Limits(1, 1, 1)))


@pytest.mark.parametrize("headers", [{"X-A": "canary\r\nX-B: 1"}, {"X A": "canary"}, {"X-A": "canary\u00e9"}])
def test_a_header_that_could_split_is_refused_without_quoting_it(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        send(Request("GET", "http://127.0.0.1:9/", headers, allow_private=True))
    assert refused.value.code == "unsafe_header"
    assert "canary" not in str(refused.value)


def test_a_request_shows_neither_headers_nor_body() -> None:
    assert "canary" not in repr(Request("POST", "https://x.example", {"A": "canary"}, b"canary"))
