"""Run the portal's processes as children of one command, and leave none behind however that command ends.

Each child runs under a guard: this same file, run by path, so it may import the standard library only.
The guard leads the child's process group and ends the whole group when the supervisor is gone, kill -9
included; a parent-death signal alone would miss the child's own children (django-q2 workers).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

logger = logging.getLogger(__name__)

_TICK: Final = 0.1
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
# A child that ran this long was well: its next exit starts again from the shortest delay.
_WELL_AFTER: Final = 60.0
_MOST_PATIENCE: Final = 16
"""So many times its grace a child may take to come to life."""
_PR_SET_PDEATHSIG: Final = 1
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, kw_only=True)
class Child:
    """One process to keep running.

    `is_alive`, when given, is asked every `interval` seconds, first `grace` seconds after a start; it must be
    quick. False means wedged: the whole group is killed and restarted. An exception is no verdict (a check
    that cannot reach the database says nothing about the worker) and is only logged. One that is killed before it
    was ever alive gets twice the grace the next time: on a crowded host it may only be slow to start.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    is_alive: Callable[[], bool] | None = None
    grace: float = 30.0
    interval: float = 5.0


@dataclass
class _Run:
    """What is known about a child now; `process` is its guard, whose pid is also the group's id."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    delay: float = _FIRST_DELAY
    checked_at: float = 0.0
    patience: int = 1
    was_alive: bool = False


@dataclass
class Supervisor:
    """Starts `children`, restarts those that exit, stops them all on SIGTERM or SIGINT.

    `stop_seconds`: how long a child may take to end before its group is killed.
    """

    children: Sequence[Child]
    stop_seconds: float = 10.0
    _stop_requests: int = field(default=0, init=False)

    def run(self) -> None:
        """Block until SIGTERM or SIGINT; a second one kills at once. Call it in the main thread."""
        runs = [_Run(child) for child in self.children]
        previous = {number: signal.signal(number, self._on_signal) for number in _STOP_SIGNALS}
        try:
            while not self._stop_requests:
                for run in runs:
                    self._tend(run)
                time.sleep(_TICK)
        finally:
            self._stop(runs)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def request_stop(self) -> None:
        """What a first SIGTERM does; a second call is what a second one does."""
        self._stop_requests += 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.request_stop()

    def _tend(self, run: _Run) -> None:
        now = time.monotonic()
        if run.process is None:
            if now >= run.start_at:
                self._start(run, now)
        elif _has_exited(run.process):
            _schedule_restart(run, code=_end_group(run.process), now=now)
        elif _is_wedged(run, now):
            logger.warning("%s does not answer: killing its process group", run.child.name)
            run.patience = run.patience if run.was_alive else min(run.patience * 2, _MOST_PATIENCE)
            _schedule_restart(run, code=_end_group(run.process), now=now)

    def _start(self, run: _Run, now: float) -> None:
        guard = [
            sys.executable,
            "-I",
            "-S",
            __file__,
            "--guard",
            str(os.getpid()),
            str(self.stop_seconds),
            "--",
        ]
        run.process = subprocess.Popen([*guard, *run.child.argv], env=run.child.env, start_new_session=True)
        run.started_at = run.checked_at = now
        run.was_alive = False

    def _stop(self, runs: Sequence[_Run]) -> None:
        processes = [run.process for run in runs if run.process is not None]
        for process in processes:
            process.terminate()
        # A little longer than the guards themselves wait, so that they do the killing.
        deadline = time.monotonic() + self.stop_seconds + 1.0
        asked = self._stop_requests
        while self._stop_requests == asked and time.monotonic() < deadline and not all(map(_has_exited, processes)):
            time.sleep(_TICK)
        for process in processes:
            _end_group(process)


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    # Without reaping: as long as the zombie holds its pid, the group's id cannot be somebody else's.
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(process: subprocess.Popen[bytes]) -> int:
    """Kill what is left of the group, orphans of the child included, reap the guard, return its exit code."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _schedule_restart(run: _Run, *, code: int, now: float) -> None:
    if now - run.started_at >= _WELL_AFTER:
        run.delay = _FIRST_DELAY
    logger.warning("%s ended with %s; starting it again in %.1f s", run.child.name, code, run.delay)
    run.process = None
    run.start_at = now + run.delay
    run.delay = min(run.delay * 2, _LONGEST_DELAY)


def _is_wedged(run: _Run, now: float) -> bool:
    check = run.child.is_alive
    if check is None or now - run.checked_at < run.child.interval:
        return False
    if now - run.started_at < run.child.grace * run.patience:
        return False
    run.checked_at = now
    try:
        is_alive = check()
    except Exception:
        logger.exception("the health check of %s failed, which says nothing about it", run.child.name)
        return False
    run.was_alive = run.was_alive or is_alive
    return not is_alive


def guard(parent: int, stop_seconds: float, argv: Sequence[str]) -> int:
    """Run `argv` to its end and return its exit code; end the group when `parent` has died."""
    # Signals wait until the handlers know the child.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP_SIGNALS, signal.SIGALRM})
    _die_with_parent(signal.SIGTERM)
    process = subprocess.Popen(argv, preexec_fn=_prepare_child)  # noqa: PLW1509  # the guard has one thread

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, stop_seconds)

    for number in _STOP_SIGNALS:
        signal.signal(number, pass_on)
    signal.signal(signal.SIGALRM, lambda _number, _frame: _kill_own_group())
    if os.getppid() != parent:  # it died before we asked to be told
        os.kill(os.getpid(), signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_STOP_SIGNALS, signal.SIGALRM})
    code = process.wait()
    if os.getppid() != parent:
        _kill_own_group()  # nobody is left to end the child's orphans
    return code if code >= 0 else 128 - code


def _prepare_child() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_STOP_SIGNALS, signal.SIGALRM})
    _die_with_parent(signal.SIGKILL)  # should the guard itself be killed


def _die_with_parent(number: signal.Signals) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _kill_own_group() -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    # --guard <parent pid> <seconds> -- argv
    _, parent_pid, seconds, _, *command = sys.argv[1:]
    sys.exit(guard(int(parent_pid), float(seconds), command))
