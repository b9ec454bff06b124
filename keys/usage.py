"""Who uses which version of a key: what an owner looks at before the old one ends. Reads the log's projections."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from audit.selectors import USED, Filters, search
from audit.usage import find_versions
from keys import selectors
from keys.decision import Code
from keys.states import VersionState
from tenants.models import Consumer

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from audit.usage import VersionUsage
    from keys.models import KeyVersion

_MOST_REFUSALS: Final = 1000


class Standing(StrEnum):
    """Where a consumer is in a rotation."""

    STILL = "still"
    SILENT = "silent"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class VersionUser:
    """A consumer that used the old version, and where it is now: `still` on it, `silent` since, or `moved` on."""

    consumer_id: UUID
    name: str
    last_at: datetime
    standing: Standing


@dataclass(frozen=True, slots=True)
class Refused:
    """A consumer that a brownout refused, how often, and the last time."""

    consumer_id: UUID
    name: str
    times: int
    last_at: datetime


def list_users(version: KeyVersion) -> list[VersionUser]:
    """The consumers of a draining version, those that still use it first; at most a minute behind."""
    if version.state != VersionState.SUPERSEDED:
        return []
    current = selectors.find_current(version.key_id)
    since = current.activated_at if current is not None else None
    rows = find_versions(version.key_id)
    newest: dict[UUID, VersionUsage] = {}
    for row in rows:
        newest.setdefault(row.consumer_id, row)
    mine = [row for row in rows if row.version == version.number]
    names = _names({row.consumer_id for row in mine})
    users = [
        VersionUser(row.consumer_id, names[row.consumer_id], row.last_at, _standing(row, newest, since))
        for row in mine
        if row.consumer_id in names
    ]
    return sorted(users, key=lambda user: list(Standing).index(user.standing))


def list_refused(version: KeyVersion) -> list[Refused]:
    """Whom the version's last brownout refused: they break when it ends for good."""
    if version.dark_from is None or version.dark_until is None:
        return []
    filters = Filters(
        action=USED,
        outcome="denied",
        target_id=version.key_id,
        since=version.dark_from,
        until=version.dark_until,
    )
    found: dict[UUID, list[datetime]] = {}
    for entry in search(filters, limit=_MOST_REFUSALS):
        if entry.detail.get("code") == Code.VERSION_BROWNOUT:
            found.setdefault(entry.actor_id, []).append(entry.occurred_at)
    names = _names(found)
    return [Refused(each, names[each], len(times), max(times)) for each, times in found.items() if each in names]


def _standing(row: VersionUsage, newest: dict[UUID, VersionUsage], since: datetime | None) -> Standing:
    if newest[row.consumer_id].version != row.version:
        return Standing.MOVED
    return Standing.STILL if since is None or row.last_at >= since else Standing.SILENT


def _names(consumer_ids: Collection[UUID]) -> dict[UUID, str]:
    return dict(Consumer.objects.filter(id__in=consumer_ids).values_list("id", "name"))
