"""Keeps the moment at which the clock suspends a key, whenever its version or a policy changes.

`Key.suspends_at` is enforced by every decision, so nothing has to run when it comes. It is the first moment at which
the policy of that moment suspends the key, over the policy in force and all that are scheduled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import connections
from django.db.models import Q
from django.utils import timezone

from byok_portal.boundary import binding
from byok_portal.boundary.models import Job, JobState
from byok_portal.errors import Refused
from keys import rulebook, selectors
from keys.models import Key, KeyVersion
from keys.restrictions import has_come
from keys.services import versions
from keys.states import ClockReason, KeyState, VersionState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime
    from uuid import UUID

    from keys.rulebook import Asked, Book

    Source = Callable[[Collection[UUID]], Mapping[UUID, datetime]]

FINISH_DRAIN: Final = "key.finish_drain"
_LOCK: Final = "SELECT pg_advisory_xact_lock{}(hashtextextended('byok/policy/' || %s, 0))"
_WRITE: Final = """
UPDATE keys_key k SET suspends_at = n.suspends_at, suspends_for = n.suspends_for, rotation_due_at = n.due_at,
  recertify_due_at = n.recertify
FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::timestamptz[])
  AS n (id, suspends_at, suspends_for, due_at, recertify)
WHERE k.tenant_id = %s AND k.id = n.id
"""
_sources: Final[dict[ClockReason, Source]] = {}
_ANSWERED: Final = frozenset({ClockReason.OVERDUE, ClockReason.NOT_RECERTIFIED})
"""What ends with its answer: a rotation, a confirmation. A person's suspension does not wait for them."""
_WORDS: Final = {
    ClockReason.OVERDUE: "Its rotation is overdue. Rotate it: that makes it active again.",
    ClockReason.NO_OWNER: "It has no active owner. Give it one first.",
    ClockReason.NOT_RECERTIFIED: "Its owner has not confirmed it. Confirm it first.",
}


def install(reason: ClockReason, source: Source) -> None:
    """Name who knows when another reason suspends keys: a reset then asks there, and the first reason counts.

    Without a source, what is stored for that reason stays as it is.
    """
    _sources[reason] = source


def freeze_policies() -> None:
    """No policy of the tenant changes until the transaction ends. Comes before a lock on a key, or they deadlock."""
    _lock("_shared")


def change_policies() -> None:
    """One change of policies at a time, and no activation beside it that would miss the new one."""
    _lock("")


