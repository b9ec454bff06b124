"""How often keys were used, counted from sequenced entries: one grouped statement, bounded, no second write."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connections
from django.utils import timezone

from audit.models import Outcome
from audit.selectors import USED, find_number
from byok_portal.boundary import binding

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from uuid import UUID

DAYS: Final = 30
NEWEST: Final = 100_000
"""No more uses than this are counted for a page; a busier tenant is told so."""

_COUNT: Final = """
SELECT target_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, outcome, count(*)
FROM (SELECT target_id, occurred_at, outcome FROM audit_entry
      WHERE tenant_id = %s AND action = %s AND tseq >= %s ORDER BY tseq DESC LIMIT %s) newest
GROUP BY 1, 2, 3
"""


@dataclass(slots=True)
class Usage:
    """Uses over thirty days; `points` are per day, oldest first, today last."""

    total: int = 0
    denied: int = 0
    points: list[int] = field(default_factory=lambda: [0] * DAYS)

    def add(self, at: int, outcome: str, count: int) -> None:
        """Count `count` uses on day `at`."""
        self.total += count
        self.denied += count if outcome == Outcome.DENIED else 0
        self.points[at] += count


@dataclass(slots=True)
class TenantUsage:
    """The uses of a tenant and of each of its keys. `is_capped`: only the newest were counted."""

    whole: Usage = field(default_factory=Usage)
    by_target: dict[UUID, Usage] = field(default_factory=dict)
    is_capped: bool = False

    def of(self, target_id: UUID) -> Usage:
        """The uses of one key; none is a count too."""
        return self.by_target.get(target_id) or Usage()


def count_uses() -> TenantUsage:
    """The bound tenant's uses of the last thirty days."""
    today = timezone.now().date()
    first = find_number(timezone.now() - timedelta(days=DAYS))
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_COUNT, [binding.get_tenant(), USED, first, NEWEST])
        return _summed(cursor.fetchall(), first=today - timedelta(days=DAYS - 1))


def _summed(rows: Iterable[tuple[UUID, date, str, int]], *, first: date) -> TenantUsage:
    usage = TenantUsage()
    for target_id, day, outcome, count in rows:
        at = (day - first).days
        if 0 <= at < DAYS:
            usage.whole.add(at, outcome, count)
            usage.by_target.setdefault(target_id, Usage()).add(at, outcome, count)
    usage.is_capped = usage.whole.total >= NEWEST
    return usage
