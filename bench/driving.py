"""Servers that a benchmark starts, and wrk that drives them. Must never leave a process behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent

# One use after another of random keys, each with its own tenant's token.
_USES = """
local uses = {}
for line in io.lines("%(uses)s") do
  local path, token = line:match("(%%S+) (%%S+)")
  uses[#uses + 1] = wrk.format("%(method)s", path%(suffix)s, {["Authorization"] = "Bearer " .. token,
    ["Host"] = "localhost", %(headers)s}, %(body)s)
end
math.randomseed(os.time())
request = function() return uses[math.random(#uses)] end
"""
UPSTREAM_PATH = "v1/secret/data/reports/q3"
"""A call that the scope `secrets:read` allows."""

Use = tuple[str, str, str]
"""(tenant, key, token)"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests a second, milliseconds at the median and at 99 %, answers that were not 2xx."""

    rate: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers: where, and the script that says what to send."""

    url: str
    script: Path


def require_wrk() -> None:
    """Say what is missing, before an hour is spent. Raises SystemExit, as SIGTERM does from now on: servers end too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk on the PATH: on Debian and Ubuntu `apt install wrk`.")


def drive(target: Target, *, connections: int, seconds: int) -> Load:
    """One run of wrk."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(target.script), target.url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Load(
        rate=float(find(r"Requests/sec:\s+([\d.]+)", out)),
        p50=_milliseconds(find(r"\n\s+50%\s+(\S+)", out)),
        p99=_milliseconds(find(r"\n\s+99%\s+(\S+)", out)),
        errors=sum(int(each) for each in re.findall(r"(?:responses|timeout|connect|read|write):? (\d+)", out)),
    )


def find(pattern: str, text: str) -> str:
    """The first group of what must be there."""
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


class Scripts:
    """wrk scripts over the keys that are used."""

    def __init__(self, folder: Path, uses: Sequence[Use]) -> None:
        self.folder = folder
        lines = [f"/api/v1/tenants/{tenant}/keys/{key}/ {token}\n" for tenant, key, token in uses]
        (folder / "uses.txt").write_text("".join(lines))

    def use(self, name: str, **more: str) -> Path:
        """Asks for uses."""
        body = json.dumps({"scope": "secrets:read", "purpose": "report", **more})
        return self._write(name, "POST", "use/", '["Content-Type"] = "application/json"', f"'{body}'")

    def call(self, name: str) -> Path:
        """Makes calls through the portal."""
        return self._write(name, "GET", f"proxy/{UPSTREAM_PATH}", '["Byok-Purpose"] = "report"', "nil")

    def direct(self, name: str) -> Path:
        """Makes the same call without the portal."""
        path = self.folder / f"{name}.lua"
        path.write_text(f'wrk.path = "/{UPSTREAM_PATH}"\nwrk.headers["X-Vault-Token"] = "x"\n')
        return path

    def _write(self, name: str, method: str, suffix: str, headers: str, body: str) -> Path:
        path = self.folder / f"{name}.lua"
        values = {"method": method, "suffix": f' .. "{suffix}"', "headers": headers, "body": body}
        path.write_text(_USES % {"uses": self.folder / "uses.txt", **values})
        return path


class Servers:
    """Processes of one run, under the environment that it was prepared with; all end with `stack`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**environment, "ALLOWED_HOSTS": "localhost"}
        self.stack = contextlib.ExitStack()

    def spawn(self, *command: str, login: str = "") -> subprocess.Popen[bytes]:
        """A process under a login of the database: `GATE`, or the web's when none is named."""
        url = self.environment[f"DATABASE_URL_{login}" if login else "DATABASE_URL"]
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env={**self.environment, "DATABASE_URL": url})
        self.stack.callback(stop, process)
        return process

    def start(self, *command: str, port: int, login: str = "") -> subprocess.Popen[bytes]:
        """The same for a server; returns when it accepts connections."""
        process = self.spawn(*command, login=login)
        wait_open(port, process)
        return process

    def gate(self, port: int) -> subprocess.Popen[bytes]:
        """The data plane."""
        return self.start("manage.py", "gate", "--port", str(port), login="GATE", port=port)

    def web(self, port: int, application: str = "byok_portal.wsgi:application", login: str = "") -> int:
        """A web server with two workers. Returns the pid of its parent."""
        serve = ("-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port))
        more = ("--workers", "2", "--blocking-threads", "8", "--log-level", "warning", application)
        return self.start(*serve, *more, port=port, login=login).pid


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that this run started."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until it listens there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    message = f"nothing listens on {port}"
    raise TimeoutError(message)


def ask_use(port: int, use: Use) -> int:
    """The status of one use."""
    tenant, key, token = use
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Host": "localhost", "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        body = json.dumps({"scope": "secrets:read", "purpose": "report"})
        connection.request("POST", f"/api/v1/tenants/{tenant}/keys/{key}/use/", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def megabytes(pid: int) -> float:
    """What is resident of a process."""
    return int(find(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())) / 1024


def family(pid: int) -> list[int]:
    """A process and all that come of it, the oldest first."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def environment() -> dict[str, str]:
    """That of this process, once a benchmark has prepared it."""
    return dict(os.environ)
