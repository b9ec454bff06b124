"""A whole portal with a synchronous standby, whose processes are killed and come back; all figures of them over time.

Must never leave a process or a server behind, and promotes a standby only when its primary is dead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from bench.driving import ROOT, family, find, free_port
from byok_portal.quickstart import daemons, state
from byok_portal.quickstart.standby import Standby

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from byok_portal.quickstart.postgres import Cluster

DATABASE: Final = "byok_bench"
RESTART_AFTER: Final = 0.5
"""As the supervisor of a host would: not at once, for what dies at once."""


class Servers:
    """A primary and its standby, in two places that change their roles when the primary dies."""

    def __init__(self, folder: Path, primary: Cluster) -> None:
        self.folder, self.primary = folder, primary
        self.standby = self._stand_by(primary, 0)
        self.addresses = ",".join(f"127.0.0.1:{server.port}" for server in (primary, self.standby))

    def url(self, login_url: str) -> str:
        """A login at whichever of the two takes writes."""
        start, _, _ = login_url.rpartition("@")
        return f"{start}@{self.addresses}/{DATABASE}?target_session_attrs=read-write"

    def admin(self) -> psycopg.Connection:
        """A superuser at the primary."""
        return psycopg.connect(self.primary.admin_url(DATABASE), autocommit=True, connect_timeout=5)

    def restart(self) -> None:
        """The primary again."""
        self.primary.start()

    def kill_primary(self) -> None:
        """kill -9 of the server and all of its processes: nothing of it may acknowledge anything after this."""
        pid = self.primary.find_pid()
        assert pid is not None
        everything = family(pid)
        for each in everything:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        assert daemons.wait_until(lambda: not any(map(daemons.argv_of, everything)), seconds=10)

    def promote(self) -> None:
        """The standby takes the place of the dead primary."""
        self.standby.promote()
        self.primary, self.dead = self.standby, self.primary

    def rebuild(self) -> None:
        """A new standby where the dead primary was, on its port."""
        state.remove_tree(self.dead.folder / "data")
        turn = int(self.standby.name[-1])
        self.standby = self._stand_by(self.primary, 1 - turn, self.dead.folder)

    def _stand_by(self, primary: Cluster, turn: int, folder: Path | None = None) -> Standby:
        standby = Standby(folder or self.folder / "two", primary=primary, name=f"byok_standby_{turn}")
        standby.start()
        standby.wait_until_streaming()
        standby.make_synchronous()
        return standby

    def stop(self) -> None:
        """Both, the standby first."""
        for server in (self.standby, self.primary):
            server.stop()


@dataclass(slots=True)
class Kept:
    """A process that is started again whenever it ends."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    ended: float = 0.0
    lives: int = 0

    def start(self, folder: Path) -> None:
        """Its output goes to a log."""
        with (folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=ROOT,
                env={**self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.began, self.lives = time.monotonic(), self.lives + 1

    def kill(self) -> None:
        """kill -9, with the worker processes that a web server has in its session."""
        assert self.process is not None
        if "granian" in self.command:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(10)

    def figures(self) -> tuple[float, int]:
        """(megabytes, open files) of it and its children."""
        assert self.process is not None
        memory, files = 0.0, 0
        for pid in family(self.process.pid):
            with suppress(OSError, AssertionError):
                memory += share(pid)
                files += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return memory, files


def share(pid: int) -> float:
    """Megabytes of a process; what it shares with its forks is counted once over all of them."""
    return int(find(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())) / 1024


class Keeper:
    """The supervisor of all processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[str, Kept] = {}

    def add(self, name: str, *command: str, environment: Mapping[str, str]) -> None:
        """Start one more."""
        self.kept[name] = kept = Kept(name, command, environment)
        kept.start(self.folder)

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            for kept in self.kept.values():
                if kept.process is not None and kept.process.poll() is not None:
                    kept.process, kept.ended = None, time.monotonic()
                if kept.process is None and time.monotonic() - kept.ended >= RESTART_AFTER:
                    kept.start(self.folder)
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Everything, politely first."""
        processes = [kept.process for kept in self.kept.values() if kept.process is not None]
        for process in processes:
            process.terminate()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def log_ends(self) -> str:
        """The last lines of each, and its last errors, for when something went wrong."""
        found = []
        for path in sorted(self.folder.glob("*.log")):
            text = path.read_text(errors="replace")
            errors = [line[:3000] for line in text.splitlines() if '"level": "error"' in line]
            found.append("\n".join([f"--- {path.name}", *errors[-3:], text[-1500:]]))
        return "\n".join(found)


@dataclass(slots=True)
class Ports:
    """Where the doors are."""

    gates: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    web: int = field(default_factory=free_port)
    upstream: int = field(default_factory=free_port)


def start_all(keeper: Keeper, ports: Ports, servers: Servers, *, worker: Iterable[str] = ()) -> None:
    """Every process of a portal, each under its own login."""
    base = {**os.environ, "ALLOWED_HOSTS": "localhost", "CONN_MAX_AGE": "60", "LOG_LEVEL": "WARNING"}
    urls = {name: servers.url(url) for name, url in base.items() if name.startswith("DATABASE_URL")}
    base |= urls
    gate = base | {"DATABASE_URL": urls["DATABASE_URL_GATE"], "PGTARGETSESSIONATTRS": "read-write"}
    serve = ("-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(ports.web))
    serve += ("--workers", "1", "--blocking-threads", "4", "--log-level", "warning", "byok_portal.wsgi:application")
    keeper.add("web", *serve, environment=base | {"TRUSTED_PROXY_COUNT": "1"})
    for number, port in enumerate(ports.gates, start=1):
        words = ("manage.py", "gate", "--port", str(port), "--web", f"http://127.0.0.1:{ports.web}")
        keeper.add(f"gate-{number}", *words, environment=gate)
    keeper.add("worker", "manage.py", "worker", *worker, environment=base)
    keeper.add("sequencer", "manage.py", "sequencer", environment=base)
    keeper.add("readers", "manage.py", "readers", environment=base)
