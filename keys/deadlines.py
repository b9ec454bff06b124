"""Which deadlines of the bound tenant somebody is to be told of on a day, and at which stage. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from django.db import connections

from byok_portal.boundary import binding
from keys import reminders, rulebook
from keys.models import PlatformPolicy
from keys.policies import DEFAULT_REMINDERS, Edition, parse_policy
from keys.reminders import NOTHING_SAID, STAFF_AFTER, Deadline
from keys.rulebook import Book

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


# Looked at again under the tenant's own policies: a key that was revoked or moved meanwhile is not spoken of.
# In two steps, since planning takes longer than either: first whose deadline each is, then what is said of that.
_DUE: Final = """
WITH given AS MATERIALIZED (
  SELECT d.kind, d.subject_id, d.due_on, r.stage, g.consumer_id,
    CASE d.kind WHEN 'credential' THEN v.key_id WHEN 'grant_end' THEN g.key_id WHEN 'proof' THEN p.key_id
    WHEN 'confirmation' THEN i.key_id ELSE d.subject_id END AS key_id
  FROM json_to_recordset(%(names)s::json) AS d (kind text, subject_id uuid, due_on date)
  LEFT JOIN keys_keyversion v ON d.kind = 'credential' AND v.tenant_id = %(tenant)s AND v.id = d.subject_id
  LEFT JOIN keys_grant g ON d.kind = 'grant_end' AND g.tenant_id = %(tenant)s AND g.id = d.subject_id
  LEFT JOIN keys_proof p ON d.kind = 'proof' AND p.tenant_id = %(tenant)s AND p.id = d.subject_id
  LEFT JOIN keys_campaignitem i ON d.kind = 'confirmation' AND i.tenant_id = %(tenant)s AND i.id = d.subject_id
  LEFT JOIN keys_campaign m ON m.tenant_id = %(tenant)s AND m.id = i.campaign_id
  LEFT JOIN tenants_reminder r ON r.tenant_id = %(tenant)s AND r.kind = d.kind AND r.subject_id = d.subject_id
    AND r.due_on = d.due_on
  WHERE (r.id IS NULL OR r.next_on <= %(today)s) AND CASE d.kind
    WHEN 'credential' THEN v.state IN ('active', 'suspended', 'expired')
      AND (v.expires_at AT TIME ZONE 'UTC')::date = d.due_on
    WHEN 'grant_end' THEN g.state = 'active' AND (g.expires_at AT TIME ZONE 'UTC')::date = d.due_on
    WHEN 'proof' THEN (p.expires_at AT TIME ZONE 'UTC')::date = d.due_on
    WHEN 'confirmation' THEN i.state IN ('waiting', 'not_mine') AND m.state <> 'cancelled' AND i.due_on = d.due_on
    ELSE true END
)
SELECT d.kind, d.subject_id, d.due_on, k.id, coalesce(k.name, j.name), coalesce(k.slug, j.slug),
       k.owner_id, k.backup_owner_id, c.name, d.stage
FROM given d
LEFT JOIN tenants_tenant t ON d.kind = 'contract' AND t.id = d.subject_id
LEFT JOIN tenants_project j ON d.kind = 'project_end' AND j.tenant_id = %(tenant)s AND j.id = d.subject_id
  AND j.state = 'active'
LEFT JOIN keys_key k ON d.kind NOT IN ('contract', 'project_end') AND k.tenant_id = %(tenant)s AND k.id = d.key_id
  AND k.state IN ('active', 'suspended')
LEFT JOIN tenants_consumer c ON c.tenant_id = %(tenant)s AND c.id = d.consumer_id
WHERE CASE d.kind
  WHEN 'contract' THEN t.contract_ends_on = d.due_on
  WHEN 'project_end' THEN j.ends_on = d.due_on
  WHEN 'key_end' THEN k.ends_on = d.due_on
  WHEN 'rotation' THEN (k.rotation_due_at AT TIME ZONE 'UTC')::date = d.due_on
  ELSE k.id IS NOT NULL END
