"""Start a server that outlives us, recognise it later and stop it.

Must never signal a pid before its command line has shown that it is ours: pids are reused after a reboot.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from byok_portal.errors import Unavailable
from byok_portal.quickstart.state import write_private

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

LOOPBACK: Final = "127.0.0.1"
_PF_EXITING: Final = 0x4
_LEAVING_SECONDS: Final = 5.0
# `&` inside sh makes the server init's child, so no zombie stays with us; `"$@"` needs no quoting.
_DETACH: Final = '"$@" </dev/null >&2 & echo $!'


@dataclass(frozen=True)
class Account:
    """The numeric user and group that a server runs as; a number needs no entry in /etc/passwd."""

    uid: int
    gid: int


def launch(argv: Sequence[str], *, log: Path, env: Mapping[str, str], account: Account | None = None) -> int:
    """Start `argv` in its own session and return its pid.

    Output is appended to `log`, which we open, so that the account needs no right on it.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", _DETACH, "sh", *argv],
            stdout=subprocess.PIPE,
            stderr=descriptor,
            check=True,
            env=dict(env),
            cwd="/",
            umask=0o077,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    finally:
        os.close(descriptor)
    return int(done.stdout)


def run_as(account: Account | None, argv: Sequence[str], *, pass_fds: tuple[int, ...] = ()) -> str:
    """Run `argv` to its end as `account` and return its output. Raises Unavailable with its complaint."""
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
            cwd="/",
            umask=0o077,
            pass_fds=pass_fds,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except OSError as error:
        reason = f"{argv[0]} cannot be run: {error.strerror}"
        raise Unavailable(reason) from error
    if done.returncode != 0:
        reason = f"{Path(argv[0]).name} failed: {done.stderr.strip()[-800:]}"
        raise Unavailable(reason)
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Nothing of the caller's environment (PG*, BAO_*, secrets) reaches a server."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def argv_of(pid: int) -> list[str]:
    """The command line of a live process; empty when it is gone or a zombie.

    Read from /proc/<pid>/cmdline, which is world-readable; `exe` and `cwd` are closed to a container's root.
    """
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    if not raw:
        # A killed process loses its memory before its files: wait until its port and its locks are free too.
        wait_until(lambda: not _is_leaving(pid), seconds=_LEAVING_SECONDS)
    return [os.fsdecode(part) for part in raw.split(b"\0")[:-1]]


def _is_leaving(pid: int) -> bool:
    """Whether the kernel is still taking the process, or a thread of it, apart (proc_pid_stat(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    state, flags, threads = fields[0], int(fields[6]), int(fields[17])
    return threads > 1 if state in "ZX" else bool(flags & _PF_EXITING)


def stop(pid: int, *, is_ours: Callable[[int], bool], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn and wait its seconds for the process to go. Raises Unavailable if it stays."""
    for number, seconds in signals:
        if not is_ours(pid):
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if wait_until(lambda: not is_ours(pid), seconds=seconds):
            return
    reason = f"process {pid} did not stop"
    raise Unavailable(reason)


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Poll `condition` until it holds; False when time runs out."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


def choose_port(record: Path) -> int:
    """The port used last time when it is still free, else a new one, which is then remembered in `record`."""
    port = read_number(record)
    if port is None or not _is_free(port):
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        write_private(record, str(port))
    return port


def read_number(path: Path) -> int | None:
    """The number on the first line of `path`; None when the file is missing or says something else."""
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do, so that a connection in TIME_WAIT does not cost us the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
