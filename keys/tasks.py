"""The worker door of keys: what django-q2 wakes. Each is parse, call, settle; the work is in the services."""

from __future__ import annotations

from byok_portal.boundary.jobs import RetryLater, Running, job
from byok_portal.errors import Conflict
from keys.services import draining, lifecycle, offboarding, rotation, upstream

_LAST = 1
STILL_DRAINING = "still_draining"


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


@job(offboarding.ADVANCE)
def offboard(running: Running) -> None:
    """Take an offboarding as far as it goes."""
    offboarding.advance(running)
