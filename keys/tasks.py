"""The worker door of keys: what django-q2 wakes. Each is parse, call, settle; the work is in the services."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from django.db import connections
from django.utils import timezone

from byok_portal.boundary import actors, binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.jobs import RetryLater, Running, every_minute, job, take_turn
from byok_portal.errors import Conflict
from keys import deadlines
from keys.services import (
    assisted,
    campaigns,
    cascade,
    draining,
    drilling,
    drills,
    expiry,
    grants,
    lifecycle,
    offboarding,
    policies,
    reminders,
    rotation,
    upstream,
)
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from keys.deadlines import Name

T = TypeVar("T")
R = TypeVar("R")
log = structlog.get_logger("byok.clock")

_LAST = 1
STILL_DRAINING = "still_draining"
_REMINDING: Final = timedelta(minutes=15)
_SWEPT: Final = 100_000
"""Deadlines that one look over all tenants takes along: as many ids as memory should hold."""
_AT_ONCE: Final = 500
_ABREAST: Final = 2
_MANY: Final = 16
"""Tenants from which on a sweep takes two at a time."""


@job(lifecycle.REVOKE_UPSTREAM)
def revoke_upstream(running: Running) -> None:
    """Revoke one version at its provider and confirm; the last attempt records what stays to be done by people."""
    last = running.job.attempts >= running.job.max_attempts - _LAST
    ending = upstream.end_version(actor=running.actor, version_id=running.subject_id, last_attempt=last)
    if ending.retry:
        code = "upstream_not_confirmed"
        raise RetryLater(code)


@job(rotation.FINISH_DRAIN)
def finish_drain(running: Running) -> None:
    """End a version whose drain window is over, unless a person did already or it was rolled back."""
    try:
        draining.end_drain(actor=running.actor, version_id=running.subject_id)
    except Conflict as conflict:
        if conflict.code == STILL_DRAINING:
            raise RetryLater(conflict.code, seconds=draining.seconds_left(running.subject_id)) from None


@job(assisted.GIVE_UP)
def give_up_succession(running: Running) -> None:
    """Close an assisted rotation whose process died, unless it came to its end."""
    try:
        assisted.give_up(actor=running.actor, succession_id=running.subject_id)
    except Conflict as conflict:
        if conflict.code == assisted.NOT_LAPSED:
            raise RetryLater(conflict.code, seconds=assisted.seconds_left(running.subject_id)) from None


@job(offboarding.ADVANCE)
def offboard(running: Running) -> None:
    """Take an offboarding as far as it goes."""
    cascade.advance(running)


@job(policies.APPLY)
def apply_policy(running: Running) -> None:
    """Set the clocks of a tenant's keys by the newest platform policy, unless another run has."""
    with suppress(Conflict):
        policies.apply(actor=running.actor)


def keep_time() -> int:
    """Write what the clock has brought, over all tenants; returns how much. Two workers at once write each thing once.

    Nothing waits for it: decisions look at the moments themselves.
    """
    for tenant_id in expiry.list_behind():
        with binding.bind_tenant(tenant_id):
            policies.enqueue_apply()
    return (
        _work_off(expiry.list_due_suspensions, lambda actor, due: expiry.suspend(actor=actor, key_id=due))
        + _work_off(expiry.list_due_versions, lambda actor, due: expiry.expire(actor=actor, version_id=due))
        + _work_off(expiry.list_due_grants, lambda actor, due: grants.expire(actor=actor, grant_id=due))
    )


def _work_off(list_due: Callable[[], list[tuple[UUID, UUID]]], write: Callable[[Actor, UUID], object]) -> int:
    written, actor = 0, actors.worker(PLATFORM)
    while due := list_due():
        done = 0
        for tenant_id, subject_id in due:
            try:
                with suppress(Conflict), binding.bind_tenant(tenant_id):
                    write(actor, subject_id)
                    done += 1
            except Exception as error:  # one row that cannot be written must not stop all others
                log.exception("clock_failed", subject_id=subject_id, error=type(error).__name__)
        written += done
        if not done:  # another worker is at it, or nothing can be written
            break
    return written


every_minute("keys.tasks.keep_time")


def remind() -> int:
    """Say what is due today, some times an hour; returns how many deadlines. Two at once say each thing once."""
    return remind_on(timezone.now().date()) if take_turn("keys.reminders", every=_REMINDING) else 0


def remind_on(day: date) -> int:
    """One sweep over every tenant."""
    said, found, failed = 0, _SWEPT, False
    while found >= _SWEPT and not failed:
        due = deadlines.list_due(day, _SWEPT)
        found = sum(map(len, due.values()))
        results = list(_side_by_side(list(due.items()), lambda each: _remind_safely(day, *each)))
        said += sum(result or 0 for result in results)
        failed = None in results  # the same would come again; the rest waits for the next sweep
    return said


