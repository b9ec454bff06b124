"""What can be seen of the record: the bound tenant's numbered entries, their private details, counts of uses.

Times become sequence numbers first (`find_number`), so that every read walks an index, never the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from audit.models import Entry, PrivateDetail, TenantHead
from byok_portal.boundary import binding
from byok_portal.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

USED: Final = "key.used"

# Numbers have no gaps and rise with time, so a binary search needs about twenty look-ups by primary key.
_NUMBER: Final = """
WITH RECURSIVE search(low, high) AS (
  SELECT 0::bigint, (SELECT tseq + 1 FROM audit_tenanthead WHERE tenant_id = %(tenant)s)
  UNION ALL
  SELECT CASE WHEN e.occurred_at < %(moment)s THEN e.tseq ELSE s.low END,
         CASE WHEN e.occurred_at < %(moment)s THEN s.high ELSE e.tseq END
  FROM search s JOIN audit_entry e ON e.tenant_id = %(tenant)s AND e.tseq = (s.low + s.high) / 2
  WHERE s.high - s.low > 1
)
SELECT max(high) FILTER (WHERE high - low = 1) FROM search
"""
_LAST: Final = """
SELECT wanted.id, last.occurred_at FROM unnest(%b::uuid[]) AS wanted(id) CROSS JOIN LATERAL (
  SELECT occurred_at FROM audit_entry WHERE tenant_id = %b AND actor_id = wanted.id ORDER BY tseq DESC LIMIT 1
) last
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a reader looks for; None and "" mean anything. `since` and `until` are half open."""

    action: str = ""
    outcome: str = ""
    actor_kind: str = ""
    actor_id: UUID | None = None
    target_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_entries(filters: Filters | None = None) -> QuerySet[Entry]:
    """Entries of the bound tenant that match, newest first."""
    filters = filters or Filters()
    wanted: dict[str, Any] = {
        "action": filters.action,
        "outcome": filters.outcome,
        "actor_kind": filters.actor_kind,
        "actor_id": filters.actor_id,
        "target_id": filters.target_id,
        "tseq__gte": find_number(filters.since) if filters.since else None,
        "tseq__lt": find_number(filters.until) if filters.until else None,
    }
    own = Entry.objects.filter(tenant_id=binding.get_tenant())
    return own.filter(**{name: value for name, value in wanted.items() if value not in (None, "")}).order_by("-tseq")


def list_uses(target_id: UUID) -> QuerySet[Entry]:
    """Uses of one key, newest first."""
    return list_entries(Filters(action=USED, target_id=target_id))


def get_entry(event_id: UUID) -> Entry:
    """One entry by its `Audit-Id`. Raises NotFound, also while it waits for its number."""
    entry = Entry.objects.filter(tenant_id=binding.get_tenant(), event_id=event_id).first()
    if entry is None:
        raise NotFound
    return entry


def find_neighbour(entry: Entry, step: int) -> UUID | None:
    """The event id `step` numbers further in this tenant's chain."""
    own = Entry.objects.filter(tenant_id=binding.get_tenant(), tseq=entry.tseq + step)
    return own.values_list("event_id", flat=True).first()


def find_private(event_ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """The personal data of these events, as far as it was not erased."""
    own = PrivateDetail.objects.filter(tenant_id=binding.get_tenant(), event_id__in=list(event_ids))
    return dict(own.values_list("event_id", "data"))


def find_head() -> TenantHead | None:
    """The end of the bound tenant's chain."""
    return TenantHead.objects.filter(tenant_id=binding.get_tenant()).first()


def find_number(moment: datetime) -> int:
    """The number of the first entry at or after `moment`; one past the end when there is none yet."""
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_NUMBER, {"tenant": binding.get_tenant(), "moment": moment})
        row = cursor.fetchone()
    return int(row[0]) if row and row[0] is not None else 1


def find_last_acts(actor_ids: Collection[UUID]) -> dict[UUID, datetime]:
    """When each actor last did something here; one index look-up per actor."""
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_LAST, [list(actor_ids), binding.get_tenant()])
        return dict(cursor.fetchall())
