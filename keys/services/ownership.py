"""Who answers for a key: removing a member opens hand-overs for its keys, and naming successors closes them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Min, Q
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import operations
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission, Role
from byok_portal.errors import Conflict, InvalidInput, Refused
from keys import endings, selectors
from keys.models import HandOver, Key
from keys.services import announcing, clocks, runs
from keys.services.drafts import find_person
from keys.states import HandOverState, RevocationReason
from tenants import rules
from tenants.models import ConsumerToken, Membership, OffboardingStep
from tenants.services import departures
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor


@operation(
    "member.remove",
    permission=Permission.MEMBER_REMOVE,
    events=("member.removed", "key.hand_over_opened"),
    page="keys:member-remove",
    api=Absent("people are managed by people, in the web UI"),
)
def remove_member(
    *,
    actor: Actor,
    membership_id: UUID,
    note: str = "",
    confirmation: str | None = None,
    digest: str | None = None,
) -> Membership:
    """End a membership at once and open a hand-over for each key that the person answered for, in one commit.

    A key whose owner leaves goes to its backup owner; it is due for rotation, because the person could have seen the
    credential. A run keeps that, what a worker ends afterwards, and tokens that the person saw. Raises NotFound,
    Conflict when it has ended or the plan has changed, Refused for the last owner of the tenant.
    """
    text = rules.require_text(note, field="note", maximum=500, required=False)
    membership = departures.lock_member(membership_id)
    person = membership.user_id
    if confirmation is not None:
        runs.require_confirmation(confirmation, str(membership.user), what="person's name")
    runs.refuse_changed(SubjectKind.OWNER, person, digest)
    counts, seen = endings.count(SubjectKind.OWNER, person), endings.list_issued(person)
    reason = RevocationReason.AFFILIATION_CHANGED.value
    with operations.receipts() as events:
        membership = departures.deactivate(actor=actor, membership_id=membership_id, note=text)
        # The note is about a person: it stays on the erasable side of the log.
        run = runs.open_run(actor, SubjectKind.OWNER, person, reason=reason, digest=digest)
        done = [_step("end_membership", membership.id, "End the membership", [events[0]])]
        for key_id in list_owned(person):
            key = selectors.lock_key(key_id)
            _open_hand_over(actor, key, person)
            done.append(_step("hand_over_key", key.id, f"Hand {key.name} over, to be rotated", [events[-1]]))
    runs.add_settled(run, [*done, *map(_replace_token, seen)])
    runs.finish_planning(run, [events[0]], counts)
    return membership


def _step(kind: str, subject_id: UUID, label: str, events: list[UUID]) -> dict[str, Any]:
    return {"kind": kind, "subject_id": subject_id, "label": label, "event_ids": events}


def _replace_token(token: ConsumerToken) -> dict[str, Any]:
    """Left to people: ending it now would break a consumer that nobody meant to end."""
    return {
        "kind": "replace_token",
        "subject_id": token.id,
        "label": f"Replace the token …{token.last_four} of {token.consumer.name}",
        "state": OffboardingStep.State.RESIDUAL,
        "instruction": "Issue the consumer another token, move it over, then end this one.",
        "note": "The person saw this token when it was issued.",
    }


@operation(
    "member.change_role",
    permission=Permission.MEMBER_REMOVE,
    events=("member.role_changed",),
    page="keys:member-role",
    api=Absent("people are managed by people, in the web UI"),
)
def change_role(*, actor: Actor, membership_id: UUID, role: str) -> Membership:
    """Give a member another role, at once.

    Raises NotFound, Conflict when it is the same role, Refused for the last owner and for an auditor-to-be who still
    answers for keys.
    """
    chosen = Role(rules.require_choice(role, [word.value for word in Role], field="role"))
    membership = departures.set_role(actor=actor, membership_id=membership_id, role=chosen)
    owned = list_owned(membership.user_id) if chosen == Role.AUDITOR else []
    if owned:
        message = f"This person answers for {len(owned)} keys, and an auditor cannot act. Hand them over first."
        raise Refused(message, code="owns_keys", field="role")
    return membership


@operation(
    "key.hand_over",
    permission=Permission.KEY_HAND_OVER,
    events=("key.handed_over",),
    page="keys:hand-over",
    api="api:key-hand-over",
)
def hand_over(*, actor: Actor, key_id: UUID, owner: str, backup_owner: str, note: str = "") -> Key:
    """Name both owners of a key; open hand-overs of it close. Raises InvalidInput for people who cannot own it,
    Conflict when it has ended or nothing changes.
    """
    text = rules.require_text(note, field="note", maximum=500, required=False)
    key = selectors.lock_key(key_id)
    if key.state in selectors.ENDED_KEYS:
        raise Conflict(f"The key is {key.state}: nobody needs to answer for it.", code="key_state")
    chosen = find_person(owner, "owner"), find_person(backup_owner, "backup_owner")
    if chosen[0] == chosen[1]:
        rule = "Backup owner must be another person than the owner."
        raise InvalidInput(rule, code="same_person", field="backup_owner")
    open_ones = HandOver.objects.filter(key_id=key.id, state=HandOverState.OPEN)
    if chosen == (key.owner_id, key.backup_owner_id) and not open_ones.exists():
        message = "These two answer for the key already."
        raise Conflict(message, code="same_owners")
    key.owner_id, key.backup_owner_id = chosen
    key.save(update_fields=["owner", "backup_owner"])
    closed = open_ones.update(state=HandOverState.CLOSED, closed_at=timezone.now())
    clocks.reset(key)
    append(
        actor=actor,
        action="key.handed_over",
        target=Target("key", key.id),
        detail={"owner": str(chosen[0]), "backup_owner": str(chosen[1]), "closed": closed},
        private={"note": text},
    )
    return key


def find_due(key_ids: Collection[UUID]) -> dict[UUID, datetime]:
    """When the clock suspends these keys because nobody was named: the first open hand-over of each counts."""
    waiting = HandOver.objects.filter(key_id__in=key_ids, state=HandOverState.OPEN)
    return dict(waiting.values("key_id").annotate(first=Min("due_at")).values_list("key_id", "first"))


def list_owned(user_id: UUID) -> list[UUID]:
    """Keys that have not ended and that the person answers for."""
    mine = Key.objects.filter(Q(owner_id=user_id) | Q(backup_owner_id=user_id))
    return list(mine.exclude(state__in=selectors.ENDED_KEYS).order_by("id").values_list("id", flat=True))


def _open_hand_over(actor: Actor, key: Key, leaver_id: UUID) -> None:
    due = timezone.now() + timedelta(days=settings.HAND_OVER_DAYS)
    if key.owner_id == leaver_id:
        key.owner_id = key.backup_owner_id or _stand_in(leaver_id)
    key.backup_owner_id = None
    key.save(update_fields=["owner", "backup_owner"])
    opened = HandOver.objects.create(key=key, leaver_id=leaver_id, due_at=due)
    announcing.tell_hand_over(key, opened)
    clocks.reset(key)
    append(
        actor=actor,
        action="key.hand_over_opened",
        target=Target("key", key.id),
        detail={"leaver": str(leaver_id), "owner": str(key.owner_id), "due": due.date().isoformat()},
    )


def _stand_in(leaver_id: UUID) -> UUID:
    """An owner of the tenant: one is always left."""
    owners = Membership.objects.filter(role=Role.OWNER, is_active=True, user__is_active=True)
    return owners.exclude(user_id=leaver_id).order_by("created_at").values_list("user_id", flat=True)[0]
