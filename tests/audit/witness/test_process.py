from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from audit.notes import CosignatureVerifier, Signer, encode_base64
from audit.witness.server import CONNECTIONS_MAX, WitnessServer
from audit.witness.service import Witness, parse_logs
from audit.witness.state import CheckpointStore, create_key
from tests.audit.witness.witnessing import (
    BARE,
    NAME,
    ORIGIN,
    Log,
    WitnessProcess,
    call,
    check_cosigned,
    command,
    hashed,
    raw,
    request,
)
from tests.portal import ROOT, wait_until


def test_init_makes_a_key_of_cosignature_v1_that_only_its_owner_reads(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "witness"
    init = command("--state", str(folder), "--name", NAME, "--init")
    made = subprocess.run(init, cwd=ROOT, env=BARE, check=True, capture_output=True, text=True, timeout=20)
    assert not made.stderr
    assert CosignatureVerifier.parse(made.stdout.removesuffix("\n")).name == NAME
    assert (folder / "key").stat().st_mode & 0o777 == 0o400
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_is_logged_holds_nothing_of_a_request(witness: WitnessProcess, cell: Log) -> None:
    witness.add(cell.request(0, 5))
    witness.add(b"old canary-1\n\ncanary-2")
    witness.get("/canary-3?canary-4")
    raw(witness.port, b"canary-5 / HTTP/9.9\r\ncanary-6: 1\r\n\r\n")
    logs = witness.logs()
    assert '"event": "cosigned"' in logs
    assert "canary" not in logs
    assert encode_base64(cell.checkpoint(5).root) not in logs


def test_many_silent_connections_leave_room_once_they_are_closed(witness: WitnessProcess, cell: Log) -> None:
    silent = [socket.create_connection(("127.0.0.1", witness.port)) for _ in range(80)]
    for each in silent:
        each.close()
    check_cosigned(witness, cell, 5, witness.add(cell.request(0, 5)))


def test_a_restart_remembers(witness: WitnessProcess, cell: Log) -> None:
    witness.add(cell.request(0, 8))
    witness.restart()
    assert witness.get("/").text.endswith(f"{ORIGIN} 8\n")
    assert witness.add(cell.request(0, 20)).text == "8\n"
    assert witness.add(request(8, [], cell.fork(at=4, size=8).note(8))).status == 422
    check_cosigned(witness, cell, 20, witness.add(cell.request(8, 20)))


@pytest.mark.parametrize(
    ("holder", "name", "when", "stored"),
    [
        ("audit.witness.state:CheckpointStore", "save", "before", 5),
        ("pathlib:Path", "replace", "before", 5),
        ("pathlib:Path", "replace", "after", 8),
        ("audit.witness.state:CheckpointStore", "save", "after", 8),
    ],
)
def test_a_log_goes_on_after_its_witness_was_killed(
    witness: WitnessProcess, cell: Log, holder: str, name: str, when: str, stored: int
) -> None:
    witness.add(cell.request(0, 5))
    witness.stop()
    witness.start(kill=(holder, name, when))
    with pytest.raises(OSError):
        witness.add(cell.request(5, 8))
    assert witness.wait_dead() == -signal.SIGKILL
    witness.start()
    reply = witness.add(cell.request(0, 8))
    assert (reply.status, reply.text) == (409, f"{stored}\n")
    # What was stored without an answer binds the witness as well: no other history gets a signature.
    fork = cell.fork(at=5, size=8)
    assert witness.add(fork.request(stored, 8)).status == (200 if stored == 5 else 422)
    if stored == 8:
        check_cosigned(witness, cell, 8, witness.add(cell.request(8, 8)))


def test_sigterm_ends_it_at_once_in_spite_of_open_connections(witness: WitnessProcess) -> None:
    with socket.create_connection(("127.0.0.1", witness.port)):
        # A signal that a thread of a request takes would leave the main thread asleep.
        others = [each for each in Path(f"/proc/{witness.pid}/task").iterdir() if each.name != str(witness.pid)]
        assert others
        for each in others:
            with contextlib.suppress(FileNotFoundError):  # that thread has ended
                blocked = re.findall(r"^SigBlk:\s+([0-9a-f]+)$", (each / "status").read_text(), re.MULTILINE)
                assert int(blocked[0], 16) >> (signal.SIGTERM - 1) & 1
        begin = time.monotonic()
        assert witness.stop() == 0
        assert time.monotonic() - begin < 5


def test_a_second_witness_on_the_folder_refuses(witness: WitnessProcess, cell: Log) -> None:
    options = [*witness.options[:-1], "127.0.0.1:0"]
    second = subprocess.run(
        command(*options), cwd=ROOT, env=BARE, capture_output=True, text=True, check=False, timeout=20
    )
    assert second.returncode == 1
    assert second.stderr == "CommandError: another witness is running on this state folder\n"
    check_cosigned(witness, cell, 5, witness.add(cell.request(0, 5)))


def test_an_edited_or_foreign_state_keeps_the_witness_from_starting(witness: WitnessProcess, cell: Log) -> None:
    witness.add(cell.request(0, 8))
    witness.stop()
    path = witness.state / f"{hashed(ORIGIN)}.checkpoint"
    stored = path.read_text()
    other = "byok.example/audit/cell-2"
    for text in (stored.replace("\n8\n", "\n5\n"), cell.note(5), ""):
        path.write_text(text)
        with pytest.raises(AssertionError, match=r"is not a checkpoint of byok.example/audit/cell-1 that this witness"):
            witness.start()
    path.write_text(stored)
    (witness.state / f"{hashed(other)}.checkpoint").write_text(stored)
    witness.trust(cell.signer.vkey, Signer.generate(other).vkey)
    with pytest.raises(AssertionError, match=r"is not a checkpoint of byok.example/audit/cell-2 that this witness"):
        witness.start()


def test_an_old_state_put_back_under_a_running_witness_changes_nothing(witness: WitnessProcess, cell: Log) -> None:
    path = witness.state / f"{hashed(ORIGIN)}.checkpoint"
    witness.add(cell.request(0, 3))
    old = path.read_bytes()
    witness.add(cell.request(3, 8))
    path.write_bytes(old)
    assert witness.add(cell.request(3, 9)).text == "8\n"
    witness.add(cell.request(8, 9))
    witness.restart()
    assert witness.get("/").text.endswith(f"{ORIGIN} 9\n")


def test_nothing_is_signed_that_cannot_be_stored(witness: WitnessProcess, cell: Log) -> None:
    witness.add(cell.request(0, 3))
    blocker = witness.state / f".{hashed(ORIGIN)}.checkpoint.new"
    blocker.mkdir()  # root may write anywhere, but not a file where a folder is
    reply = witness.add(cell.request(3, 8))
    assert (reply.status, reply.text) == (503, "the witness cannot store the checkpoint\n")
    blocker.rmdir()
    assert witness.get("/").text.endswith(f"{ORIGIN} 3\n")
    check_cosigned(witness, cell, 8, witness.add(cell.request(3, 8)))


def test_no_database_is_opened_even_where_one_is_configured(witness: WitnessProcess, cell: Log) -> None:
    witness.stop()
    with socket.create_server(("127.0.0.1", 0)) as database:
        port = database.getsockname()[1]
        witness.start(DATABASE_URL=f"postgres://a:b@127.0.0.1:{port}/c", SECRET_KEY="x" * 50)
        check_cosigned(witness, cell, 5, witness.add(cell.request(0, 5)))
        database.settimeout(0.2)
        with pytest.raises(TimeoutError):
            database.accept()


def test_a_wrong_set_up_is_named(tmp_path: Path, cell: Log) -> None:
    def refused(*options: str) -> str:
        with pytest.raises(CommandError) as error:
            call_command("witness", *options)
        return str(error.value)

    witness = WitnessProcess(tmp_path, cell.signer.vkey)
    state, keys = ["--state", str(witness.state)], ["--log-key-file", str(witness.keys)]
    before = (witness.state / "key").read_bytes()
    assert "has a witness key already" in refused(*state, "--init", "--name", NAME)
    assert (witness.state / "key").read_bytes() == before
    assert "--init needs --name" in refused("--state", str(tmp_path / "new"), "--init")
    assert "no space" in refused("--state", str(tmp_path / "new"), "--init", "--name", "two words")
    assert not (tmp_path / "new" / "key").exists()
    assert "--log-key-file names the logs" in refused(*state)
    assert "No such file" in refused(*state, "--log-key-file", str(tmp_path / "none"))
    assert "`--init` makes one" in refused("--state", str(tmp_path / "none"), *keys)
    assert f"belongs to {NAME}" in refused(*state, *keys, "--name", "witness.example/w2")
    assert "`host:port`" in refused(*state, *keys, "--listen", "8090")
    for text, named in (("", "names no log"), ("\n# nothing\nnonsense\n", "line 3"), (witness.vkey, "line 1")):
        witness.keys.write_text(text)
        assert named in refused(*state, *keys)
    witness.trust(cell.signer.vkey)
    (witness.state / "key").chmod(0o440)
    assert "chmod 400" in refused(*state, *keys)


def test_a_taken_address_is_named(witness: WitnessProcess, tmp_path: Path) -> None:
    other = WitnessProcess(tmp_path / "other", "# no matter", Signer.generate(ORIGIN).vkey)
    other.port = witness.port
    run = subprocess.run(
        command(*other.options), cwd=ROOT, env=BARE, capture_output=True, text=True, check=False, timeout=20
    )
    assert run.stderr == f"CommandError: 127.0.0.1:{witness.port}: Address already in use\n"


class Server:
    """A witness's HTTP side in this process, with short patience."""

    def __init__(self, folder: Path, cell: Log) -> None:
        signer = create_key(folder / "state", name=NAME)
        logs = parse_logs(cell.signer.vkey)
        store = CheckpointStore(folder / "state", signer.verifier)
        witness = Witness(signer=signer, logs=logs, store=store, clock=time.time)
        self.server = WitnessServer("127.0.0.1", 0, witness, request_seconds=0.7)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self) -> int:
        self.thread.start()
        return self.server.port

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


@pytest.mark.parametrize("begin", [b"", b"GET / HT", b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"])
def test_a_client_that_trickles_is_cut_off(tmp_path: Path, cell: Log, begin: bytes) -> None:
    with Server(tmp_path, cell) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        started = time.monotonic()
        connection.settimeout(0.05)
        connection.sendall(begin)
        while time.monotonic() < started + 5:
            try:
                if not connection.recv(1000):
                    break
            except TimeoutError:
                connection.sendall(b"x")
            except ConnectionError:
                break
        assert 0.6 < time.monotonic() - started < 3


def test_connections_beyond_the_limit_are_closed_until_one_ends(tmp_path: Path, cell: Log) -> None:
    with Server(tmp_path, cell) as port:
        # As clients do whose connection stays open between requests.
        held = [http.client.HTTPConnection("127.0.0.1", port, timeout=5) for _ in range(CONNECTIONS_MAX)]
        for each in held:
            each.connect()
        with pytest.raises((OSError, http.client.HTTPException)):
            call(port, "GET", "/")
        for each in held:
            each.close()
        wait_until(lambda: answers(port), seconds=5)


def answers(port: int) -> bool:
    try:
        return call(port, "GET", "/").status == 200
    except (OSError, http.client.HTTPException):
        return False
