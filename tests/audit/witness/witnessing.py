"""A log with a key and trees of its own, and a witness in a process of its own."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from audit import merkle
from audit.chain import leaf_hash
from audit.notes import Checkpoint, CosignatureVerifier, Signer, cosigned_at, encode_base64, open_note
from audit.witness import state
from audit.witness.server import WitnessServer
from audit.witness.service import Witness, parse_logs
from tests import spawning
from tests.portal import ROOT, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ORIGIN: Final = "byok.example/audit/cell-1"
NAME: Final = "witness.example/w1"

# The whole environment of a witness: no database, no secret, nothing of the portal's.
BARE: Final = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}

# Runs the command with a SIGKILL in front of, or behind, a function that is called while a checkpoint is stored.
_KILLED: Final = """
import os, pkgutil, signal, sys
holder, name, when = pkgutil.resolve_name({holder!r}), {name!r}, {when!r}
real = getattr(holder, name)
def killed(*arguments):
    if when == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(holder, name, killed)
import manage
manage.main()
"""


class Log:
    """A log's tree: `fork` gives another history after the first leaves, signed by the same key."""

    def __init__(self, signer: Signer | None = None, *, size: int = 0) -> None:
        self.signer = signer or Signer.generate(ORIGIN)
        self.hashes = [leaf_hash(b"entry %d" % number) for number in range(size)]

    def fork(self, *, at: int, size: int, salt: bytes = b"other") -> Log:
        other = Log(self.signer)
        other.hashes = [*self.hashes[:at], *(leaf_hash(b"%s %d" % (salt, number)) for number in range(at, size))]
        return other

    def read(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        return [merkle.root_of(self.hashes[index << level : (index + 1) << level]) for level, index in nodes]

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.signer.name, size, merkle.root_of(self.hashes[:size]))

    def note(self, size: int, *signers: Signer) -> str:
        body = self.checkpoint(size).body
        return f"{body}\n" + "".join(signer.sign(body) for signer in signers or (self.signer,))

    def proof(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, self.read)

    def request(self, old: int, new: int) -> bytes:
        return request(old, self.proof(old, new), self.note(new))


def request(old: int, proof: Sequence[bytes], note: str) -> bytes:
    lines = "".join(f"{encode_base64(value)}\n" for value in proof)
    return f"old {old}\n{lines}\n{note}".encode()


@dataclass(frozen=True)
class Reply:
    status: int
    kind: str
    text: str
    headers: dict[str, str] = field(default_factory=dict)


def command(*arguments: str, program: Sequence[str] = ("manage.py",)) -> list[str]:
    return [sys.executable, *program, "witness", *arguments]


class WitnessProcess:
    """`manage.py witness` on a folder; `restart` keeps the folder, and with it the key and what is remembered."""

    def __init__(self, folder: Path, *vkeys: str, name: str = NAME) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.state = folder / "state"
        self.keys = folder / "logs.vkey"
        self.trust(*vkeys)
        self.vkey = state.create_key(self.state, name=name).vkey
        self.verifier = CosignatureVerifier.parse(self.vkey)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | spawning.Spawned | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def options(self) -> list[str]:
        return ["--state", str(self.state), "--log-key-file", str(self.keys), "--listen", f"127.0.0.1:{self.port}"]

    def trust(self, *vkeys: str) -> None:
        self.keys.write_text("".join(f"{vkey}\n" for vkey in vkeys))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self, *, kill: tuple[str, str, str] | None = None, **environment: str) -> None:
        environment = {**BARE, **environment}
        with (self.folder / "witness.log").open("ab") as log:
            if kill is None:
                self.process = spawning.start("witness", *self.options, env=environment, stdout=log, stderr=log)
            else:
                words = command(
                    *self.options, program=["-c", _KILLED.format(holder=kill[0], name=kill[1], when=kill[2])]
                )
                self.process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/")
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.stop(signal.SIGKILL)
        raise AssertionError(f"the witness does not answer: {self.logs()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)
            raise

    def restart(self) -> None:
        self.stop()
        self.start()

    def wait_dead(self) -> int:
        assert self.process is not None
        code = self.process.wait(15)
        self.process = None
        return code

    def logs(self) -> str:
        return (self.folder / "witness.log").read_text()

    def get(self, path: str) -> Reply:
        return call(self.port, "GET", path)

    def add(self, body: bytes) -> Reply:
        return call(self.port, "POST", "/add-checkpoint", body)


class WitnessThread(WitnessProcess):
    """The same witness on the same folder, served by this process: for those to whom its process is no matter."""

    _serving: tuple[ExitStack, _Server] | None = None

    def start(self, *, kill: tuple[str, str, str] | None = None, **environment: str) -> None:
        assert (kill, environment) == (None, {}), "only a process can be killed, or has an environment"
        signer, stack = state.load_key(self.state), ExitStack()
        stack.enter_context(state.locked(self.state))
        store = state.CheckpointStore(self.state, signer.verifier)
        witness = Witness(signer=signer, logs=parse_logs(self.keys.read_text()), store=store, clock=time.time)
        server = stack.enter_context(_Server("127.0.0.1", self.port, witness))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self._serving = stack, server

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert number == signal.SIGTERM, "only a process can be killed"
        serving, self._serving = self._serving, None
        if serving is not None:
            stack, server = serving
            server.shutdown()
            server.hang_up()
            stack.close()
        return 0


class _Server(WitnessServer):
    """Ends its conversations when it stops, as the end of a process would."""

    def __init__(self, host: str, port: int, witness: Witness) -> None:
        self._spoken_to: list[socket.socket] = []
        super().__init__(host, port, witness)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._spoken_to.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        for each in self._spoken_to:
            with suppress(OSError):  # it is over
                each.shutdown(socket.SHUT_RDWR)


def check_cosigned(witness: WitnessProcess, cell: Log, size: int, reply: Reply) -> int:
    """The answer is cosignature lines over the checkpoint; returns the time in it."""
    assert reply.status == 200, reply
    note = open_note(f"{cell.checkpoint(size).body}\n{reply.text}", [witness.verifier])
    return cosigned_at(note, witness.verifier)


def call(port: int, method: str, path: str, body: bytes | None = None) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        text = answer.read().decode()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, headers.get("content-type", ""), text, headers)
    finally:
        connection.close()


def raw(port: int, data: bytes) -> bytes:
    """What comes back for bytes that need not be HTTP, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(data)
        chunks = []
        while chunk := _receive(connection):
            chunks.append(chunk)
    return b"".join(chunks)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:  # the rest of a refused request was never read
        return b""


def hashed(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run all calls at once, from a common start; their results in order."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(number: int, each: Callable[[], Any]) -> None:
        barrier.wait(10)
        results[number] = each()

    threads = [threading.Thread(target=partial(run, number, each)) for number, each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results
