from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from byok_portal.quickstart.openbao import BaoServer
from keys.catalogue import load_catalogue
from tests.providers.edge import serve
from tests.providers.worlds import BaoWorld, FakeWorld, World

if TYPE_CHECKING:
    from collections.abc import Iterator

READER = """
path "secret/data/acme/*" { capabilities = ["read"] }
path "secret/metadata/acme/*" { capabilities = ["list", "read"] }
"""
DECLARED = ("anthropic", "github", "gitlab", "openai", "slack", "stripe")


@pytest.fixture(scope="session")
def bao_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaoServer]:
    server = BaoServer(tmp_path_factory.mktemp("bao"), inmem=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def bao(bao_server: BaoServer) -> BaoWorld:
    bao_server.admin().enable_kv()
    bao_server.admin().enable_userpass()
    world = BaoWorld(bao_server.address, bao_server.root_token)
    world.ask("PUT", "sys/policies/acl/reader", {"policy": READER})
    world.ask("POST", "secret/data/acme/app", {"data": {"password": "hunter2"}})
    return world


@pytest.fixture(params=["openbao", *DECLARED])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "openbao":
        yield request.getfixturevalue("bao")
        return
    fake = FakeWorld(load_catalogue()[request.param])
    with serve(fake.answer) as edge:
        fake.edge = edge
        yield fake


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[FakeWorld]:
    """A declared provider, named with `@pytest.mark.parametrize("fake", [...], indirect=True)`."""
    made: Any = FakeWorld(load_catalogue()[request.param])
    with serve(made.answer) as edge:
        made.edge = edge
        yield made
