"""What became of the personal data beside one entry: kept, sealed and not to be opened here, erased, never stored."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from audit import sealing, selectors
from audit.models import DataKey, Entry, PrivateDetail
from audit.selectors import Filters
from byok_portal.boundary import binding

if TYPE_CHECKING:
    from datetime import datetime

ERASED: Final = "audit.personal_data_erased"
LOOKED_AT: Final = 50
"""Erasures of one subject that are looked through, newest first."""


class State(StrEnum):
    """What became of it."""

    KEPT = "kept"
    SEALED = "sealed"
    ERASED = "erased"
    SHREDDED = "shredded"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Personal:
    """`data` only where it is kept and opens here; `erasure`: the numbered entry that records its erasure."""

    state: State
    data: dict[str, Any] | None = None
    erasure: Entry | None = None
    shredded_at: datetime | None = None


def find_personal(entry: Entry) -> Personal:
    """Of one numbered entry of the bound tenant. Raises IntegrityError for a row that was changed."""
    tenant_id = binding.get_tenant()
    row = PrivateDetail.objects.filter(tenant_id=tenant_id, event_id=entry.event_id).first()
    opened = sealing.open_all([(row.event_id, bytes(row.sealed))]) if row else {}
    if opened:
        return Personal(State.KEPT, data=opened[entry.event_id])
    erasure = None if row else _find_erasure(entry)
    if erasure is not None:
        return Personal(State.ERASED, erasure=erasure)
    key = DataKey.objects.filter(tenant_id=tenant_id).first()
    if key is not None and key.wrapped is None:
        return Personal(State.SHREDDED, shredded_at=key.shredded_at)
    return Personal(State.SEALED if row else State.ABSENT)


def _find_erasure(entry: Entry) -> Entry | None:
    """The first erasure, after the entry, of the event itself or of a subject that it is about."""
    subjects = {entry.event_id, entry.actor_id, entry.target_id}
    found = [
        each
        for subject in subjects
        for each in selectors.search(Filters(action=ERASED, target_id=subject), limit=LOOKED_AT)
        if each.occurred_at >= entry.occurred_at and each.event_id != entry.event_id
    ]
    return min(found, key=lambda each: each.occurred_at, default=None)
