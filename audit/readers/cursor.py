"""How far a reader of the log has come, and one batch of it in one transaction: what it made and where it stands
commit together, so a crash neither counts twice nor leaves out. Must never write anything that the log says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from django.db import connections, transaction

from audit.models import Entry
from byok_portal.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

ALIAS: Final = "reader"
BATCH: Final = 2000
_FAULT_WIDTH: Final = 500

# The sequencer's commits come one after another, so no position below one that is seen can still appear.
_READ: Final = """
SELECT idx, tenant_id, tseq, event_id, leaf FROM audit_entry
WHERE idx >= %(position)s AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s) ORDER BY idx LIMIT %(limit)s
"""


class Reader(Protocol):
    """Folds entries into its own tables, on the cursor of the transaction that moves its position."""

    @property
    def name(self) -> str: ...  # the class says it

    def fold(self, cursor: Any, entries: Sequence[Entry]) -> None: ...  # the class says it

    def clear(self, cursor: Any) -> None: ...  # the class says it


def require_login() -> None:
    """Raises Unavailable when this process was started without the readers' login."""
    if ALIAS not in connections.settings:
        message = "DATABASE_URL_READER is not set: readers use a login of their own"
        raise Unavailable(message)


def read_batch(reader: Reader, *, limit: int = BATCH) -> int:
    """Fold the next entries; returns how many. 0 at the end of the log, or while another process has this reader."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        place = lock(cursor, reader.name)
        if place is None:
            return 0
        entries = read_entries(cursor, place[0], limit=limit)
        if entries:
            reader.fold(cursor, entries)
            advance(cursor, reader.name, position=entries[-1].idx + 1, delivered=place[1] + len(entries))
    return len(entries)


def rebuild(reader: Reader) -> int:
    """Forget everything that the reader made, and begin again where the log begins, which is the position returned.

    Waits for a process that reads right now.
    """
    ensure(reader.name)
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1 FROM audit_reader WHERE name = %s FOR UPDATE", [reader.name])
        reader.clear(cursor)
        cursor.execute("SELECT pruned_to FROM audit_logstate WHERE id = 1")
        start = int(cursor.fetchone()[0])
        advance(cursor, reader.name, position=start, delivered=0)
    return start


def ensure(name: str) -> None:
    """The reader's row, at the beginning of the log."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_reader (name, position, delivered, fault) VALUES (%s, 0, 0, '') ON CONFLICT DO NOTHING",
            [name],
        )


def lock(cursor: Any, name: str) -> tuple[int, int] | None:
    """(position, delivered) of the reader, locked to the end of the transaction; None when another process has it."""
    cursor.execute(
        "SELECT position, delivered FROM audit_reader WHERE name = %s FOR UPDATE SKIP LOCKED",
        [name],
    )
    row = cursor.fetchone()
    return (int(row[0]), int(row[1])) if row else None


def read_entries(cursor: Any, position: int, *, limit: int, tenant_id: UUID | None = None) -> list[Entry]:
    """The next entries in the order of the log, all tenants' or one tenant's."""
    cursor.execute(_READ, {"position": position, "limit": limit, "tenant": tenant_id})
    return [Entry(*row) for row in cursor.fetchall()]


def advance(cursor: Any, name: str, *, position: int, delivered: int) -> None:
    """Note where the reader stands; whatever was wrong with it is over."""
    cursor.execute(
        "UPDATE audit_reader SET position = %s, delivered = %s, read_at = now(), fault = '' WHERE name = %s",
        [position, delivered, name],
    )


def note_fault(name: str, error: Exception) -> None:
    """Say on the reader's row what is wrong: the kind of error only, since a message may quote what was read."""
    text = type(error).__name__
    code = getattr(getattr(error, "__cause__", None), "sqlstate", None)
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE audit_reader SET fault = %s WHERE name = %s",
            [f"{text} {code or ''}".strip()[:_FAULT_WIDTH], name],
        )


def fold_each(entries: Sequence[Entry], add: Callable[[Entry], None]) -> int:
    """Fold one by one; returns how many could not be. A strange entry is in the log for ever: it must not hold up the
    reader for ever too.
    """
    skipped = 0
    for entry in entries:
        try:
            add(entry)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            skipped += 1
    return skipped
