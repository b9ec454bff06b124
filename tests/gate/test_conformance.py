"""The gate answers as the web's own door does: the same bytes, the same record."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from tests.gate import gates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keys.models import Key
    from tests.world import Cast, Credential, World

USE = {"scope": "secrets:read", "purpose": "nightly report"}
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gates.running(tmp_path_factory.mktemp("gate")) as port:
        yield port


@pytest.fixture
def story(world: World) -> tuple[Cast, Key, Credential]:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    return cast, key, credential


def both(gate: int, path: str, body: Any, headers: dict[str, str]) -> list[tuple[int, dict[str, str], bytes]]:
    data = json.dumps(body).encode()
    web = Client(headers=headers).post(path, data, content_type="application/json")
    there = (web.status_code, {name.lower(): value for name, value in web.headers.items()}, web.content)
    return [there, gates.call(gate, path, data, {"Content-Type": "application/json", **headers})]


def plain(answer: tuple[int, dict[str, str], bytes], key: Key) -> tuple[int, dict[str, str], bytes]:
    """Without what differs between two calls of one door: ids of requests, moments, the process."""
    status, headers, body = answer
    kept = {
        name: value
        for name, value in headers.items()
        if name not in {"date", "audit-id", "x-request-id", "byok-process", "connection"}
    }
    # Its directives come in the order of a set.
    kept["content-security-policy"] = ";".join(sorted(kept["content-security-policy"].split("; ")))
    body = re.sub(rb'"expires_at":"[^"]*"', b'"expires_at":"?"', body)
    return status, kept, _ID.sub(lambda m: m[0] if m[0] == str(key.id).encode() else b"?", body)


def test_an_allowed_use_a_lease_and_a_denied_scope_have_the_same_bytes(
    gate: int, story: tuple[Cast, Key, Credential]
) -> None:
    cast, key, credential = story
    path = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"
    for body in (USE, {**USE, "delivery": "lease"}, {**USE, "scope": "secrets:write"}, {**USE, "version": 7}):
        web, data_plane = both(gate, path, body, credential.headers)
        assert plain(web, key) == plain(data_plane, key)
        assert data_plane[1]["audit-id"] == data_plane[1]["x-request-id"]