def _side_by_side(items: list[T], work: Callable[[T], R]) -> list[R]:
    """The work of each item, of many items two at a time: the database works while we do, and we while it does."""
    if len(items) < _MANY:
        return [work(item) for item in items]

    def run(part: list[T]) -> list[R]:
        try:
            return [work(item) for item in part]
        finally:
            connections.close_all()  # those of this thread

    with ThreadPoolExecutor(_ABREAST, thread_name_prefix="sweep") as threads:
        parts = list(threads.map(run, [items[start::_ABREAST] for start in range(_ABREAST)]))
    return [result for part in parts for result in part]


def _remind_safely(day: date, tenant_id: UUID, names: Sequence[Name]) -> int | None:
    """How much was said; None where it failed: one tenant must not silence all others."""
    try:
        return remind_tenant(tenant_id, day, names)
    except Exception as error:
        log.exception("reminders_failed", tenant_id=str(tenant_id), error=type(error).__name__)
        return None


def remind_tenant(tenant_id: UUID, day: date, names: Sequence[Name]) -> int:
    """Say what is due of these deadlines of one tenant, in transactions of some hundred; returns how many."""
    return sum(_remind_some(tenant_id, day, names[at : at + _AT_ONCE]) for at in range(0, len(names), _AT_ONCE))


def _remind_some(tenant_id: UUID, day: date, names: Sequence[Name]) -> int:
    actor = actors.worker(PLATFORM)
    if old := [name for name in names if deadlines.is_old(name, day)]:
        with binding.bind_tenant(tenant_id), binding.reading():
            escalation = reminders.find_escalation(day, old)
        if escalation is not None:
            # Before the tenant's own people, whose reminder closes the matter: a crash in between loses nothing.
            with suppress(Conflict), binding.bind_tenant(PLATFORM):
                reminders.escalate(actor=actor, escalation=escalation)
    with binding.bind_tenant(tenant_id):
        try:
            return reminders.remind(actor=actor, day=day, names=names)
        except Conflict:
            reminders.note_unsaid(day, names)
            return 0


every_minute("keys.tasks.remind")


def recertify() -> int:
    """Ask owners whose policy wants a confirmation, some times an hour; returns how many campaigns started."""
    return recertify_now() if take_turn("keys.recertify", every=_REMINDING) else 0


def recertify_now() -> int:
    """One look over every tenant. Two at once ask once."""
    started = 0
    for tenant_id in campaigns.list_unasked_tenants():
        try:
            with suppress(Conflict), binding.bind_tenant(tenant_id):
                campaigns.start_by_policy(actor=actors.worker(PLATFORM))
                started += 1
        except Exception as error:  # one tenant must not keep all others unasked
            log.exception("recertification_failed", tenant_id=str(tenant_id), error=type(error).__name__)
    return started


every_minute("keys.tasks.recertify")


def end_by_date() -> int:
    """Start what an agreed end date ends, over all tenants; returns how many. Two workers at once start each once."""
    day, actor, started = timezone.now().astimezone(UTC).date(), actors.worker(PLATFORM), 0
    for tenant_id, kind, subject_id in offboarding.list_due(day):
        try:
            with suppress(Conflict), binding.bind_tenant(tenant_id):
                if kind == SubjectKind.TENANT:
                    offboarding.start_by_contract(actor=actor, day=day)
                else:
                    offboarding.start_by_project_end(actor=actor, project_id=subject_id, day=day)
                started += 1
        except Exception as error:  # one tenant must not keep all others open
            log.exception("automatic_end_failed", tenant_id=str(tenant_id), error=type(error).__name__)
    return started


every_minute("keys.tasks.end_by_date")


@job(drills.RUN)
def run_drill(running: Running) -> None:
    """Run a drill, or look whether the provider has confirmed."""
    drilling.run(running)


def drill() -> int:
    """Start the drills whose day has come; returns how many. Two workers at once start each once."""
    started = 0
    for tenant_id, schedule_id in drills.list_due():
        try:
            with suppress(Conflict), binding.bind_tenant(tenant_id):
                drills.start_scheduled(actor=actors.worker(PLATFORM), schedule_id=schedule_id)
                started += 1
        except Exception as error:  # one tenant must not keep all others from their drills
            log.exception("drill_failed", tenant_id=str(tenant_id), error=type(error).__name__)
    return started


every_minute("keys.tasks.drill")
