"""Taking an invitation back, and what a new role and a removal mean for people; for keys, `keys` adds its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission, Role
from byok_portal.errors import Conflict, NotFound, Refused
from tenants import selectors
from tenants.models import Invitation, Membership, User

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor


@operation(
    "invitation.withdraw",
    permission=Permission.MEMBER_INVITE,
    events=("invitation.withdrawn",),
    page="tenants:invitation-withdraw",
    api=Absent("people are invited by people, in the web UI"),
)
def withdraw(*, actor: Actor, invitation_id: UUID) -> Invitation:
    """Make an open invitation's link worthless. Raises NotFound, Conflict when it was used or is over."""
    invitation = Invitation.objects.lock().filter(id=invitation_id).first()
    if invitation is None:
        raise NotFound
    if invitation.used_at is not None or invitation.expires_at <= timezone.now():
        message = "The invitation was used, withdrawn or is over."
        raise Conflict(message, code="invitation_over")
    invitation.used_at = timezone.now()
    invitation.save(update_fields=["used_at"])
    append(actor=actor, action="invitation.withdrawn", target=Target("person", invitation.user_id))
    return invitation


def set_role(*, actor: Actor, membership_id: UUID, role: Role) -> Membership:
    """Give a member another role, at once; part of `member.change_role`.

    Raises NotFound, Refused for the last owner, Conflict when it is the same role.
    """
    membership = lock_member(membership_id)
    if membership.role == role:
        message = "The member has this role already."
        raise Conflict(message, code="same_role")
    refuse_last_owner(membership)
    before, membership.role = membership.role, role
    membership.save(update_fields=["role"])
    append(
        actor=actor,
        action="member.role_changed",
        target=Target("person", membership.user_id),
        detail={"role": role.value, "before": before},
    )
    return membership


def deactivate(*, actor: Actor, membership_id: UUID, note: str) -> Membership:
    """End a membership and the person's open invitations; part of `member.remove`.

    Raises NotFound, Conflict for one that has ended, Refused for the last owner.
    """
    membership = lock_member(membership_id)
    refuse_last_owner(membership)
    membership.is_active = False
    membership.save(update_fields=["is_active"])
    Invitation.objects.filter(user_id=membership.user_id, used_at=None).update(used_at=timezone.now())
    append(
        actor=actor,
        action="member.removed",
        target=Target("person", membership.user_id),
        detail={"role": membership.role},
        private={"note": note},
    )
    return membership


def end_sessions(user_id: UUID) -> int | None:
    """Sign a person out everywhere who belongs nowhere any more. Returns how many sessions ended.

    None: they belong to another tenant or to the staff, and what they may see was decided anew on each page anyhow.
    """
    if selectors.list_places(user_id) or User.objects.filter(pk=user_id, is_staff=True).exists():
        return None
    live = Session.objects.filter(expire_date__gt=timezone.now())
    # A session's row does not say whose it is.
    own = [row.pk for row in live.iterator(chunk_size=500) if row.get_decoded().get(SESSION_KEY) == str(user_id)]
    Session.objects.filter(pk__in=own).delete()
    return len(own)


def lock_member(membership_id: UUID) -> Membership:
    """An active membership, locked with its tenant: two owners cannot remove each other at the same moment."""
    selectors.lock_tenant()
    membership = Membership.objects.lock().select_related("user").filter(id=membership_id).first()
    if membership is None:
        raise NotFound
    if not membership.is_active:
        message = "This person is not a member any more."
        raise Conflict(message, code="not_a_member")
    return membership


def refuse_last_owner(membership: Membership) -> None:
    """Raises Refused when nobody else could act for the tenant."""
    if membership.role != Role.OWNER:
        return
    others = Membership.objects.filter(role=Role.OWNER, is_active=True, user__is_active=True)
    if not others.exclude(id=membership.id).exists():
        message = "This is the last owner of the tenant. Make somebody else an owner first."
        raise Refused(message, code="last_owner")
