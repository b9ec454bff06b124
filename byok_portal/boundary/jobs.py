"""The worker door: our own record of each job, claimed before work; django-q2 only delivers the wake-up call.

A job carries ids, never content, and no plaintext can reach a task's arguments, result or traceback.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections, transaction
from django.db.models.functions import Greatest
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from byok_portal import errors
from byok_portal.boundary import actors, binding
from byok_portal.boundary.models import Job, JobState, Pulse

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import QuerySet

    from byok_portal.boundary.actors import Actor

log = structlog.get_logger("byok.jobs")

RUN: Final = "byok_portal.boundary.jobs.run"
PULSE: Final = "byok_portal.boundary.jobs.beat"
MAX_BACKOFF: Final = 15 * 60
MAX_WAITING: Final = 500
BACKLOG: Final = 20
MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """What a job function gets: who acts, what it works on, and how to say that it is still alive."""

    actor: Actor
    job: Job

    @property
    def subject_id(self) -> UUID:
        return self.job.subject_id

    def keep(self, **progress: int) -> None:
        """Renew the lease before a step; `done_steps` and `total_steps` show how far the work is.

        Raises LeaseLost when another worker has taken the job over: this one must not touch it again.
        """
        with transaction.atomic():
            if not _own(self.job).update(lease_until=_lease_end(), **progress):
                raise LeaseLost


class LeaseLost(Exception):
    """The worker was silent for too long, and another one has the job now."""


class RetryLater(Exception):  # an instruction to the runner, not a fault
    """A job function raises it when the world is not ready; it comes again after a growing pause."""

    def __init__(self, code: str, *, seconds: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.seconds = seconds


class GiveUp(Exception):  # an instruction to the runner, as RetryLater
    """A job function raises it when trying again by itself would be wrong: a dead letter, until a person retries it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


REGISTRY: Final[dict[str, Callable[[Running], None]]] = {}
_clock: Final[dict[str, float]] = {}
"""What the clock calls, and when it last did (monotonic seconds of this process)."""


def job(kind: str) -> Callable[[Callable[[Running], None]], Callable[[Running], None]]:
    """Register a function as the work of jobs of `kind`. It must be safe to run again after a crash at any line."""

    def declare(function: Callable[[Running], None]) -> Callable[[Running], None]:
        REGISTRY[kind] = function
        return function

    return declare


def enqueue(kind: str, *, subject_id: UUID, run_after: datetime | None = None, max_attempts: int = 12) -> Job:
    """Queue work for the bound tenant, in the caller's transaction: rolled back with it, or sure to run.

    A subject has at most one live job of a kind; a second call answers with the first.
    """
    now = timezone.now()
    row, created = Job.objects.get_or_create(
        tenant_id=binding.get_tenant(),
        kind=kind,
        subject_id=subject_id,
        state__in=[JobState.QUEUED, JobState.RUNNING],
        defaults={"state": JobState.QUEUED, "run_after": run_after or now, "max_attempts": max_attempts},
    )
    if created and row.run_after <= now:
        wake(row.tenant_id, row.id)
    return row


def wake(tenant_id: UUID, job_id: UUID) -> None:
    """Ask a worker to run the job. Doing it twice is harmless: only one claim succeeds."""
    async_task(RUN, str(tenant_id), str(job_id), save=False)


def run(tenant_id: str, job_id: str) -> str:
    """The only django-q2 task: claim, work, settle. Answers with the job's state; never raises."""
    with binding.bind_tenant(UUID(tenant_id)):
        row = _claim(UUID(job_id))
        return "not due" if row is None else _work(row)


def _work(row: Job) -> str:
    try:
        REGISTRY[row.kind](Running(actors.worker(row.id), row))
    except LeaseLost:
        return "lease lost"
    except RetryLater as pause:
        return _retry(row, pause.code, seconds=pause.seconds)
    except GiveUp as end:
        return _settle(row, JobState.DEAD, end.code)
    except errors.PortalError as error:
        return _retry(row, error.code)
    except Exception as error:  # a job must settle whatever its function raises
        # Only the type: an exception's text may hold what a provider or a library put there.
        log.exception("job_failed", kind=row.kind, job_id=str(row.id), error=type(error).__name__)
        return _retry(row, type(error).__name__)
    return _settle(row, JobState.DONE, "")


