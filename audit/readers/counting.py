"""The reader that counts uses: a row per tenant, day, key, consumer and scope, and one per version and consumer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias
from uuid import UUID

import structlog

from audit import words
from audit.models import Outcome
from audit.readers.cursor import fold_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.models import Entry

log = structlog.get_logger("byok.readers")

Place: TypeAlias = tuple[UUID, date, UUID, UUID, str]
Hold: TypeAlias = tuple[UUID, UUID, int, UUID]
"""(tenant, key, version, consumer)"""
_USED: Final = words.action_is("key.used")
_SCOPE_WIDTH: Final = 200
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

# Rows in the order of their keys: two writers can then never wait for each other in a circle.
_ADD: Final = """
INSERT INTO audit_usageday (tenant_id, day, key_id, consumer_id, scope, allowed, denied, failed, last_at,
                            last_allowed_at)
SELECT * FROM unnest(%b::uuid[], %b::date[], %b::uuid[], %b::uuid[], %b::text[], %b::bigint[], %b::bigint[],
                     %b::bigint[], %b::timestamptz[], %b::timestamptz[])
ON CONFLICT (tenant_id, day, key_id, consumer_id, scope) DO UPDATE SET
  allowed = audit_usageday.allowed + EXCLUDED.allowed,
  denied = audit_usageday.denied + EXCLUDED.denied,
  failed = audit_usageday.failed + EXCLUDED.failed,
  last_at = greatest(audit_usageday.last_at, EXCLUDED.last_at),
  last_allowed_at = greatest(audit_usageday.last_allowed_at, EXCLUDED.last_allowed_at)
"""
_ADD_VERSIONS: Final = """
INSERT INTO audit_usageversion (tenant_id, key_id, version, consumer_id, uses, last_at)
SELECT * FROM unnest(%b::uuid[], %b::uuid[], %b::bigint[], %b::uuid[], %b::bigint[], %b::timestamptz[])
ON CONFLICT (tenant_id, key_id, version, consumer_id) DO UPDATE SET
  uses = audit_usageversion.uses + EXCLUDED.uses,
  last_at = greatest(audit_usageversion.last_at, EXCLUDED.last_at)
"""


@dataclass(slots=True)
class Count:
    """Uses of one place and the newest of them."""

    allowed: int = 0
    denied: int = 0
    failed: int = 0
    last_at: datetime = _NEVER
    last_allowed_at: datetime | None = None

    def add(self, outcome: str, at: datetime) -> None:
        """One use more."""
        self.allowed += outcome == Outcome.ALLOWED
        self.denied += outcome == Outcome.DENIED
        self.failed += outcome == Outcome.FAILED
        self.last_at = max(self.last_at, at)
        if outcome == Outcome.ALLOWED:
            self.last_allowed_at = max(self.last_allowed_at or at, at)


class UsageReader:
    """Counts `key.used` of keys; a refusal that names no key has no row."""

    name: ClassVar[str] = "usage"

    def fold(self, cursor: Any, entries: Sequence[Entry]) -> None:
        """Add the uses among these entries."""
        counts: dict[Place, Count] = {}
        held: dict[Hold, Count] = {}
        uses = [entry for entry in entries if entry.leaf.startswith(_USED)]
        if skipped := fold_each(uses, lambda entry: _add(counts, held, entry)):
            log.warning("not_counted", entries=skipped)
        if counts:
            rows = [(*place, *_values(count)) for place, count in sorted(counts.items(), key=lambda item: item[0])]
            cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
        if held:
            rows = [(*hold, n.allowed, n.last_at) for hold, n in sorted(held.items(), key=lambda item: item[0])]
            cursor.execute(_ADD_VERSIONS, [list(column) for column in zip(*rows, strict=True)])

    def clear(self, cursor: Any) -> None:
        """Remove all counts."""
        cursor.execute("DELETE FROM audit_usageday")
        cursor.execute("DELETE FROM audit_usageversion")


def _add(counts: dict[Place, Count], held: dict[Hold, Count], entry: Entry) -> None:
    body = entry.body
    target, scope = body["target"], body["detail"].get("scope", "")
    if target["kind"] != "key":
        return
    at = datetime.fromisoformat(body["time"]).astimezone(UTC)
    word = scope[:_SCOPE_WIDTH] if isinstance(scope, str) else ""
    key_id, consumer_id = UUID(target["id"]), UUID(body["actor"]["id"])
    place = (entry.tenant_id, at.date(), key_id, consumer_id, word)
    counts.setdefault(place, Count()).add(body["outcome"], at)
    _, version = words.delivery_of(body["detail"])
    if version and body["outcome"] == Outcome.ALLOWED:
        held.setdefault((entry.tenant_id, key_id, version, consumer_id), Count()).add(body["outcome"], at)


def _values(count: Count) -> tuple[Any, ...]:
    return count.allowed, count.denied, count.failed, count.last_at, count.last_allowed_at
