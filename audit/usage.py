"""How often keys were used: sums of rows that the `usage` reader makes from the log, never a read of the log itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from django.db.models import Max, Sum
from django.utils import timezone

from audit.models import UsageDay, UsageVersion
from byok_portal.boundary import binding

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date, datetime
    from uuid import UUID

    from django.db.models import QuerySet

DAYS: Final = 30


@dataclass(slots=True)
class Usage:
    """Uses over thirty days; `points` are per day, oldest first, today last."""

    total: int = 0
    denied: int = 0
    points: list[int] = field(default_factory=lambda: [0] * DAYS)

    def add(self, at: int, *, total: int, denied: int) -> None:
        """Count uses on day `at`."""
        self.total += total
        self.denied += denied
        self.points[at] += total


@dataclass(slots=True)
class TenantUsage:
    """The uses of a tenant's keys and of each of them."""

    whole: Usage = field(default_factory=Usage)
    by_target: dict[UUID, Usage] = field(default_factory=dict)

    def of(self, target_id: UUID) -> Usage:
        """The uses of one key; none is a count too."""
        return self.by_target.get(target_id) or Usage()


@dataclass(frozen=True, slots=True)
class ScopeUsage:
    """How one consumer used one scope of a key: the last time ever, and counts over thirty days."""

    scope: str
    consumer_id: UUID
    last_at: datetime
    last_allowed_at: datetime | None
    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class VersionUsage:
    """The allowed uses of one version by one consumer, and the newest of them."""

    version: int
    consumer_id: UUID
    uses: int
    last_at: datetime


def count_uses() -> TenantUsage:
    """The bound tenant's uses of the last thirty days."""
    first = _first_day()
    usage = TenantUsage()
    days = _list_days().filter(day__gte=first).values("key_id", "day")
    for row in days.annotate(a=Sum("allowed"), d=Sum("denied"), f=Sum("failed")):
        at, total = (row["day"] - first).days, row["a"] + row["d"] + row["f"]
        if at < DAYS:
            usage.whole.add(at, total=total, denied=row["d"])
            usage.by_target.setdefault(row["key_id"], Usage()).add(at, total=total, denied=row["d"])
    return usage


def find_last_uses(consumer_ids: Collection[UUID]) -> dict[UUID, datetime]:
    """When each consumer last tried to use a key, refused or not; without those that never did."""
    newest = _list_days().filter(consumer_id__in=consumer_ids).values("consumer_id").annotate(at=Max("last_at"))
    return {row["consumer_id"]: row["at"] for row in newest}


def usage_of(key_id: UUID) -> list[ScopeUsage]:
    """Who used which scope of the key, newest first: what nobody has used for long can be taken away."""
    own, first = _list_days().filter(key_id=key_id), _first_day()
    last = own.values("scope", "consumer_id").annotate(at=Max("last_at"), allowed_at=Max("last_allowed_at"))
    recent = own.filter(day__gte=first).values("scope", "consumer_id")
    counts = {
        (row["scope"], row["consumer_id"]): (row["a"], row["d"])
        for row in recent.annotate(a=Sum("allowed"), d=Sum("denied"))
    }
    rows = [
        ScopeUsage(
            row["scope"],
            row["consumer_id"],
            row["at"],
            row["allowed_at"],
            *counts.get((row["scope"], row["consumer_id"]), (0, 0)),
        )
        for row in last
    ]
    return sorted(rows, key=lambda row: row.last_at, reverse=True)


def find_versions(key_id: UUID) -> list[VersionUsage]:
    """Who used which version of the key, newest use first; as far as the reader has come (at most a minute behind)."""
    rows = UsageVersion.objects.filter(tenant_id=binding.get_tenant(), key_id=key_id).order_by("-last_at")
    return [VersionUsage(row.version, row.consumer_id, row.uses, row.last_at) for row in rows]


def _list_days() -> QuerySet[UsageDay]:
    return UsageDay.objects.filter(tenant_id=binding.get_tenant())


def _first_day() -> date:
    return timezone.now().astimezone(UTC).date() - timedelta(days=DAYS - 1)
