"""One cell as docs/operations.md describes it, on the ports of one machine: primary, synchronous standby, PgBouncer,
two webs, two gates, two workers, two sequencers. Must never share a server with other tests: its primary is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from byok_portal import environment as quickstart
from byok_portal.quickstart import daemons, roles
from byok_portal.quickstart.postgres import Cluster, _find_programs
from byok_portal.quickstart.standby import Standby
from tests import environment, spawning
from tests.conftest import ROOT, copy_template
from tests.portal import free_port
from tests.scale import pooler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATABASE: Final = "byok"
ORIGIN: Final = "portal.example/audit/scale"
PATIENCE: Final = 120.0
MOST: Final = 20
"""Lines of failures that a report quotes."""


@dataclass
class Cell:
    """Everything that runs. `primary` and `standby` keep their names after the failover."""

    folder: Path
    primary: Cluster
    standby: Standby
    pool: pooler.Pooler
    settings: dict[str, str]
    tenants: list[dict[str, Any]] = field(default_factory=list)
    webs: list[int] = field(default_factory=list)
    gates: list[int] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes] | spawning.Spawned] = field(default_factory=dict)

    @property
    def pooled(self) -> dict[str, str]:
        """Of web and worker hosts: through PgBouncer; what may lag is read from the standby."""
        return {
            **self.settings,
            "DATABASE_URL": self.pool.url("byok_app"),
            "DATABASE_URL_STAFF": self.pool.url("byok_staff"),
            "DATABASE_URL_REPLICA": self.replica_url,
            "CONN_MAX_AGE": "60",
        }

    @property
    def replica_url(self) -> str:
        """The web's login at the standby itself."""
        return self._login_url("byok_app", str(self.standby.port), "")

    def direct(self, login: str) -> str:
        """Past the pooler, at whichever of the two takes writes."""
        ports = f"{self.primary.port},127.0.0.1:{self.standby.port}"
        return self._login_url(login, ports, "?target_session_attrs=read-write")

    def _login_url(self, login: str, ports: str, more: str) -> str:
        return f"postgres://{login}:{environment.PASSWORDS['app']}@127.0.0.1:{ports}/{DATABASE}{more}"

    def admin(self, server: Cluster) -> psycopg.Connection:
        """A superuser's connection to the portal's database."""
        return psycopg.connect(server.admin_url(DATABASE), autocommit=True)

    def start_doors(self) -> None:
        """All processes; returns when each web is ready and each gate listens."""
        self.webs, self.gates = [free_port(), free_port()], [free_port(), free_port()]
        sequencer = {**self.settings, "DATABASE_URL": self.direct("byok_sequencer")}
        sequencer["DATABASE_URL_SEQUENCER"] = sequencer["DATABASE_URL"]
        for number in (1, 2):
            self._manage(f"sequencer-{number}", "sequencer", env=sequencer)
            self._manage(f"worker-{number}", "worker", "--every", "0.5", "--silence", "20", env=self.pooled)
        gate = {**self.settings, "DATABASE_URL": self.direct("byok_gate")}
        for number, (web, port) in enumerate(zip(self.webs, self.gates, strict=True), start=1):
            self._serve(f"web-{number}", web)
            self._manage(f"gate-{number}", "gate", "--port", str(port), "--web", f"http://127.0.0.1:{web}", env=gate)
        for port in self.webs:
            wait_until(lambda port=port: read_ready(port).get("status") == "ok", self.logs)  # type: ignore[misc]
        for port in self.gates:
            wait_until(lambda port=port: _asks(port, "/healthz") == 200, self.logs)  # type: ignore[misc]

    def _serve(self, name: str, port: int) -> None:
        command = [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--blocking-threads", "4", "byok_portal.wsgi:application"),
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=self.pooled, stdout=log, stderr=log, start_new_session=True
            )

    def _manage(self, name: str, *words: str, env: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = spawning.start(*words, env=env, stdout=log, stderr=log, new_session=True)

    def kill_primary(self) -> None:
        """kill -9 of the server and all its processes: nothing of it may acknowledge anything after this."""
        pid = self.primary.find_pid()
        assert pid is not None
        everything = [pid, *_children(pid)]
        for each in everything:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        assert daemons.wait_until(lambda: not any(map(daemons.argv_of, everything)), seconds=10)

    def stop(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(self.folder.glob("*.log"))
        )

    def errors(self) -> str:
        """What the doors logged of failures: whole lines, which name the exception and where it was raised."""
        lines = [
            f"{path.name}: {line}"
            for path in sorted(self.folder.glob("*.log"))
            for line in path.read_text(errors="replace").splitlines()
            if '"event": "unhandled"' in line or '"event": "Internal Server Error' in line
        ]
        return "\n".join(lines[-MOST:])


@contextmanager
def running(*, seeds: bool) -> Iterator[Cell]:
    """A cell without its doors; all is ended, and its folder removed.

    With `seeds` it has two tenants, and its standby is synchronous; without, tests may take the standby away.
    """
    pooler.find_program()
    folder = Path(tempfile.mkdtemp(prefix="byok-scale-"))
    folder.chmod(0o711)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        primary = Cluster(folder / "one", durable=True)
        stack.callback(primary.stop)
        primary.start()
        with ThreadPoolExecutor(1) as beside:
            _fill(primary)
            settings = _settings(primary, folder)
            seeded = beside.submit(_seed if seeds else lambda _: [], settings)
            standby = Standby(folder / "two", primary=primary)
            stack.callback(standby.stop)
            standby.start()
            standby.wait_until_streaming()
            tenants = seeded.result()
            if seeds:
                standby.make_synchronous()
        passwords = {f"byok_{short}": environment.PASSWORDS[short] for short in ("app", "staff", "gate", "sequencer")}
        pool = stack.enter_context(
            pooler.running(folder / "pool", database=DATABASE, passwords=passwords, primary=primary.port)
        )
        cell = Cell(folder, primary, standby, pool, settings, tenants)
        stack.callback(cell.stop)
        yield cell


def _fill(primary: Cluster) -> None:
    """The schema, from the template that all tests copy: migrating takes half a minute."""
    roles.set_up(primary.admin_url(), name=DATABASE, passwords=environment.PASSWORDS)
    source = f"{environment.DATABASE}_scale"
    copy_template(source)
    address = f"{os.environ['BYOK_TEST_ADMIN_URL'].rsplit('/', 1)[0]}/{source}"
    programs = _find_programs() / "bin"
    dump = subprocess.run([programs / "pg_dump", "-Fc", "-d", address], check=True, stdout=subprocess.PIPE).stdout
    words = ["--clean", "--if-exists", "--exit-on-error", "--single-transaction", "-d", primary.admin_url(DATABASE)]
    subprocess.run([programs / "pg_restore", *words], input=dump, check=True)


def _settings(primary: Cluster, folder: Path) -> dict[str, str]:
    """Of every host. The keys of the installation lie on each; mails are files."""
    made = quickstart.throwaway(primary.admin_url(), name=DATABASE, passwords=environment.PASSWORDS, origin=ORIGIN)
    mails = folder / "mails"
    mails.mkdir()
    return {
        **os.environ,
        **made,
        "EMAIL_URL": f"filemail://{mails}",
        "BYOK_DIGEST_WAIT_SECONDS": "1",
        "BYOK_WORKERS": "1",
        "CONN_MAX_AGE": "0",
        "LOG_LEVEL": "WARNING",
    }


def _seed(settings: dict[str, str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.scale.seeding"]
    done = subprocess.run(command, cwd=ROOT, env=settings, check=True, stdout=subprocess.PIPE, text=True)
    made: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return made


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _asks(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:  # our own address
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def read_ready(port: int) -> dict[str, Any]:
    """What /readyz says, whatever its status; empty when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:  # our own address
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return {}
    with suppress(ValueError):
        found: dict[str, Any] = json.loads(body)
        return found
    return {}


def wait_until(condition: Callable[[], object], logs: Callable[[], str], *, seconds: float = PATIENCE) -> None:
    """Raises with the logs when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, logs()
        time.sleep(0.1)