def reset(key: Key) -> None:
    """Set the clock of a locked key, in whatever state, by its current version and what else suspends keys.

    For every change that makes another version current or answers one of the other reasons. A key that a person
    suspended does not wait for its age: that is looked at when it is resumed.
    """
    book, current = rulebook.read_book([key.id]), selectors.find_current(key.id)
    activated_at = current.activated_at if current else None
    is_held = key.state == KeyState.SUSPENDED and key.suspends_for not in _ANSWERED
    overdue = None if is_held else _overdue(book, key.id, activated_at)
    given = {reason: found for reason, found in _ask([key.id]).items() if not (is_held and reason in _ANSWERED)}
    key.suspends_at, key.suspends_for = _first(key, overdue, given)
    key.rotation_due_at = book.first(key.id, activated_at, lambda each: each.due_at)
    key.recertify_due_at = _recertify(book, rulebook.read_asked([key.id]), key.id)
    key.save(update_fields=["suspends_at", "suspends_for", "rotation_due_at", "recertify_due_at"])


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of policies did: how many clocks moved, and when those suspend that did not before."""

    keys: int
    suspensions: tuple[datetime, ...]

    def count_suspended(self, by: datetime) -> int:
        """How many keys it suspends until then."""
        return sum(moment <= by for moment in self.suspensions)


def reset_all(key_id: UUID | None = None) -> Changed:
    """Set the clocks of all keys, or of one, by the policies as they are now.

    A moment that has come stays: whether the job has written the suspension by then must make no difference.
    """
    now = timezone.now()
    # Locked before their versions are read: a rotation beside this is either seen whole, or sees the new policy.
    wanted = Q() if key_id is None else Q(key_id=key_id)
    one = Q() if key_id is None else Q(id=key_id)
    keys = list(Key.objects.lock().filter(one).exclude(state__in=selectors.ENDED_KEYS).order_by("id"))
    book, given = rulebook.read_book(None), _ask([key.id for key in keys])
    current = KeyVersion.objects.filter(state__in=selectors.CURRENT)
    activated = dict(current.values_list("key_id", "activated_at"))
    asked = rulebook.read_asked([key.id for key in keys])
    changed, suspensions = [], []
    for key in keys:
        before = (key.suspends_at, key.suspends_for, key.rotation_due_at, key.recertify_due_at)
        since = activated.get(key.id)
        if key.state == KeyState.ACTIVE and not has_come(key.suspends_at, now):
            key.suspends_at, key.suspends_for = _first(key, _overdue(book, key.id, since), given)
        key.rotation_due_at = book.first(key.id, since, lambda each: each.due_at)
        key.recertify_due_at = _recertify(book, asked, key.id)
        if before != (key.suspends_at, key.suspends_for, key.rotation_due_at, key.recertify_due_at):
            changed.append(key)
        if key.suspends_at is not None and (before[0] is None or key.suspends_at < before[0]):
            suspensions.append(key.suspends_at)
    _write(changed)
    _cut_drains(book, now, wanted)
    return Changed(len(changed), tuple(suspensions))


def hold(key: Key) -> None:
    """A person suspends the key: being overdue is found again when it is resumed, and is not what suspends it now.

    So it is with a confirmation that is missing.
    """
    if key.suspends_for in _ANSWERED:
        key.suspends_at, key.suspends_for = None, ""
        key.save(update_fields=["suspends_at", "suspends_for"])


def is_overdue(key: Key) -> bool:
    """Whether another version is due by now, or was when the clock suspended the key."""
    return key.suspends_for == ClockReason.OVERDUE or has_come(key.rotation_due_at, timezone.now())


def refuse_due(key: Key) -> None:
    """Raises Refused while the clock would suspend the locked key at once."""
    moment, reason = _first(key, rulebook.find_overdue(key.id), _ask([key.id]))
    if has_come(moment, timezone.now()):
        raise Refused(f"The key stays suspended. {_WORDS[ClockReason(reason)]}", code=f"key_{reason}")


def restart(key: Key, version: KeyVersion) -> bool:
    """After a rotation of a locked, suspended key: active again if only the clock had suspended it for its age.

    Otherwise it stays suspended with its new version. Answers whether it is active again.
    """
    by_clock = key.suspends_for == ClockReason.OVERDUE and key.suspends_at is not None
    reset(key)
    if by_clock and not has_come(key.suspends_at, timezone.now()):
        key.state = KeyState.ACTIVE
        key.save(update_fields=["state"])
        return True
    versions.move(version, VersionState.SUSPENDED)
    return False


def lift(key: Key) -> bool:
    """After an answer to a locked key: active again if only the missing answer had suspended it.

    Answers whether it is active again. One that is overdue or has nobody as well stays suspended, for that.
    """
    waited = key.state == KeyState.SUSPENDED and key.suspends_for == ClockReason.NOT_RECERTIFIED
    if not waited:
        reset(key)
        return False
    key.state = KeyState.ACTIVE  # looked at as if it were: its age counts again
    reset(key)
    current, now = selectors.find_current(key.id), timezone.now()
    if current is None or has_come(key.suspends_at, now) or versions.is_expired(key, current, at=now):
        key.state = KeyState.SUSPENDED
        return False
    versions.move(current, VersionState.ACTIVE)
    key.save(update_fields=["state"])
    return True


def _lock(mode: str) -> None:
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_LOCK.format(mode), [str(binding.get_tenant())])


def _ask(key_ids: Collection[UUID]) -> dict[ClockReason, Mapping[UUID, datetime]]:
    return {reason: source(key_ids) for reason, source in _sources.items()}


def _overdue(book: Book, key_id: UUID, activated_at: datetime | None) -> datetime | None:
    return book.first(key_id, activated_at, lambda each: each.suspends_at)


def _recertify(book: Book, asked: Asked, key_id: UUID) -> datetime | None:
    return book.first(key_id, asked.since(book, key_id), lambda each: each.recertify_due_at)


def _first(
    key: Key, overdue: datetime | None, given: Mapping[ClockReason, Mapping[UUID, datetime]]
) -> tuple[datetime | None, str]:
    """The first moment that suspends the key, and for which reason."""
    moments = {ClockReason.OVERDUE: overdue}
    if key.suspends_for:
        moments.setdefault(ClockReason(key.suspends_for), key.suspends_at)
    moments |= {reason: found.get(key.id) for reason, found in given.items()}
    known = [(moment, reason.value) for reason, moment in moments.items() if moment is not None]
    return min(known, default=(None, ""))


def _write(keys: list[Key]) -> None:
    columns = (
        [key.id for key in keys],
        [key.suspends_at for key in keys],
        [key.suspends_for for key in keys],
        [key.rotation_due_at for key in keys],
        [key.recertify_due_at for key in keys],
    )
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_WRITE, [*columns, binding.get_tenant()])


def _cut_drains(book: Book, now: datetime, wanted: Q) -> None:
    """A version that drains ends with its lifetime too, also when the policy came after the rotation."""
    for version in KeyVersion.objects.lock().filter(wanted, state=VersionState.SUPERSEDED, drain_until__gt=now):
        end = book.first(version.key_id, version.activated_at, lambda each: each.lifetime_ends_at)
        if end is not None and version.drain_until is not None and end < version.drain_until:
            version.drain_until = max(end, now)
            version.dark_from = version.dark_until = None
            version.save(update_fields=["drain_until", "dark_from", "dark_until"])
            waiting = Job.objects.filter(tenant_id=binding.get_tenant(), kind=FINISH_DRAIN, subject_id=version.id)
            waiting.filter(state=JobState.QUEUED).update(run_after=version.drain_until)
