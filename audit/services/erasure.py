"""Erasing the personal data beside entries. Must never touch an entry: chain and proofs verify afterwards as before.

Entries of a person or consumer are found in the log by their id. An event without a number yet lies in the inbox, which
nobody reads: it is found by its own id, or by the name that its personal data shows for who acted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import connections

from audit import proofs, sealing, selectors
from audit.models import PrivateDetail
from audit.personal import ERASED
from audit.selectors import Filters
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from audit.models import Entry
    from byok_portal.boundary.actors import Actor

EVENT: Final = "event"
KINDS: Final = (EVENT, "person", "consumer")
"""Whose data can be erased: that of one event, or of everything that a person or consumer did or had done to it."""
REASONS: Final = ("requested_by_person", "recorded_by_mistake", "no_longer_needed")
NOTE_MAX: Final = 500

BATCH: Final = 1000
COUNTED: Final = 1000
"""How many entries a preview looks at, and how many events without a number an erasure does."""

_DELETE: Final = "DELETE FROM audit_private WHERE tenant_id = %s AND event_id = ANY(%s)"
# UUIDv7 sort by time, so this reads the primary key from a minute ago on.
_WAITING: Final = """
SELECT p.event_id, p.sealed FROM audit_private p
WHERE p.tenant_id = %(tenant)s AND p.event_id >= %(since)s AND NOT EXISTS (
  SELECT FROM audit_entry e WHERE e.tenant_id = %(tenant)s AND e.event_id = p.event_id
) LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure came to. `count`: of how many events the personal data is gone. `waiting`: how many events of the
    tenant had no number yet and could not be told to be the subject's; zero for one event.
    """

    kind: str
    id: UUID
    count: int
    waiting: int
    audit_id: UUID


@dataclass(frozen=True, slots=True)
class Preview:
    """Beside how many entries there is something to erase; `is_more`: only the newest were looked at.

    `entries`: how many name the subject as what it is said to be, so that a name may be shown for it.
    """

    entries: int
    count: int
    is_more: bool


@operation(
    "audit.erase_personal_data",
    permission=Permission.AUDIT_ERASE,
    events=(ERASED,),
    page="audit:erase",
    api="api:audit-erasures",
)
def erase(*, actor: Actor, kind: str, subject_id: UUID, reason: str = "", note: str = "") -> Erasure:
    """Erase the personal data of one event, or of every event whose actor or target the subject is.

    Raises InvalidInput for another kind or reason, NotFound for an unknown event. Repeating it erases nothing.
    """
    _check(kind, reason, note)
    if kind == EVENT:
        find_event(subject_id)
        count, waiting = _delete([subject_id]), 0
    else:
        count, waiting = _erase_subject(subject_id)
    audit_id = append(
        actor=actor,
        action=ERASED,
        target=Target(kind, subject_id),
        detail={"count": count, **({"reason": reason} if reason else {})},
        private={"note": note} if note else None,
    )
    return Erasure(kind, subject_id, count, waiting, audit_id)


def preview(*, kind: str, subject_id: UUID) -> Preview:
    """What an erasure would find now. Raises NotFound for an unknown event."""
    if kind == EVENT:
        entry = find_event(subject_id)
        return Preview(1 if entry else 0, _count_kept([subject_id]), is_more=False)
    found = [selectors.search(filters, limit=COUNTED) for filters in _filters(subject_id)]
    entries = {entry.event_id: entry for page in found for entry in page}
    named = [entry for entry in entries.values() if (kind, subject_id) in _subjects_of(entry)]
    return Preview(len(named), _count_kept(entries), is_more=any(len(page) == COUNTED for page in found))


def find_event(event_id: UUID) -> Entry | None:
    """The entry of an event whose data may be erased; None without a number. Raises NotFound for an unknown id."""
    try:
        return proofs.find_receipt(event_id)
    except IntegrityError:  # it never got a number: that is named elsewhere, and no reason to keep personal data
        return None


def _check(kind: str, reason: str, note: str) -> None:
    for field, value, words in (("kind", kind, KINDS), ("reason", reason, ("", *REASONS))):
        if value not in words:
            known = ", ".join(word for word in words if word)
            raise InvalidInput(f"{field} is one of {known}.", code="invalid_choice", field=field)
    if len(note) > NOTE_MAX:
        raise InvalidInput(f"note has at most {NOTE_MAX} characters.", code="too_long", field="note")


def _erase_subject(subject_id: UUID) -> tuple[int, int]:
    """(erased, left waiting): numbered entries by id, events without a number by the names that the actor went by."""
    did, _ = _filters(subject_id)
    kept = selectors.find_private([entry.event_id for entry in selectors.search(did, limit=50)])
    names = {str(data["label"]) for data in kept.values() if data.get("label")}
    count = 0
    for filters in _filters(subject_id):
        count += sum(_delete(ids) for ids in _batches(filters))
    waiting = _list_waiting()
    own = _acted_by(names, waiting)
    return count + _delete(own), len(waiting) - len(own)


def _subjects_of(entry: Entry) -> set[tuple[str, UUID]]:
    return {(entry.actor_kind, entry.actor_id), (entry.target_kind, entry.target_id)}


def _filters(subject_id: UUID) -> tuple[Filters, Filters]:
    return Filters(actor_id=subject_id), Filters(target_id=subject_id)


def _batches(filters: Filters) -> Iterator[list[UUID]]:
    ids: list[UUID] = []
    for entry in selectors.walk(filters, batch=BATCH):
        ids.append(entry.event_id)
        if len(ids) == BATCH:
            yield ids
            ids = []
    yield ids


def _list_waiting() -> list[tuple[UUID, bytes]]:
    since = UUID(int=(int(time.time() * 1000) - proofs.PATIENCE_MS) << 80)
    values: dict[str, Any] = {"tenant": binding.get_tenant(), "since": since, "limit": COUNTED}
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_WAITING, values)
        return [(row[0], bytes(row[1])) for row in cursor.fetchall()]


def _acted_by(names: set[str], rows: list[tuple[UUID, bytes]]) -> list[UUID]:
    try:
        opened = sealing.open_all(rows) if names else {}
    except IntegrityError:  # a changed row names nobody, and must not keep the others from being erased
        return []
    return [event_id for event_id, data in opened.items() if data.get("label") in names]


def _count_kept(event_ids: Iterable[UUID]) -> int:
    return PrivateDetail.objects.filter(tenant_id=binding.get_tenant(), event_id__in=list(event_ids)).count()


def _delete(event_ids: list[UUID]) -> int:
    if not event_ids:
        return 0
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_DELETE, [binding.get_tenant(), event_ids])
        return int(cursor.rowcount)
