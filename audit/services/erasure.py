"""Erasing the personal data beside entries. Must never touch an entry: chain and proofs verify afterwards as before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from audit import selectors, words
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

EVENT: Final = "event"
KINDS: Final = (EVENT, "person", "consumer")
"""Whose data can be erased: that of one event, or of everything that a person or consumer did or had done to it."""

_ERASE_EVENT: Final = "DELETE FROM audit_private WHERE tenant_id = %(tenant)s AND event_id = %(id)s"
_ERASE_SUBJECT: Final = """
DELETE FROM audit_private p USING audit_entry e
WHERE p.tenant_id = %(tenant)s AND e.tenant_id = %(tenant)s AND e.event_id = p.event_id
  AND (e.leaf LIKE %(actor)s OR e.leaf LIKE %(target)s)
"""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure came to: of how many events the personal data is gone."""

    kind: str
    id: UUID
    count: int
    audit_id: UUID


@operation(
    "audit.erase_personal_data",
    permission=Permission.AUDIT_ERASE,
    events=("audit.personal_data_erased",),
    page=Absent("erasing on request is done over the API; the entry's page shows that it was"),
    api="api:audit-erasures",
)
def erase(*, actor: Actor, kind: str, subject_id: UUID) -> Erasure:
    """Erase the personal data of one event, or of every numbered entry whose actor or target the subject is.

    Raises InvalidInput for another kind, NotFound for an event without a number (yet). Repeating it erases nothing.
    """
    if kind not in KINDS:
        raise InvalidInput(f"kind is one of {', '.join(KINDS)}.", code="invalid_choice", field="kind")
    count = _erase_event(subject_id) if kind == EVENT else _erase_subject(subject_id)
    audit_id = append(
        actor=actor,
        action="audit.personal_data_erased",
        target=Target(kind, subject_id),
        detail={"count": count},
    )
    return Erasure(kind, subject_id, count, audit_id)


def _erase_event(event_id: UUID) -> int:
    selectors.get_entry(event_id)
    return _delete(_ERASE_EVENT, {"id": event_id})


def _erase_subject(subject_id: UUID) -> int:
    needles = {"actor": words.actor_is(subject_id), "target": words.target_is(subject_id)}
    # No needle holds % or _, so each stands for itself.
    return _delete(_ERASE_SUBJECT, {name: f"%{needle}%" for name, needle in needles.items()})


def _delete(query: str, values: dict[str, Any]) -> int:
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(query, {"tenant": binding.get_tenant(), **values})
        return int(cursor.rowcount)