ORDER BY d.due_on, d.subject_id, d.kind
"""

# Of the platform and of the tenant, without the ORM: it takes longer to write the statements than they take.
_EDITIONS: Final = """
SELECT true, NULL::uuid, number, starts_at, rules FROM keys_platformpolicy
UNION ALL
SELECT false, key_id, number, starts_at, rules FROM keys_policy WHERE tenant_id = %s
ORDER BY number
"""
_find_stage = lru_cache(reminders.find_stage)
_find_next_look = lru_cache(reminders.find_next_look)

Name: TypeAlias = tuple[str, "UUID", date]
"""What tells deadlines apart: its kind, what it is of, and the day."""


@dataclass(frozen=True, slots=True)
class Due:
    """One deadline about which something is to be said now."""

    deadline: Deadline
    subject_id: UUID
    due_on: date
    key_id: UUID | None
    key: str
    key_slug: str
    owner_id: UUID | None
    backup_owner_id: UUID | None
    consumer: str
    said: int

    @property
    def name(self) -> Name:
        """As the sweep found it."""
        return self.deadline.value, self.subject_id, self.due_on


class Look:
    """Some of the bound tenant's deadlines as one day sees them, under the policies in force."""

    def __init__(self, day: date) -> None:
        self.day = day
        self._book = _read_book()
        self._days: dict[UUID | None, tuple[int, ...]] = {}

    def list_due(self, names: Sequence[Name]) -> list[tuple[Due, int]]:
        """Those that still hold, the nearest first, each with its stage: `NOTHING_SAID` before the first."""
        rows = [{"kind": kind, "subject_id": subject_id, "due_on": due_on} for kind, subject_id, due_on in names]
        values: dict[str, Any] = {
            "tenant": binding.get_tenant(),
            "today": self.day,
            "names": msgspec.json.encode(rows).decode(),
        }
        with connections[binding.DEFAULT].cursor() as cursor:
            cursor.execute(_DUE, values)
            found = [_due_of(row) for row in cursor.fetchall()]
        return [(due, self._stage_of(due)) for due in found]

    def next_look(self, due: Due, stage: int) -> date | None:
        """When there is more to say; None for never."""
        return _find_next_look(due.deadline, due_on=due.due_on, stage=stage, days=self.days_of(due.key_id))

    def days_of(self, key_id: UUID | None) -> tuple[int, ...]:
        """On which days before its deadlines a key's owners are told; None for the tenant's contract."""
        known = key_id if self._book.keys and key_id in self._book.keys else None
        if (days := self._days.get(known)) is None:
            days = self._days[known] = rulebook.reminders_of(self._book.policy(known))
        return days

    def _stage_of(self, due: Due) -> int:
        """What was said at a later stage covers the ones before: a clock that goes back says nothing again."""
        stage = _find_stage(due.deadline, left=(due.due_on - self.day).days, days=self.days_of(due.key_id))
        return min(due.said, NOTHING_SAID if stage is None else stage)


def _read_book() -> Book:
    """Every edition that holds for the bound tenant and its keys."""
    platform: list[Edition] = []
    own: dict[UUID | None, list[Edition]] = {}
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_EDITIONS, [binding.get_tenant()])
        for is_platform, key_id, number, starts_at, rules in cursor.fetchall():
            edition = Edition(number, starts_at, parse_policy(msgspec.json.decode(rules)))
            (platform if is_platform else own.setdefault(key_id, [])).append(edition)
    tenant = own.pop(None, [])
    return Book(tuple(platform), tuple(tenant), {key_id: tuple(rows) for key_id, rows in own.items() if key_id})


def list_due(day: date, limit: int) -> dict[UUID, list[Name]]:
    """Deadlines of all tenants with something to say or to note on this day, by tenant; at most `limit` of them."""
    horizon = _find_horizon()
    found: dict[UUID, list[Name]] = {}
    with connections[binding.DEFAULT].cursor() as cursor:
        for function in ("directory_due_reminders", "directory_due_confirmations", "directory_due_projects"):
            cursor.execute(f"SELECT * FROM {function}(%s, %s, %s)", [day, horizon, limit])  # noqa: S608  # of the three
            for tenant_id, *name in cursor.fetchall():
                found.setdefault(tenant_id, []).append((name[0], name[1], name[2]))
    return found


def is_old(name: Name, day: date) -> bool:
    """Whether staff are to hear of it, if nobody acted."""
    return (name[2] - day).days <= STAFF_AFTER


def _find_horizon() -> int:
    """How many days ahead the platform's policies remind, or the default of none does."""
    asked: list[int] = [day for row in PlatformPolicy.objects.all() for day in row.rules.get("reminder_days") or ()]
    return max((*asked, *DEFAULT_REMINDERS))


def _due_of(row: tuple[Any, ...]) -> Due:
    kind, subject_id, due_on, key_id, key, slug, owner_id, backup_owner_id, consumer, said = row
    return Due(
        deadline=Deadline(kind),
        subject_id=subject_id,
        due_on=due_on,
        key_id=key_id,
        key=key or "",
        key_slug=slug or "",
        owner_id=owner_id,
        backup_owner_id=backup_owner_id,
        consumer=consumer or "",
        said=NOTHING_SAID if said is None else said,
    )
