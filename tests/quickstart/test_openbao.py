"""The embedded OpenBao: real initialisation, restarts and its audit log as a witness."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from byok_portal.errors import Unavailable
from byok_portal.quickstart import daemons
from byok_portal.quickstart.openbao import BaoServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ_DEMO = 'path "secret/data/demo/*" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def server(public_folder: Path) -> Iterator[BaoServer]:
    bao = BaoServer(public_folder / "openbao")
    try:
        yield bao
    finally:
        bao.stop()


@pytest.fixture
def running(server: BaoServer) -> BaoServer:
    server.start()
    admin = server.admin()
    admin.enable_kv()
    admin.enable_userpass()
    admin.write_policy("read-demo", READ_DEMO)
    return server


def pid_of(server: BaoServer) -> int:
    pid = server.find_pid()
    assert pid is not None
    return pid


def test_a_second_start_reuses_the_running_server(running: BaoServer) -> None:
    before = pid_of(running)
    BaoServer(running.folder).start()
    assert pid_of(running) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_is_unsealed_again_with_its_data_after_a_stop_or_kill(running: BaoServer, number: signal.Signals) -> None:
    running.admin().put_secret("demo/kept", {"value": number.name})
    address = running.address
    pid = pid_of(running)
    os.kill(pid, number)
    assert daemons.wait_until(lambda: running.find_pid() is None, seconds=10)
    running.start()
    assert running.address == address
    assert running.admin().get_secret("demo/kept") == {"value": number.name}


def test_stopping_twice_is_fine_and_leaves_nothing_listening(running: BaoServer) -> None:
    running.stop()
    running.stop()
    assert not running.is_running()


def test_only_the_owner_reads_what_it_keeps(running: BaoServer) -> None:
    for path in (running.folder / "keys.json", running.audit_log):
        about = path.stat()
        assert (stat.S_IMODE(about.st_mode), about.st_uid) == (0o600, os.geteuid())
    assert stat.S_IMODE((running.folder / "data").stat().st_mode) == 0o700
    log = (running.folder / "openbao.log").read_text()
    assert running.root_token not in log


def test_a_login_gives_an_entity_bound_token_that_its_policies_limit(running: BaoServer) -> None:
    admin = running.admin()
    admin.create_user("ada", password="a-long-password", policies=["read-demo"])
    admin.put_secret("demo/one", {"key": "v"})
    admin.put_secret("other", {"key": "v"})
    login = admin.log_in("ada", password="a-long-password")
    assert login.entity_id
    assert admin.get_secret("demo/one", token=login.token) == {"key": "v"}
    with pytest.raises(Unavailable, match="403"):
        admin.get_secret("other", token=login.token)
    with pytest.raises(Unavailable, match="400"):
        admin.log_in("ada", password="wrong")
    assert login.token not in repr(login)


def test_the_audit_log_counts_requests_by_path_and_by_token(running: BaoServer) -> None:
    admin = running.admin()
    first, second = (admin.create_token(policies=["read-demo"], ttl="1h", default_policy=False) for _ in range(2))
    assert first.policies == ("read-demo",)
    admin.put_secret("demo/counted", {"key": "v"})
    before = admin.count_audit("secret/data/demo/counted")
    for token in (first, first, second):
        admin.get_secret("demo/counted", token=token.token)
    assert admin.count_audit("secret/data/demo/counted") == before + 3
    assert admin.count_audit("secret/data/demo/counted", first.accessor) == 2
    assert admin.count_audit("secret/data/demo/counted", second.accessor) == 1
    assert admin.count_audit("secret/data/demo/never") == 0


def test_a_revoked_accessor_is_gone_and_its_token_refused(running: BaoServer) -> None:
    admin = running.admin()
    token = admin.create_token(policies=["read-demo"], ttl="1h")
    found = admin.find_accessor(token.accessor)
    assert found is not None
    assert found["policies"] == ["default", "read-demo"]
    admin.revoke_accessor(token.accessor)
    assert admin.find_accessor(token.accessor) is None
    with pytest.raises(Unavailable, match="403"):
        admin.get_secret("demo/one", token=token.token)


def test_in_memory_it_starts_empty_after_each_stop(public_folder: Path) -> None:
    server = BaoServer(public_folder / "in memory", inmem=True)
    try:
        server.start()
        first = server.root_token
        server.admin().enable_kv()
        server.stop()
        server.start()
        assert server.root_token != first
        server.admin().enable_kv()
        assert server.admin().put_secret("demo/one", {"key": "v"}) == 1
    finally:
        server.stop()
