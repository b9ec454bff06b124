"""Telling people of deadlines: set-based, tenant by tenant, each stage of each deadline once. Sends no mail itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.db import connections, transaction

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission, Role
from byok_portal.errors import Conflict
from keys import reminders
from keys.deadlines import Due, Look
from keys.reminders import STAFF_AFTER, Deadline
from tenants.models import Reminder, Tenant, User
from tenants.services import notices
from tenants.services.notices import Announcement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from keys.deadlines import Name

_CLOCK: Final = Absent("the clock does it")
_KINDS: Final = {
    Deadline.KEY_END: ("key.ends_soon", "key.end_passed"),
    Deadline.ROTATION: ("key.rotation_due", "key.rotation_overdue"),
    Deadline.CREDENTIAL: ("key.credential_expires", "key.credential_expired"),
    Deadline.GRANT_END: ("key.grant_ends", ""),
    Deadline.PROOF: ("key.proof_expires", "key.proof_expired"),
    Deadline.CONTRACT: ("tenant.contract_ends", "tenant.contract_ended"),
    Deadline.PROJECT: ("project.ends_soon", "project.end_passed"),
    Deadline.CONFIRMATION: ("key.confirmation_due", "key.confirmation_overdue"),
}
"""What is said before a deadline and after it."""

# A sweep that comes second waits for the first one's row, and then finds nothing left to say about it.
_CLAIM: Final = """
INSERT INTO tenants_reminder (id, tenant_id, created_at, kind, subject_id, due_on, stage, next_on)
SELECT n.id, %(tenant)s, now(), n.kind, n.subject_id, n.due_on, n.stage, n.next_on
FROM json_to_recordset(%(rows)s::json)
  AS n (id uuid, kind text, subject_id uuid, due_on date, stage smallint, next_on date)
