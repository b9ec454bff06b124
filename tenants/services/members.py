"""Inviting people into a tenant and accepting an invitation."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission, Role
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, InvalidInput, NotFound, Refused
from tenants import rules, selectors
from tenants.models import Invitation, Membership, User
from tenants.states import TenantState

if TYPE_CHECKING:
    from byok_portal.boundary.actors import Actor


@dataclass(frozen=True, slots=True)
class IssuedInvitation:
    """The link's token is shown once, to whoever invited; only its digest is stored."""

    invitation: Invitation
    plaintext: Secret


@operation(
    "member.invite",
    permission=Permission.MEMBER_INVITE,
    events=("member.invited",),
    page="tenants:invite",
    api=Absent("people are invited by people, in the web UI"),
)
def invite(*, actor: Actor, email: str, role: str) -> IssuedInvitation:
    """Invite a person. Raises InvalidInput for a bad address or role, Conflict for a member."""
    checked = rules.require_choice(role, [word.value for word in Role], field="role")
    _require_open()
    if actor.kind is ActorKind.STAFF and _has_owner():
        # Otherwise staff could make themselves members, and through a grant read what they must never see.
        raise Refused("The tenant has an owner, and owners invite its members.", code="owner_invites")
    return add(actor=actor, email=rules.require_email(email, field="email"), role=Role(checked))


def add(*, actor: Actor, email: str, role: Role) -> IssuedInvitation:
    """Create person, inactive membership and invitation; part of `member.invite` and `tenant.open`."""
    user = _get_or_create_user(email)
    membership, _created = Membership.objects.get_or_create(user=user, defaults={"role": role, "is_active": False})
    if membership.is_active:
        raise Conflict("This person is a member already.", code="already_member")
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        user=user,
        role=role,
        digest=digest_of(Secret(token)),
        expires_at=timezone.now() + timedelta(days=settings.INVITATION_DAYS),
    )
    append(
        actor=actor,
        action="member.invited",
        target=Target("person", user.id),
        detail={"role": role.value},
        private={"email": email},
    )
    return IssuedInvitation(invitation, Secret(token))


@operation(
    "member.accept",
    permission=Permission.MEMBER_ACCEPT,
    events=("member.joined", "tenant.activated"),
    page="tenants:invitation",
    api=Absent("people accept invitations in the web UI"),
)
def accept(*, actor: Actor, plaintext: Secret, password: Secret | None, name: str) -> User:
    """Use an invitation once: set the password of a new person, activate the membership.

    The first member makes an onboarding tenant active. Raises NotFound for an unknown, used or expired link and
    InvalidInput for a weak password.
    """
    invitation = Invitation.objects.lock().filter(digest=digest_of(plaintext)).first()
    if invitation is None or not is_open(invitation):
        raise NotFound
    _require_open()
    user = User.objects.get(id=invitation.user_id)
    user.name = rules.require_text(name, field="name", maximum=120, required=False) or user.name
    if not user.has_usable_password():
        _set_password(user, password)
    user.save(update_fields=["name", "password"])
    Invitation.objects.filter(user_id=user.id, used_at=None).update(used_at=timezone.now())
    Membership.objects.filter(user_id=user.id).update(role=invitation.role, is_active=True)
    append(
        actor=actor,
        action="member.joined",
        target=Target("person", user.id),
        detail={"role": invitation.role},
    )
    _activate_tenant(actor)
    return user


def _require_open() -> None:
    state = selectors.lock_tenant().state
    if state not in {TenantState.ONBOARDING, TenantState.ACTIVE}:
        raise Conflict(f"The tenant is {state}; nobody joins it.", code="tenant_not_active")


def _has_owner() -> bool:
    owners = Membership.objects.filter(role=Role.OWNER, is_active=True, user__is_active=True)
    return bool(owners.exists())


def _get_or_create_user(email: str) -> User:
    found = User.objects.filter(email=email).first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            return User.objects.create_user(email)
    except IntegrityError:  # invited twice at the same moment
        return User.objects.get(email=email)


def is_open(invitation: Invitation) -> bool:
    """Whether the link still works."""
    return invitation.used_at is None and invitation.expires_at > timezone.now()


def digest_of(plaintext: Secret) -> bytes:
    """SHA-256: the token has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(plaintext.reveal()).digest()


def _set_password(user: User, password: Secret | None) -> None:
    if not password:
        raise InvalidInput("Password is required.", code="required", field="password")
    try:
        validate_password(password.reveal_text(), user)
    except ValidationError as error:
        raise InvalidInput(" ".join(error.messages), code="weak_password", field="password") from None
    user.set_password(password.reveal_text())


def _activate_tenant(actor: Actor) -> None:
    tenant = selectors.lock_tenant()
    if tenant.state == TenantState.ONBOARDING:
        tenant.state = TenantState.ACTIVE
        tenant.save(update_fields=["state"])
        append(actor=actor, action="tenant.activated", target=Target("tenant", tenant.id))
