"""The supervisor: real processes, real kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byok_portal.boundary.supervisor import Child, Supervisor
from byok_portal.quickstart import daemons, state

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILDREN = Path(__file__).with_name("children.py")
SUPERVISE = """
import sys
from byok_portal.boundary.supervisor import Child, Supervisor
script, folder, kind = sys.argv[1:]
Supervisor([Child(name=kind, argv=[sys.executable, script, folder, kind])], stop_seconds=1.0).run()
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Path]:
    """The folder where the family notes its pids; what a failing test left alive is ended."""
    yield tmp_path
    for pid in alive(tmp_path):
        os.kill(pid, signal.SIGKILL)


def noted(folder: Path, kind: str = "") -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in folder.glob(f"{kind}*-*")]


def alive(folder: Path, kind: str = "") -> list[int]:
    return [pid for pid in noted(folder, kind) if str(folder) in daemons.argv_of(pid)]


def all_end(folder: Path) -> bool:
    """SIGKILL has been sent when the supervisor returns; the kernel may take a moment to carry it out."""
    return daemons.wait_until(lambda: not alive(folder), seconds=1)


def start(folder: Path, kind: str = "parent", family_size: int = 3) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", SUPERVISE, str(CHILDREN), str(folder), kind]
    process = subprocess.Popen(argv, cwd=state.CHECKOUT, stderr=subprocess.DEVNULL)
    assert daemons.wait_until(lambda: len(alive(folder)) == family_size, seconds=15)
    return process


def guard_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_kill_9_of_the_supervisor_leaves_no_process_not_even_stubborn_grandchildren(family: Path) -> None:
    supervisor = start(family)
    guard = guard_of(alive(family, "parent")[0])
    assert "--guard" in daemons.argv_of(guard)
    supervisor.kill()
    supervisor.wait()
    assert daemons.wait_until(lambda: not alive(family) and not daemons.argv_of(guard), seconds=5)


def test_sigterm_stops_the_family_and_ends_with_success(family: Path) -> None:
    supervisor = start(family)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(timeout=10) == 0
    assert all_end(family)


def test_a_second_ctrl_c_does_not_wait_for_a_stubborn_child(family: Path) -> None:
    supervisor = start(family, "stubborn", family_size=1)
    time.sleep(0.3)  # until it ignores SIGTERM
    supervisor.send_signal(signal.SIGINT)
    time.sleep(0.2)
    asked_at = time.monotonic()
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(timeout=5) == 0
    assert time.monotonic() - asked_at < 0.7
    assert all_end(family)


def test_a_killed_child_is_restarted_and_its_orphans_are_ended_first(family: Path) -> None:
    supervisor = start(family)
    old = set(alive(family))
    os.kill(alive(family, "parent")[0], signal.SIGKILL)
    assert daemons.wait_until(lambda: len(set(alive(family)) - old) == 3, seconds=15)
    assert set(alive(family)) & old == set()
    supervisor.terminate()
    assert supervisor.wait(timeout=10) == 0


def test_kill_9_of_a_guard_restarts_the_child_and_leaves_no_orphan(family: Path) -> None:
    supervisor = start(family)
    old = set(alive(family))
    os.kill(guard_of(alive(family, "parent")[0]), signal.SIGKILL)
    assert daemons.wait_until(lambda: len(set(alive(family)) - old) == 3, seconds=15)
    assert set(alive(family)) & old == set()
    supervisor.terminate()
    assert supervisor.wait(timeout=10) == 0


def run_for(supervisor: Supervisor, seconds: float) -> None:
    """Run in this process, so that a health check can look at the test's own state."""
    timer = threading.Timer(seconds, supervisor.request_stop)
    timer.start()
    supervisor.run()
    timer.join()


def test_a_child_that_keeps_failing_is_restarted_ever_more_slowly(family: Path) -> None:
    failing = Child(name="failing", argv=[sys.executable, str(CHILDREN), str(family), "failing"])
    run_for(Supervisor([failing], stop_seconds=1.0), 3.0)
    # Without the growing delay (0.5, 1, 2 s) it would start five times or more.
    assert 2 <= len(noted(family, "failing")) <= 3


def test_a_wedged_child_is_killed_with_its_children_and_restarted(family: Path) -> None:
    argv = [sys.executable, str(CHILDREN), str(family), "parent"]
    first: set[int] = set()

    def is_alive() -> bool:
        if not first and len(alive(family)) == 3:
            first.update(alive(family))
            return False
        return True

    run_for(Supervisor([Child(name="wedged", argv=argv, is_alive=is_alive, grace=0.2, interval=0.2)], 1.0), 4.0)
    assert len(first) == 3
    assert len(noted(family, "parent")) == 2
    assert all_end(family)


def test_a_child_that_starts_slower_than_its_grace_comes_to_life_in_the_end(family: Path) -> None:
    """On a crowded host: killed each time before it could show life, it would never serve."""
    sign = family / "alive"
    slow = "import pathlib, sys, time; time.sleep(2.5); pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    argv = [sys.executable, "-c", slow, str(sign)]
    child = Child(name="slow", argv=argv, is_alive=sign.exists, grace=1.0, interval=0.2)
    supervisor = Supervisor([child], stop_seconds=1.0)

    def stop_when_alive() -> None:
        deadline = time.monotonic() + 60
        while not sign.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        supervisor.request_stop()

    thread = threading.Thread(target=stop_when_alive)
    thread.start()
    supervisor.run()
    thread.join()
    assert sign.exists()


def test_a_health_check_that_fails_itself_restarts_nothing(family: Path) -> None:
    def is_alive() -> bool:
        reason = "no database"
        raise ConnectionError(reason)

    argv = [sys.executable, str(CHILDREN), str(family), "stubborn"]
    run_for(Supervisor([Child(name="well", argv=argv, is_alive=is_alive, grace=0.1, interval=0.1)], 0.5), 1.5)
    assert len(noted(family, "stubborn")) == 1