ORDER BY n.kind, n.subject_id
ON CONFLICT (tenant_id, kind, subject_id, due_on) DO UPDATE SET stage = excluded.stage, next_on = excluded.next_on
WHERE tenants_reminder.next_on <= %(today)s
RETURNING kind, subject_id, due_on
"""
_MEMBERS: Final = """
SELECT m.user_id, m.role FROM tenants_membership m JOIN tenants_user u ON u.id = m.user_id AND u.is_active
WHERE m.tenant_id = %s AND m.is_active
"""


@dataclass(frozen=True, slots=True)
class Escalation:
    """Deadlines of one tenant that nobody acted on for so long that staff are told."""

    tenant_id: UUID
    tenant: str
    count: int
    oldest: date
    digest: str


@operation("key.remind", permission=Permission.JOB_RUN, events=("key.reminded",), page=_CLOCK, api=_CLOCK)
def remind(*, actor: Actor, day: date, names: Sequence[Name]) -> int:
    """Say what is due of these deadlines of the bound tenant. Returns how many; raises Conflict when none is."""
    look = Look(day)
    found = look.list_due(names)
    if not any(stage < due.said for due, stage in found):
        raise Conflict("Nothing is due.", code="nothing_due")
    said = [(due, stage) for due, stage in _claim(look, found) if stage < due.said]
    if not said:
        raise Conflict("Nothing is due.", code="nothing_due")
    told = notices.notify_each(list(_announcements(said, day)))
    append(
        actor=actor,
        action="key.reminded",
        target=Target("tenant", binding.get_tenant()),
        detail={"deadlines": len(said), "notices": told, "day": str(day)},
    )
    return len(said)


def note_unsaid(day: date, names: Sequence[Name]) -> int:
    """Remember when to look again at deadlines of which nothing is to be said yet: a longer reminder of some policy
    brought them into sight. Bookkeeping of the sweep; returns how many.
    """
    with transaction.atomic():
        look = Look(day)
        return len(_claim(look, [(due, stage) for due, stage in look.list_due(names) if stage == due.said]))


def look_again(day: date) -> int:
    """Have the sweep look at every deadline of the bound tenant anew: for a policy that changed reminder days.

    What was said stays said.
    """
    return Reminder.objects.filter(next_on__gt=day).update(next_on=day)


def find_escalation(day: date, names: Sequence[Name]) -> Escalation | None:
    """What staff must hear of these deadlines of the bound tenant, or None."""
    late = [due for due, stage in Look(day).list_due(names) if stage == STAFF_AFTER < due.said]
    if not late:
        return None
    tenant = Tenant.objects.get(id=binding.get_tenant())
    text = "\n".join(sorted(str(due.name) for due in late))
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Escalation(tenant.id, tenant.name, len(late), min(due.due_on for due in late), digest)


@operation("key.escalate", permission=Permission.JOB_RUN, events=("key.escalated",), page=_CLOCK, api=_CLOCK)
def escalate(*, actor: Actor, escalation: Escalation) -> int:
    """Tell platform staff, bound to the platform. Raises Conflict when all of them were told of exactly this."""
    staff = User.objects.filter(is_staff=True, is_active=True).values_list("pk", flat=True)
    target = Target("tenant", escalation.tenant_id)
    told = notices.notify(
        recipients=list(staff),
        kind="staff.nobody_acted",
        subject=target,
        dedupe=f"{escalation.tenant_id}:{escalation.digest}",
        facts={
            "tenant": escalation.tenant,
            "tenant_id": str(escalation.tenant_id),
            "count": escalation.count,
            "day": str(escalation.oldest),
        },
    )
    if not told:
        raise Conflict("Staff were told.", code="nothing_due")
    append(actor=actor, action="key.escalated", target=target, detail={"deadlines": escalation.count, "notices": told})
    return told


def _claim(look: Look, found: list[tuple[Due, int]]) -> list[tuple[Due, int]]:
    """Those of `found` that no other sweep has said meanwhile, remembered as said."""
    if not found:
        return []
    rows = [
        {
            "id": new_id(),
            "kind": due.deadline.value,
            "subject_id": due.subject_id,
            "due_on": due.due_on,
            "stage": stage,
            "next_on": look.next_look(due, stage),
        }
        for due, stage in found
    ]
    # As JSON, which Python writes far faster than the driver does arrays.
    values: dict[str, Any] = {
        "tenant": binding.get_tenant(),
        "today": look.day,
        "rows": msgspec.json.encode(rows).decode(),
    }
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_CLAIM, values)
        if cursor.rowcount == len(rows):
            return found
        claimed = {(row[0], row[1], row[2]) for row in cursor.fetchall()}
    return [(due, stage) for due, stage in found if due.name in claimed]


def _announcements(said: list[tuple[Due, int]], day: date) -> Iterator[Announcement]:
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_MEMBERS, [binding.get_tenant()])
        roles = dict(cursor.fetchall())
    owners = {user_id for user_id, role in roles.items() if role == Role.OWNER}
    for due, stage in said:
        audience = reminders.audience_of(stage, said=due.said)
        asked = (due.owner_id, due.backup_owner_id) if audience.key_owners else ()
        people = {each for each in asked if each is not None and each in roles}
        if audience.tenant_owners or (audience.key_owners and not people):
            people = people | owners
        if people:
            yield Announcement(
                kind=_KINDS[due.deadline][stage < 0],
                subject=_subject_of(due),
                dedupe=f"{due.deadline.value}:{due.subject_id}:{due.due_on}:{stage}",
                facts=_facts_of(due, day),
                recipients=people,
            )


def _subject_of(due: Due) -> Target:
    if due.key_id:
        return Target("key", due.key_id)
    return Target("project" if due.deadline is Deadline.PROJECT else "tenant", due.subject_id)


def _facts_of(due: Due, day: date) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"day": str(due.due_on), "days": abs((due.due_on - day).days)}
    if due.key_id:
        facts |= {"key": due.key, "key_slug": due.key_slug}
    if due.deadline is Deadline.PROJECT:
        facts |= {"project": due.key, "project_slug": due.key_slug}
    if due.deadline is Deadline.GRANT_END:
        facts["consumer"] = due.consumer
    return facts
