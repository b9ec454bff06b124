"""The second half of a rotation: the old version drains, is rehearsed away, comes back or ends."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput, NotFound, Refused
from keys import selectors
from keys.models import Key, KeyVersion, UpstreamStatus
from keys.services import clocks, lifecycle, versions
from keys.states import KeyState, RevocationReason, VersionState
from keys.usage import Standing, list_users
from tenants import rules
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

MAX_BROWNOUT_MINUTES: Final = 60
_NAMED: Final = 5


@operation(
    "key.finish_rotation",
    permission=Permission.KEY_ROTATE,
    events=("key.rotation_finished",),
    page="keys:finish-rotation",
    api="api:key-version-revoke",
)
def finish(*, actor: Actor, key_id: UUID, number: int, force: bool = False, note: str = "") -> KeyVersion:
    """End the draining version now; a worker then revokes it at the provider.

    Raises Conflict unless it drains, Refused while a consumer still uses it, unless forced with a reason.
    """
    key, version = _lock_draining(key_id, number)
    text = rules.require_text(note, field="note", maximum=500, required=force)
    still = [user.name for user in list_users(version) if user.standing is Standing.STILL]
    if still and not force:
        names = ", ".join(still[:_NAMED]) + (f" and {len(still) - _NAMED} more" if len(still) > _NAMED else "")
        raise Refused(
            f"Still used by {names}. Wait, or end it anyway with a reason.", code="version_in_use", field="force"
        )
    return _finish(actor, key, version, forced=bool(still), note=text)


@operation(
    "key.end_drain",
    permission=Permission.JOB_RUN,
    events=("key.rotation_finished",),
    page=Absent("the clock ends a drain window; people end one early with key.finish_rotation"),
    api=Absent("the clock ends a drain window"),
)
def end_drain(*, actor: Actor, version_id: UUID) -> KeyVersion:
    """What the worker does when `drain_until` has come. Uses were refused from that moment on already.

    Raises Conflict when it does not drain, or drains for longer (it was rolled back and rotated again).
    """
    version = KeyVersion.objects.get(id=version_id)
    key = selectors.lock_key(version.key_id)
    version.refresh_from_db()
    _require_draining(version)
    if version.drain_until is not None and version.drain_until > timezone.now():
        raise Conflict("The drain window is still open.", code="still_draining")
    return _finish(actor, key, version)


@operation(
    "key.roll_back",
    permission=Permission.KEY_ROTATE,
    events=("key.rolled_back",),
    page="keys:roll-back",
    api="api:key-version-roll-back",
)
def roll_back(*, actor: Actor, key_id: UUID, number: int, note: str) -> KeyVersion:
    """Make the draining version current again; its successor ends at once, here and at the provider.

    Raises Conflict when its drain is over or the key is not active, Refused for an expired or dead credential.
    """
    require_active()
    key, version = _lock_draining(key_id, number)
    text = rules.require_text(note, field="note", maximum=500)
    if key.state != KeyState.ACTIVE:
        raise Conflict(f"The key is {key.state}; only an active key is rolled back.", code="key_state")
    if version.drain_until is None or version.drain_until <= timezone.now():
        raise Conflict(f"The drain of version {number} is over: it cannot come back.", code="drain_over")
    lifecycle.refuse_expired(key, version)
    if version.upstream_status == UpstreamStatus.INVALID:
        raise Refused("The provider refuses this credential by now.", code="upstream_invalid")
    successor = selectors.find_current(key.id)
    if successor is not None:
        versions.end(successor, reason=RevocationReason.SUPERSEDED)
        lifecycle.enqueue_upstream(successor)
    versions.move(version, VersionState.ACTIVE, drain_until=None, dark_from=None, dark_until=None)
    clocks.reset(key)
    append(
        actor=actor,
        action="key.rolled_back",
        target=Target("key", key.id),
        detail={"version": version.number, "ended": successor.number if successor else 0},
        private={"note": text},
    )
    return version


@operation(
    "key.brownout",
    permission=Permission.KEY_ROTATE,
    events=("key.brownout_set",),
    page="keys:brownout",
    api="api:key-version-brownout",
)
def brownout(*, actor: Actor, key_id: UUID, number: int, minutes: int, starts_at: datetime | None = None) -> KeyVersion:
    """Refuse the draining version for some minutes, now or at a time, and then serve it again by itself.

    Raises InvalidInput for a period that is not inside the drain, Conflict while another one runs.
    """
    key, version = _lock_draining(key_id, number)
    length = rules.require_number(minutes, field="minutes", minimum=1, maximum=MAX_BROWNOUT_MINUTES)
    now = timezone.now()
    start = max(starts_at or now, now)
    end = start + timedelta(minutes=length)
    if version.dark_from is not None and version.dark_until is not None and version.dark_until > now:
        raise Conflict("A brownout of this version is set already. End it first.", code="brownout_set")
    if version.drain_until is None or end > version.drain_until:
        message = "starts_at: a brownout ends before the drain does, so that the version comes back"
        raise InvalidInput(message, code="outside_drain", field="starts_at")
    version.dark_from, version.dark_until = start, end
    version.save(update_fields=["dark_from", "dark_until"])
    append(
        actor=actor,
        action="key.brownout_set",
        target=Target("key", key.id),
        detail={"version": version.number, "minutes": length, "from": _written(start), "until": _written(end)},
    )
    return version


@operation(
    "key.end_brownout",
    permission=Permission.KEY_ROTATE,
    events=("key.brownout_ended",),
    page="keys:end-brownout",
    api="api:key-version-brownout-end",
)
def end_brownout(*, actor: Actor, key_id: UUID, number: int) -> KeyVersion:
    """Serve the version again before the brownout is over, or call a planned one off. Raises Conflict without one."""
    key, version = _lock_draining(key_id, number)
    now = timezone.now()
    if version.dark_from is None or version.dark_until is None or version.dark_until <= now:
        raise Conflict("No brownout of this version is set.", code="no_brownout")
    begun = version.dark_from < now
    version.dark_from, version.dark_until = (version.dark_from, now) if begun else (None, None)
    version.save(update_fields=["dark_from", "dark_until"])
    append(
        actor=actor,
        action="key.brownout_ended",
        target=Target("key", key.id),
        detail={"version": version.number, "begun": begun},
    )
    return version


def seconds_left(version_id: UUID) -> int:
    """How long the version still drains."""
    with binding.reading():
        until = KeyVersion.objects.get(id=version_id).drain_until
    return max(1, round((until - timezone.now()).total_seconds())) if until else 1


def _lock_draining(key_id: UUID, number: int) -> tuple[Key, KeyVersion]:
    key = selectors.lock_key(key_id)
    version = selectors.list_versions(key.id).filter(number=number).first()
    if version is None:
        raise NotFound
    _require_draining(version)
    return key, version


def _require_draining(version: KeyVersion) -> None:
    if version.state != VersionState.SUPERSEDED:
        raise Conflict(f"Version {version.number} is {version.state}; it does not drain.", code="version_state")


def _finish(actor: Actor, key: Key, version: KeyVersion, *, forced: bool = False, note: str = "") -> KeyVersion:
    versions.end(version, reason=RevocationReason.SUPERSEDED)
    lifecycle.enqueue_upstream(version)
    append(
        actor=actor,
        action="key.rotation_finished",
        target=Target("key", key.id),
        detail={"version": version.number, "reason": RevocationReason.SUPERSEDED.value, "forced": forced},
        private={"note": note},
    )
    return version


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
