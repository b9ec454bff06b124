"""The embedded PostgreSQL: real starts, kills and logins."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from byok_portal.errors import Unavailable
from byok_portal.quickstart import daemons, state, unprivileged
from byok_portal.quickstart.postgres import Cluster, _find_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(not state.is_root(), reason="only root hands the server to another account")
START = "import sys; from pathlib import Path; from byok_portal.quickstart.postgres import Cluster; "
START += "cluster = Cluster(Path(sys.argv[1]), durable=False); cluster.start(); print(cluster.find_pid())"


@pytest.fixture(scope="module")
def cluster(public_folder: Path) -> Iterator[Cluster]:
    server = Cluster(public_folder / "postgres", durable=False)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def running(cluster: Cluster) -> Cluster:
    cluster.start()
    return cluster


def ask(cluster: Cluster, question: str) -> object:
    with psycopg.connect(cluster.admin_url()) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return row[0]


def pid_of(cluster: Cluster) -> int:
    pid = cluster.find_pid()
    assert pid is not None
    return pid


def modes_above(folder: Path) -> dict[Path, tuple[int, int, int]]:
    abouts = {parent: parent.stat() for parent in folder.parents}
    return {path: (about.st_mode, about.st_uid, about.st_gid) for path, about in abouts.items()}


def test_a_start_changes_no_folder_above_its_own_nor_the_programs(cluster: Cluster) -> None:
    programs = _find_programs()
    before = modes_above(cluster.folder) | modes_above(programs / "bin")
    cluster.start()
    assert modes_above(cluster.folder) | modes_above(programs / "bin") == before


def test_it_listens_on_loopback_tcp_alone_with_the_promised_settings(running: Cluster) -> None:
    told = {
        name: ask(running, f"SHOW {name}")
        for name in (
            "listen_addresses",
            "unix_socket_directories",
            "server_encoding",
            "jit",
            "fsync",
            "max_connections",
        )
    }
    assert told == {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "server_encoding": "UTF8",
        "jit": "off",
        "fsync": "off",
        "max_connections": "200",
    }
    assert ask(running, "SELECT current_setting('server_version_num')::int / 10000") == 18
    assert ask(running, "SELECT datlocale FROM pg_database WHERE datname = 'template1'") == "C.UTF-8"


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_login_without_the_right_password_is_refused(running: Cluster, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"password authentication failed|no password supplied"):
        psycopg.connect(running.url(user="postgres", password=password, database="postgres"))


def test_only_the_owner_reads_the_password_and_the_data(running: Cluster) -> None:
    secret = (running.folder / "superuser.password").stat()
    assert (stat.S_IMODE(secret.st_mode), secret.st_uid) == (0o600, os.geteuid())
    assert stat.S_IMODE((running.folder / "data").stat().st_mode) == 0o700
    assert len((running.folder / "superuser.password").read_text()) >= 40


@needs_root
def test_for_root_the_server_runs_as_an_account_of_its_own(running: Cluster) -> None:
    owner = Path(f"/proc/{pid_of(running)}").stat().st_uid
    assert 60578 <= owner <= 61183
    everything = [running.folder / "data", *(running.folder / "data").rglob("*")]
    assert {path.lstat().st_uid for path in everything} == {owner}
    assert {path.stat().st_uid for path in running.folder.iterdir() if path.name != "data"} == {0}


def test_a_second_start_reuses_the_running_server(running: Cluster) -> None:
    before = pid_of(running)
    Cluster(running.folder, durable=False).start()
    assert pid_of(running) == before


def test_data_and_port_survive_a_stop_and_start(running: Cluster) -> None:
    with psycopg.connect(running.admin_url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    port = running.port
    running.stop()
    assert not running.is_running()
    assert not (running.folder / "data" / "postmaster.pid").exists()
    running.stop()
    running.start()
    assert (running.port, ask(running, "SELECT answer FROM kept")) == (port, 42)
    with psycopg.connect(running.admin_url(), autocommit=True) as connection:
        connection.execute("DROP TABLE kept")


def test_a_port_taken_by_somebody_else_is_chosen_again(running: Cluster) -> None:
    taken = running.port
    running.stop()
    with socket.create_server((daemons.LOOPBACK, taken)):
        running.start()
        assert running.port != taken
        assert ask(running, "SELECT 1") == 1


def test_it_recovers_from_kill_9_with_clients_connected(running: Cluster) -> None:
    killed = pid_of(running)
    with closing(psycopg.connect(running.admin_url(), autocommit=True)) as client:
        client.execute("SELECT 1")
        os.kill(killed, signal.SIGKILL)
        assert daemons.wait_until(lambda: running.find_pid() is None, seconds=5)
        running.start()
    assert pid_of(running) != killed
    assert ask(running, "SELECT 1") == 1


def test_a_pid_file_naming_a_living_stranger_neither_stops_a_start_nor_harms_the_stranger(
    running: Cluster,
) -> None:
    running.stop()
    owner = (running.folder / "data").stat()
    stranger = subprocess.Popen(["/bin/sleep", "60"], user=owner.st_uid if state.is_root() else None)
    try:
        pid_file = running.folder / "data" / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{running.folder / 'data'}\n0\n{running.port}\n\n127.0.0.1\n0 0\nready\n")
        running.stop()
        running.start()
        assert ask(running, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_two_processes_starting_at_once_share_one_new_server(public_folder: Path) -> None:
    folder = public_folder / "two at once"
    argv = [sys.executable, "-c", START, str(folder)]
    try:
        both = [subprocess.Popen(argv, cwd=state.CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        answers = {process.communicate(timeout=60)[0].strip() for process in both}
        assert [process.returncode for process in both] == [0, 0]
        assert answers == {str(Cluster(folder).find_pid())}
    finally:
        Cluster(folder).stop()


def test_a_start_that_died_half_way_is_begun_again(public_folder: Path) -> None:
    server = Cluster(public_folder / "half made", durable=False)
    (server.folder / "data.new").mkdir(parents=True)
    (server.folder / "data.new" / "PG_VERSION").write_text("18\n")
    try:
        server.start()
        assert ask(server, "SELECT 1") == 1
    finally:
        server.stop()


def test_data_of_another_major_version_is_refused_by_name(public_folder: Path) -> None:
    server = Cluster(public_folder / "older", durable=False)
    (server.folder / "data").mkdir(parents=True)
    (server.folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(Unavailable, match="of PostgreSQL 15"):
        server.start()


@needs_root
def test_below_a_private_folder_root_is_refused_and_the_folder_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(Unavailable, match=re.escape("is private")):
        Cluster(private / "postgres", durable=False).start()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@needs_root
def test_programs_below_a_private_folder_are_copied_to_where_the_server_account_can_run_them(
    tmp_path: Path, public_folder: Path
) -> None:
    package = _find_programs().parent
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    for tree in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(tree, hidden / tree.name)
    account = unprivileged.choose_account(public_folder)
    found = unprivileged.reachable_programs(hidden / package.name / "pginstall", account=account, copies=public_folder)
    assert found.is_relative_to(public_folder)
    # initdb needs libpq from the folder beside, so this proves both trees.
    assert "PostgreSQL) 18" in daemons.run_as(account, [str(found / "bin" / "initdb"), "--version"])
