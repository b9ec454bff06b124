"""People, tenants, and who belongs where: memberships and invitations."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.permissions import Role
from tenants.base import TenantModel
from tenants.states import TenantState

SLUG = RegexValidator(r"^[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?$", "Use small letters, digits and inner hyphens.")


class UserManager(BaseUserManager["User"]):
    """People are created by invitation or, for staff, by `manage.py createsuperuser --database owner`."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)  # None: no password works until the invitation is accepted
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Signs in with an e-mail address; what they may do comes from memberships, or from `is_staff`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_staff = models.BooleanField(default=False, help_text="Platform staff: may use the staff admin.")
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(Lower("email"), name="tenants_user_email_once")]

    def __str__(self) -> str:
        return self.name or self.email


class Tenant(models.Model):
    """The customer organisation. Its state is checked in every use, so leaving `active` stops all keys at once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.CharField(max_length=60, unique=True, validators=[SLUG])
    name = models.CharField(max_length=120)
    state = models.CharField(max_length=12, default=TenantState.ONBOARDING)
    contract_ends_on = models.DateField(null=True, blank=True)
    ends_automatically = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Its owners agree that the end of the contract, or of a project, starts the offboarding by itself.",
    )
    heartbeat_on = models.DateField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(state__in=[state.value for state in TenantState]),
                name="tenants_tenant_state",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Membership(TenantModel):
    """A person's role in one tenant."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    role = models.CharField(max_length=12, choices=[(role.value, role.value.title()) for role in Role])
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "user"], name="tenants_membership_once")]

    def __str__(self) -> str:
        return f"{self.user_id} as {self.role}"


class Invitation(TenantModel):
    """A single-use link that lets a person set a password and join. Only its digest is stored."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    role = models.CharField(max_length=12, choices=[(role.value, role.value.title()) for role in Role])
    digest = models.BinaryField(max_length=32)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "digest"], name="tenants_invitation_once")]
        indexes: ClassVar = [models.Index(fields=["digest"], name="tenants_invitation_digest")]

    def __str__(self) -> str:
        return f"invitation of {self.user_id}"
