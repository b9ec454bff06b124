"""What can be seen of the record: the bound tenant's numbered entries and their private details.

A search reads newest first and stops when a page is full; blocks of entries that cannot match are skipped by the
search index (`audit.words`). Times become sequence numbers first, so that every read walks an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from audit import sealing, words
from audit.models import Entry, PrivateDetail, PrunedHead, SearchBlock, TenantHead
from byok_portal.boundary import binding
from byok_portal.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime
    from uuid import UUID

USED: Final = "key.used"

# Numbers have no gaps and rise with time, so a binary search needs about twenty look-ups by primary key.
_NUMBER: Final = """
WITH RECURSIVE search(low, high) AS (
  SELECT coalesce((SELECT tseq FROM audit_prunedhead WHERE tenant_id = %(tenant)s), 0),
         (SELECT tseq + 1 FROM audit_tenanthead WHERE tenant_id = %(tenant)s)
  UNION ALL
  SELECT CASE WHEN e.at < %(moment)s THEN e.tseq ELSE s.low END,
         CASE WHEN e.at < %(moment)s THEN s.high ELSE e.tseq END
  FROM search s, LATERAL (
    SELECT tseq, (leaf::json #>> '{body,time}')::timestamptz AS at FROM audit_entry
    WHERE tenant_id = %(tenant)s AND tseq = (s.low + s.high) / 2
  ) e WHERE s.high - s.low > 1
)
SELECT max(high) FILTER (WHERE high - low = 1) FROM search
"""
_COLUMNS: Final = "e.idx, e.tenant_id, e.tseq, e.event_id, e.leaf"
_DIRECT: Final = """
SELECT {columns} FROM audit_entry e
WHERE e.tenant_id = %(tenant)s AND e.tseq BETWEEN %(low)s AND %(high)s {matches} ORDER BY e.tseq {order} LIMIT %(limit)s
"""
_BLOCKS: Final = """
SELECT {columns} FROM audit_searchblock b CROSS JOIN LATERAL (
  SELECT * FROM audit_entry e WHERE e.tenant_id = %(tenant)s
  AND e.tseq BETWEEN greatest(b.number * {width} + 1, %(low)s) AND least(b.number * {width} + {width}, %(high)s)
  {matches} ORDER BY e.tseq {order}
) e
WHERE b.tenant_id = %(tenant)s AND b.number BETWEEN %(low_block)s AND %(high_block)s AND b.words @> %(words)b::int[]
ORDER BY b.number {order}, e.tseq {order} LIMIT %(limit)s
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

    @property
    def needles(self) -> list[str]:
        """LIKE patterns of which every matching leaf has each one."""
        pieces = [
            self.outcome and words.outcome_is(self.outcome),
            self.actor_kind and words.actor_kind_is(self.actor_kind),
            self.actor_id and words.actor_is(self.actor_id),
            self.target_id and words.target_is(self.target_id),
        ]
        found = [f"%{_literal(piece)}%" for piece in pieces if piece]
        return [f"{_literal(words.action_is(self.action))}%", *found] if self.action else found

    @property
    def words(self) -> list[int]:
        """The words that the block of every match has."""
        facets = {
            "action": self.action,
            "outcome": self.outcome,
            "kind": self.actor_kind,
            "actor": self.actor_id,
            "target": self.target_id,
        }
        return [words.word(facet, value) for facet, value in facets.items() if value]


def search(
    filters: Filters | None = None,
    *,
    newer_than: int | None = None,
    older_than: int | None = None,
    limit: int,
) -> list[Entry]:
    """Entries of the bound tenant that match, newest first: the `limit` next to the number that was given."""
    filters = filters or Filters()
    head = find_head()
    low = max(find_number(filters.since) if filters.since else 1, (newer_than or 0) + 1)
    high = min(find_number(filters.until) - 1 if filters.until else 2**62, head.tseq if head else 0)
    high = min(high, older_than - 1) if older_than is not None else high
    rising = newer_than is not None
    if not filters.words:
        rows = _read(_DIRECT, filters, low, high, limit, rising=rising)
    else:
        rows = _search_indexed(filters, low, high, limit, rising=rising)
    return rows[::-1] if rising else rows


def walk(filters: Filters | None = None, *, batch: int = 1000) -> Iterator[Entry]:
    """Every matching entry, newest first, in constant memory; one short transaction of the caller's per batch."""
    older_than: int | None = None
    while rows := search(filters, older_than=older_than, limit=batch):
        yield from rows
        older_than = rows[-1].tseq


def list_uses(target_id: UUID, limit: int) -> list[Entry]:
    """The newest uses of one key."""
    return search(Filters(action=USED, target_id=target_id), limit=limit)


def get_entry(event_id: UUID) -> Entry:
    """One entry by its `Audit-Id`. Raises NotFound, also while it waits for its number."""
    entry = Entry.objects.filter(tenant_id=binding.get_tenant(), event_id=event_id).first()
    if entry is None:
        raise make_missing()
    return entry


def make_missing() -> NotFound:
    """No such event is here; where retention removed some of the tenant's, it may have been one of them."""
    pruned = find_pruned_head()
    gone = f"No such event is here. Retention removed entries 1 to {pruned.tseq}." if pruned else ""
    return NotFound(gone)


def find_neighbour(entry: Entry, step: int) -> UUID | None:
    """The event id `step` numbers further in this tenant's chain."""
    own = Entry.objects.filter(tenant_id=binding.get_tenant(), tseq=entry.tseq + step)
    return own.values_list("event_id", flat=True).first()


def find_private(event_ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """The personal data of these events, as far as it was not erased."""
    own = PrivateDetail.objects.filter(tenant_id=binding.get_tenant(), event_id__in=list(event_ids))
    return sealing.open_all((row.event_id, bytes(row.sealed)) for row in own)


def find_head() -> TenantHead | None:
    """The end of the bound tenant's chain."""
    return TenantHead.objects.filter(tenant_id=binding.get_tenant()).first()


def find_pruned_head() -> PrunedHead | None:
    """The last entry of the bound tenant that retention removed, if any."""
    return PrunedHead.objects.filter(tenant_id=binding.get_tenant()).first()


def find_number(moment: datetime) -> int:
    """The number of the first entry at or after `moment`; one past the end when there is none yet."""
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_NUMBER, {"tenant": binding.get_tenant(), "moment": moment})
        row = cursor.fetchone()
    return int(row[0]) if row and row[0] is not None else 1


def _search_indexed(filters: Filters, low: int, high: int, limit: int, *, rising: bool) -> list[Entry]:
    """The blocks that the index covers, and what it has not read yet one by one."""
    last = SearchBlock.objects.filter(tenant_id=binding.get_tenant()).order_by("-number").first()
    covered = last.upto if last else 0
    parts = [(_DIRECT, max(low, covered + 1), high), (_BLOCKS, low, min(high, covered))]
    rows: list[Entry] = []
    for query, start, end in reversed(parts) if rising else parts:
        if len(rows) < limit and start <= end:
            rows += _read(query, filters, start, end, limit - len(rows), rising=rising)
    return rows


def _read(query: str, filters: Filters, low: int, high: int, limit: int, *, rising: bool) -> list[Entry]:
    needles = filters.needles
    values: dict[str, Any] = {
        "tenant": binding.get_tenant(),
        "low": low,
        "high": high,
        "low_block": words.block_of(low),
        "high_block": words.block_of(high),
        "words": filters.words,
        "limit": limit,
        **{f"needle_{i}": needle for i, needle in enumerate(needles)},
    }
    text = query.format(
        columns=_COLUMNS,
        order="ASC" if rising else "DESC",
        matches="".join(f"AND e.leaf LIKE %(needle_{i})s " for i in range(len(needles))),
        width=words.BLOCK,
    )
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(text, values)
        return [Entry(*row) for row in cursor.fetchall()]


def _literal(piece: str) -> str:
    return piece.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
