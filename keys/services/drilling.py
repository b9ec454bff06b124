"""Running a drill: real uses before and after a real end, timed from its answer, process by process.

The drill's token lives in this process alone. One that dies in the middle is not taken up: it failed, and says so.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from byok_portal.boundary import binding
from byok_portal.boundary.jobs import RetryLater, Running
from byok_portal.boundary.operations import receipts
from byok_portal.errors import Conflict, PortalError
from keys import drill_results, probes, selectors
from keys.models import Drill, Key, KeyVersion, UpstreamStatus
from keys.services import drill_steps
from keys.states import DrillKind, DrillState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keys.probes import Answered, Asker, Probe

BEFORE: Final = 3
AFTER: Final = 5
CHASE: Final = 30
"""How many more uses may be made at a place until each process that answered before has refused one."""
PATIENCE: Final = timedelta(minutes=10)
"""How long the provider may take to be confirmed dead."""
STEPS: Final = 5


@dataclass(slots=True)
class Run:
    """What one process knows while it runs a drill."""

    running: Running
    drill: Drill
    key: Key
    probe: Probe
    askers: list[Asker]
    answers: list[tuple[str, Answered]] = field(default_factory=list)
    entries: list[list[str]] = field(default_factory=list)
    done: int = 1

    def ask(self, phase: str, times: int, version: int | None = None) -> None:
        """Uses at every place in turn."""
        for _ in range(times):
            self.answers += [(phase, asker.ask(version)) for asker in self.askers]
        self.step()

    def chase(self, ended: float, version: int | None = None) -> None:
        """More uses where a process has not had its turn since the end: nothing chooses which one answers."""
        for _ in range(CHASE):
            late = {place for place, _ in drill_results.list_missed(self.answers, ended)}
            answers = [asker.ask(version) for asker in self.askers if asker.place in late]
            self.answers += [("after", answer) for answer in answers]
            if not answers or any(answer.allowed is None for answer in answers):
                return  # all have answered, or a place is down: asking on would take as long as its time-outs

    def step(self) -> None:
        """Show the progress, and that this worker lives."""
        self.done += 1
        self.running.keep(done_steps=min(self.done, STEPS), total_steps=STEPS)

    @contextmanager
    def noting(self, action: str) -> Iterator[None]:
        """Keep the audit entry of a step, for the page of the drill."""
        with receipts() as found:
            yield
        if found:
            self.entries.append([action, str(found[-1])])


def run(running: Running) -> None:
    """The job. Raises RetryLater while the provider has not confirmed."""
    with binding.reading():
        drill = Drill.objects.select_related("key__provider").get(id=running.subject_id)
    if drill.state == DrillState.CONFIRMING:
        _confirm(running, drill)
    elif drill.state == DrillState.RUNNING:
        drill_steps.finish(actor=running.actor, drill_id=drill.id, code="interrupted")
    elif drill.state == DrillState.PLANNED:
        _run(running, drill)


def _run(running: Running, drill: Drill) -> None:
    try:
        probe = drill_steps.begin(actor=running.actor, drill_id=drill.id)
    except Conflict as conflict:
        drill_steps.finish(actor=running.actor, drill_id=drill.id, code=conflict.code)
        return
    if drill.key is None:
        return
    rehearsal = Run(running, drill, drill.key, probe, probes.list_askers(probe))
    try:
        rehearsal.ask("before", BEFORE)
        if any(answer.allowed is False for _, answer in rehearsal.answers):
            _finish(rehearsal, code="not_usable_before")
            return
        _REHEARSALS[DrillKind(drill.kind)](rehearsal)
    except PortalError as problem:
        _finish(rehearsal, code=problem.code)


def _revoke(rehearsal: Run) -> None:
    with rehearsal.noting("key.revoked"):
        drill_steps.revoke(actor=rehearsal.running.actor, drill_id=rehearsal.drill.id)
    ended = time.monotonic()
    rehearsal.ask("after", AFTER)
    rehearsal.chase(ended)
    results, code = drill_results.measure(rehearsal.answers, ended=ended, target_ms=rehearsal.drill.target_ms)
    drill_steps.keep(
        actor=rehearsal.running.actor,
        drill_id=rehearsal.drill.id,
        code=code,
        results=results,
        entries=rehearsal.entries,
    )
    raise RetryLater("upstream_not_confirmed", seconds=1)


def _offboard(rehearsal: Run) -> None:
    with rehearsal.noting("consumer.ended"):
        drill_steps.offboard(actor=rehearsal.running.actor, drill_id=rehearsal.drill.id)
    ended = time.monotonic()
    rehearsal.ask("after", AFTER)
    rehearsal.chase(ended)
    results, code = drill_results.measure(rehearsal.answers, ended=ended, target_ms=rehearsal.drill.target_ms)
    _finish(rehearsal, code=code, results=results)


def _rotate_key(rehearsal: Run) -> None:
    """Uses go on while the successor is made and both versions work; not one of them may fail."""
    with binding.reading():
        old = selectors.find_current(rehearsal.key.id)
    if old is None:
        _finish(rehearsal, code="no_version")
        return
    with _calling_on(rehearsal), rehearsal.noting("key.rotated"):
        drill_steps.rotate(actor=rehearsal.running.actor, drill_id=rehearsal.drill.id, number=old.number)
    rehearsal.ask("overlap", BEFORE, old.number)
    rehearsal.ask("overlap", BEFORE)
    with rehearsal.noting("key.rotation_finished"):
        drill_steps.end_old(actor=rehearsal.running.actor, drill_id=rehearsal.drill.id, number=old.number)
    ended = time.monotonic()
    rehearsal.ask("after", AFTER, old.number)
    rehearsal.ask("overlap", BEFORE)
    rehearsal.chase(ended, old.number)
    results, code = drill_results.measure(rehearsal.answers, ended=ended, target_ms=rehearsal.drill.target_ms)
    _finish(rehearsal, code=code, results=results)


_REHEARSALS: Final = {
    DrillKind.REVOCATION: _revoke,
    DrillKind.OFFBOARDING: _offboard,
    DrillKind.ROTATION: _rotate_key,
}


@contextmanager
def _calling_on(rehearsal: Run) -> Iterator[None]:
    """Uses over HTTP in a thread of their own, while this one rotates."""
    stop = threading.Event()
    made: list[tuple[str, Answered]] = []
    callers = [asker for asker in rehearsal.askers if isinstance(asker, probes.HttpAsker)]

    def call() -> None:
        while not stop.is_set():
            made.extend(("overlap", asker.ask()) for asker in callers)
            stop.wait(0.05)

    thread = threading.Thread(target=call, name="drill", daemon=True)
    if callers:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if callers:
            thread.join()
        rehearsal.answers += made


def _confirm(running: Running, drill: Drill) -> None:
    """Whether the worker that revokes at the provider has confirmed every version of the key."""
    with binding.reading():
        versions = list(KeyVersion.objects.filter(key=drill.key, ended_at__gte=drill.begun_at))
    dead = [version for version in versions if version.upstream_status == UpstreamStatus.REVOKED_CONFIRMED]
    ended = drill.ended_at or timezone.now()
    if len(dead) == len(versions):
        checked = max((version.upstream_checked_at or ended for version in dead), default=ended)
        milliseconds = max(0, round((checked - ended).total_seconds() * 1000))
        drill_steps.finish(actor=running.actor, drill_id=drill.id, code=drill.code, upstream_ms=milliseconds)
    elif timezone.now() - ended > PATIENCE:
        drill_steps.finish(actor=running.actor, drill_id=drill.id, code=drill.code or "upstream_not_confirmed")
    else:
        raise RetryLater("upstream_not_confirmed", seconds=5)


def _finish(rehearsal: Run, *, code: str, results: list[dict[str, Any]] | None = None) -> None:
    if results is None:
        results, _ = drill_results.measure(rehearsal.answers, ended=None, target_ms=rehearsal.drill.target_ms)
    drill_steps.finish(
        actor=rehearsal.running.actor,
        drill_id=rehearsal.drill.id,
        code=code,
        results=results,
        entries=rehearsal.entries,
    )
