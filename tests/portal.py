"""A portal in real processes on the test database: web (granian), worker, sequencer, readers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psycopg

from tests import environment, spawning

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Portal:
    """Processes with their logs in `folder`."""

    folder: Path
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes] | spawning.Spawned] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "BASE_URL": self.url, "BYOK_JOB_LEASE_SECONDS": "2", "LOG_LEVEL": "INFO"}

    def start(self, name: str) -> None:
        if name == "worker":
            clear_backlog()
        more = ("--every", "0.5", "--silence", "6") if name == "worker" else ()
        with (self.folder / f"{name}.log").open("ab") as log:
            if name == "web":
                self.processes[name] = self._serve(log)
            else:
                self.processes[name] = spawning.start(
                    name, *more, env=self.environment, stdout=log, stderr=log, new_session=True
                )

    def _serve(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1", "--blocking-threads", "4"),
            "byok_portal.wsgi:application",
        ]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def kill(self, name: str) -> None:
        """kill -9, at once; what the process started dies with it or shows as an orphan."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)

    def wait_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:  # noqa: S310  # our own address
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(f"the portal is not ready: {self.logs()[-3000:]}")

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))


def clear_backlog() -> None:
    """Other tests on this database leave jobs that nobody has worked on; a worker would do those first.

    They end as they would after all attempts: some tests look at their tenants' rows later.
    """
    admin_url = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
    with psycopg.connect(f"{admin_url}/{environment.DATABASE}", autocommit=True) as admin:
        admin.execute("DELETE FROM django_q_ormq")
        admin.execute(
            "UPDATE boundary_job SET state = 'dead', lease_until = NULL WHERE state IN ('queued', 'running') "
            "AND created_at < now() - interval '30 seconds'"
        )


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Portal]:
    """A whole portal, stopped at the end."""
    portal = Portal(folder)
    try:
        for name in ("web", "worker", "sequencer", "readers"):
            portal.start(name)
        portal.wait_ready()
        yield portal
    finally:
        portal.stop()


def wait_until(condition: object, *, seconds: float = 30, every: float = 0.1) -> None:
    """Poll a callable until it is true. Raises AssertionError with its name when it does not come true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return
        time.sleep(every)
    raise AssertionError(f"did not come true in {seconds} s: {condition}")