def list_due(limit: int = 100) -> list[tuple[UUID, UUID]]:
    """(tenant, job) ids that should be running and are not: due and queued, or running with a lapsed lease."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id, id FROM directory_due_jobs(%s)", [limit])
        return [(row[0], row[1]) for row in cursor.fetchall()]


def every_minute(function: str) -> None:
    """Have a worker call this function (dotted path, no arguments) about once a minute; twice must be harmless."""
    if function not in _clock:
        _clock[function] = 0.0


def take_turn(name: str, *, every: timedelta) -> bool:
    """Whether this call is the one that works now: yes for one caller in each period, over all hosts."""
    now = timezone.now()
    _, created = Pulse.objects.get_or_create(name=name, defaults={"beat_at": now})
    # Also after a clock that was put back: a moment to come must not silence everybody.
    over = Pulse.objects.filter(name=name).exclude(beat_at__gt=now - every, beat_at__lte=now)
    return created or bool(over.update(beat_at=now))


def _call_by_the_clock() -> None:
    for function, last in _clock.items():
        if time.monotonic() - last >= MINUTE or not last:
            _clock[function] = time.monotonic()
            async_task(function, save=False)


def watch() -> int:
    """Wake every due job again and ask for a sign of life. The watchdog of `manage.py worker` calls it."""
    waiting = OrmQ.objects.count()
    if waiting < MAX_WAITING:
        async_task(PULSE, save=False)
        _call_by_the_clock()
    # Behind a backlog, another call for the same job would only make it longer.
    due = list_due() if waiting < BACKLOG else []
    for tenant_id, job_id in due:
        wake(tenant_id, job_id)
    return len(due)


def beat() -> None:
    """A worker shows that the cluster takes work."""
    Pulse.objects.update_or_create(name="worker", defaults={"beat_at": timezone.now()})


def find_pulse() -> datetime | None:
    """When a worker last showed that it takes work."""
    pulse = Pulse.objects.filter(name="worker").first()
    return pulse.beat_at if pulse else None


def is_working() -> bool:
    """Whether some job runs on a lease that has not lapsed: workers that are all busy give no pulse."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT directory_running_jobs()")
        return bool(cursor.fetchone()[0])


def _claim(job_id: UUID) -> Job | None:
    """Take the job and count the attempt, in one statement and before any work."""
    now = timezone.now()
    with transaction.atomic():
        row = _rows(job_id).select_for_update().first()
        if row is None or not _is_due(row, now):
            return None
        if row.attempts >= row.max_attempts:
            row.state, row.finished_at = JobState.DEAD, now
            row.last_error = row.last_error or "worker_lost"
            row.save(update_fields=["state", "finished_at", "last_error"])
            return None
        row.state, row.attempts = JobState.RUNNING, row.attempts + 1
        row.lease_until = _lease_end()
        row.save(update_fields=["state", "attempts", "lease_until"])
        return row


def _own(row: Job) -> QuerySet[Job]:
    """The job while this attempt still holds it. The attempt's number fences off a worker that was given up."""
    return _rows(row.id).filter(state=JobState.RUNNING, attempts=row.attempts)


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)


def _is_due(row: Job, now: datetime) -> bool:
    if row.state == JobState.QUEUED:
        return row.run_after <= now
    return row.state == JobState.RUNNING and row.lease_until is not None and row.lease_until <= now


def _retry(row: Job, code: str, *, seconds: int | None = None) -> str:
    if row.attempts >= row.max_attempts:
        return _settle(row, JobState.DEAD, code)
    pause = seconds if seconds is not None else min(2**row.attempts, MAX_BACKOFF)
    with transaction.atomic():
        _own(row).update(
            state=JobState.QUEUED,
            run_after=timezone.now() + timedelta(seconds=pause),
            lease_until=None,
            last_error=code[:300],
        )
    return "retry"


def _settle(row: Job, state: JobState, code: str) -> str:
    with transaction.atomic():
        _own(row).update(state=state, finished_at=timezone.now(), lease_until=None, last_error=code[:300])
    return state.value


def requeue(job_id: UUID) -> Job:
    """Give a dead letter a fresh set of attempts. Part of the operation `job.retry`."""
    row = _rows(job_id).select_for_update().first()
    if row is None:
        raise errors.NotFound
    if row.state != JobState.DEAD:
        raise errors.Conflict(f"The job is {row.state}; only a dead letter is retried.", code="job_state")
    _rows(job_id).update(
        state=JobState.QUEUED,
        run_after=timezone.now(),
        max_attempts=Greatest("attempts", "max_attempts") + 12,
        finished_at=None,
    )
    wake(row.tenant_id, row.id)
    return row


def _rows(job_id: UUID) -> QuerySet[Job]:
    return Job.objects.filter(tenant_id=binding.get_tenant(), id=job_id)
