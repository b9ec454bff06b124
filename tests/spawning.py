"""Processes of `manage.py` that begin with their modules loaded: forked from a warm interpreter, and real ones else.

Nearly all that a short command costs is imports; the suite starts hundreds. A process from here has its own pid,
environment and files, and dies of any signal. The warm interpreter has loaded libraries only; the second time that
it is asked with the same environment, it forks one that has read these settings too, and later ones begin there.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parent.parent
REQUEST_BYTES: Final = 2**18
LIBRARIES: Final = (
    "allauth.account",
    "asyncio",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "django.contrib.admin.options",
    "django.contrib.admin.sites",
    "django.contrib.postgres.fields",
    "django.core.handlers.wsgi",
    "django.core.management.commands.check",
    "django.db.backends.postgresql.base",
    "django.template.engine",
    "django.template.loader_tags",
    "django.test.signals",
    "django.views.generic",
    "environ",
    "msgspec.json",
    "multiprocessing.managers",
    "psutil",
    "rich.traceback",
    "sqlparse",
    "structlog",
    "urllib3",
    "zipfile",
)
PASSING: Final = ("PYTEST_CURRENT_TEST",)
"""Variables that change with every test, and that no settings are read from."""
SETTLED: Final = 4
"""Interpreters with settings that are kept at once."""


class Spawned:
    """A running `manage.py`: what tests need of `subprocess.Popen`."""

    def __init__(self, status: socket.socket, arguments: list[str]) -> None:
        self.args = arguments
        self.pid = int.from_bytes(_receive(status))
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """How it ended (minus the signal that killed it), if it did."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = int.from_bytes(_receive(self._status), signed=True)
            self._status.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            select.select([self._status], [], [], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()


def start(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    new_session: bool = False,
) -> Spawned:
    """Run `manage.py` with these arguments; an output that is not given goes where the test's own goes."""
    words = ["manage.py", *arguments]
    request = json.dumps([words, dict(os.environ if env is None else env), new_session]).encode()
    mine, its = socket.socketpair()
    with its, Path(os.devnull).open("rb") as nothing:
        files = [(stdin or nothing).fileno(), stdout.fileno() if stdout else 1, stderr.fileno() if stderr else 2]
        socket.send_fds(_warm(), [request], [its.fileno(), *files])
    return Spawned(mine, words)


def run(
    *arguments: str, env: Mapping[str, str] | None = None, typed: str = "", timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it wrote is in the answer."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(typed.encode())
        given.seek(0)
        process = start(*arguments, env=env, stdin=given, stdout=out, stderr=err)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        texts = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return subprocess.CompletedProcess(process.args, code, *texts)


@cache
def _warm() -> socket.socket:
    """The warm interpreter of this process, asked over a socket; it ends when the socket does."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, "-m", "tests.spawning", str(its.fileno())]
        # Without the name of the settings, a library that would read them cannot be loaded.
        plain = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        process = subprocess.Popen(command, cwd=ROOT, env=plain, pass_fds=[its.fileno()])

    def end() -> None:
        mine.close()
        process.wait(10)

    atexit.register(end)
    return mine


def _receive(status: socket.socket) -> bytes:
    """Four bytes about the process; without them the warm interpreter has died."""
    data = status.recv(4)
    assert len(data) == 4, "the warm interpreter is gone"
    return data


class Settled:
    """Interpreters that have read their settings, by environment; none at the start."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._places: OrderedDict[str, socket.socket] = OrderedDict()

    def find(self, name: str) -> socket.socket | None:
        """Where to send a request with this environment."""
        if name in self._places:
            self._places.move_to_end(name)
        return self._places.get(name)

    def is_due(self, name: str) -> bool:
        """Every second time; so those whose settings cannot be read cost little."""
        due = name in self._asked
        (self._asked.discard if due else self._asked.add)(name)
        return due

    def keep(self, name: str, place: socket.socket) -> None:
        """Wait until it has read them; an end instead of a word means that it cannot."""
        if not place.recv(1):
            place.close()
            return
        self._places[name] = place
        if len(self._places) > SETTLED:
            self._places.popitem(last=False)[1].close()

    def close(self) -> None:
        """In a process that was forked beside them."""
        for place in self._places.values():
            place.close()


def serve(asked: socket.socket, settled: Settled | None = None) -> bool:
    """Fork for every request. True in a process that is to become `manage.py`, False when nobody will ask any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for the processes are not waited for
    while True:
        request, files, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 4)
        if not request:
            return False
        if settled is not None and (name := _name(request)) is not None:
            if settled.find(name) is None and settled.is_due(name):
                mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                if os.fork() == 0:
                    settled.close()
                    _close(asked.detach(), mine.detach(), *files)
                    return _settle(its, json.loads(name))
                its.close()
                settled.keep(name, mine)
            if place := settled.find(name):
                socket.send_fds(place, [request], files)
                _close(*files)
                continue
        if os.fork() == 0:
            asked.close()
            if settled is not None:
                settled.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _split(request, files)
        _close(*files)


def _name(request: bytes) -> str | None:
    """The environment of a request, less what changes with every test. None for a process without a database."""
    _, environment, _ = json.loads(request)
    if "DATABASE_URL" not in environment:
        return None
    return json.dumps({key: value for key, value in environment.items() if key not in PASSING}, sort_keys=True)


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


def _settle(asked: socket.socket, environment: dict[str, str]) -> bool:
    """Read settings and load what they name, then be asked. An exception ends this process, and it is asked nothing."""
    os.environ.clear()
    os.environ.update(environment)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "byok_portal.settings")
    importlib.import_module("django").setup()
    importlib.import_module("byok_portal.urls")
    gc.freeze()  # its pages stay shared
    asked.send(b"1")
    return serve(asked)


def _split(request: bytes, files: list[int]) -> bool:
    """Become the process, and its parent, who tells its pid and its end. Returns in the process only."""
    pid = os.fork()
    if pid == 0:
        words, environment, new_session = json.loads(request)
        _become(words, environment, files)
        if new_session:
            os.setsid()
        return True
    with socket.socket(fileno=files[0]) as status:
        for file in files[1:]:
            os.close(file)
        status.sendall(pid.to_bytes(4))
        _, code = os.waitpid(pid, 0)
        try:
            status.sendall(os.waitstatus_to_exitcode(code).to_bytes(4, signed=True))
        finally:  # also when nobody listens any more
            os._exit(0)


def _become(words: list[str], environment: dict[str, str], files: list[int]) -> None:
    """Everything that a new process would have been given."""
    for place, file in enumerate(files[1:]):
        os.dup2(file, place)
    os.closerange(3, max(files) + 1)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = words
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    if serve(socket.socket(fileno=int(sys.argv[1])), Settled()):
        runpy.run_path("manage.py", run_name="__main__")
