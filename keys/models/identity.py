"""Providers, keys, their versions, sealed material and proofs, and tenants' data keys."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from byok_portal.boundary.identifiers import new_id
from keys.models.words import choices_of, state_check
from keys.states import ClockReason, Custody, DataKeyState, Environment, KeyState, RevocationReason, VersionState
from tenants.base import TenantModel, tenant_link
from tenants.models import SLUG


class UpstreamStatus(models.TextChoices):
    """What the provider said when we last looked. Not our state."""

    UNKNOWN = "unknown", "Not checked"
    VALID = "valid", "Valid"
    INVALID = "invalid", "Invalid"
    UNREACHABLE = "unreachable", "Unreachable"
    REVOKED_CONFIRMED = "revoked_confirmed", "Confirmed dead"


class Exposure(models.TextChoices):
    """Whether strangers may know the material."""

    NONE = "none", "None"
    SUSPECTED = "suspected", "Suspected"
    CONFIRMED = "confirmed", "Confirmed"


class Provider(models.Model):
    """A service that a key opens. From the catalogue files, or added by staff; the document is the whole entry."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.CharField(max_length=60, unique=True, validators=[SLUG])
    name = models.CharField(max_length=80)
    source = models.CharField(max_length=10, choices=[("catalogue", "Catalogue"), ("staff", "Added by staff")])
    document = models.JSONField()
    digest = models.CharField(max_length=64)
    is_enabled = models.BooleanField(default=True)
    allow_private_networks = models.BooleanField(
        default=False,
        help_text="Let keys of this provider point at private addresses. Link-local is always refused.",
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class TenantKey(TenantModel):
    """A data key of the tenant, wrapped. Shredding it makes everything sealed under it unreadable."""

    class Purpose(models.TextChoices):
        SECRET = "secret", "Credentials"
        FINGERPRINT = "fingerprint", "Fingerprints"

    purpose = models.CharField(max_length=12, choices=Purpose.choices)
    version = models.PositiveIntegerField()
    wrapper = models.CharField(max_length=20)
    kek_ref = models.CharField(max_length=200)
    wrapped = models.BinaryField(null=True)
    kcv = models.BinaryField(max_length=32)
    state = models.CharField(max_length=10, choices=choices_of(DataKeyState), default=DataKeyState.ACTIVE)
    shredded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "purpose", "version"], name="keys_tenantkey_once"),
            models.UniqueConstraint(
                fields=["tenant", "purpose"],
                condition=models.Q(state="active"),
                name="keys_tenantkey_one_active",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="shredded") | models.Q(wrapped__isnull=True),
                name="keys_tenantkey_shredded",
            ),
            state_check(DataKeyState, "keys_tenantkey_state"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} v{self.version} ({self.state})"


class Key(TenantModel):
    """The stable non-human identity. Survives rotation; its scopes bound every grant and every call."""

    slug = models.CharField(max_length=60, validators=[SLUG])
    name = models.CharField(max_length=80)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    endpoint = models.CharField(max_length=300)
    parameters = models.JSONField(default=dict)
    environment = models.CharField(max_length=12, choices=choices_of(Environment))
    custody = models.CharField(max_length=12, choices=choices_of(Custody), default=Custody.SEALED)
    purpose = models.CharField(max_length=300)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    backup_owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_constraint=False, related_name="+", null=True
    )
    ends_on = models.DateField()
    project = tenant_link("tenants.Project", null=True)
    scopes = ArrayField(models.CharField(max_length=60))
    justification = models.CharField(max_length=500, blank=True, help_text="Why critical scopes are needed.")
    state = models.CharField(max_length=12, choices=choices_of(KeyState), default=KeyState.PENDING)
    account_id = models.CharField(max_length=300, blank=True, help_text="The proven upstream account.")
    account_label = models.CharField(max_length=300, blank=True)
    registered_by_id = models.UUIDField()
    next_version = models.PositiveIntegerField(default=1)
    suspends_at = models.DateTimeField(
        null=True, blank=True, help_text="When the clock suspends it: uses are refused from then, job or no job."
    )
    suspends_for = models.CharField(max_length=30, blank=True, choices=choices_of(ClockReason))
    rotation_due_at = models.DateTimeField(
        null=True, blank=True, help_text="When its policy wants another version; kept with every change of either."
    )
    recertify_due_at = models.DateTimeField(
        null=True, blank=True, help_text="When its policy wants an owner to confirm it again; kept as the one above."
    )
    is_canary = models.BooleanField(
        default=False, db_default=False, help_text="Nobody has a reason to use it: any use outside a drill is an alarm."
    )
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="keys_key_slug"),
            models.CheckConstraint(condition=~models.Q(owner=models.F("backup_owner")), name="keys_key_two_owners"),
            models.CheckConstraint(
                condition=models.Q(suspends_at__isnull=True) | ~models.Q(suspends_for=""), name="keys_key_clock"
            ),
            state_check(KeyState, "keys_key_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="keys_key_recent"),
            models.Index(fields=["-created_at", "-id"], name="keys_key_newest"),
            models.Index(
                fields=["tenant", "project"], condition=models.Q(project__isnull=False), name="keys_key_project"
            ),
            # What the clock asks for every minute, over all tenants.
            models.Index(fields=["suspends_at"], condition=models.Q(state="active"), name="keys_key_suspends"),
            models.Index(
                fields=["ends_on"], condition=models.Q(state__in=["active", "suspended"]), name="keys_key_ends"
            ),
            models.Index(
                fields=["recertify_due_at"],
                condition=models.Q(state__in=["active", "suspended"]),
                name="keys_key_recertify",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class KeyVersion(TenantModel):
    """One piece of material with its state. At most one is current, at most one more drains."""

    key = tenant_link("keys.Key", related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=choices_of(VersionState), default=VersionState.REGISTERED)
    hint = models.CharField(max_length=4, blank=True, help_text="Last four characters of long credentials.")
    fingerprint = models.BinaryField(max_length=32)
    global_fingerprint = models.BinaryField(max_length=32)
    dek_version = models.PositiveIntegerField()
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When the provider lets it expire.")
    verified_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    drain_until = models.DateTimeField(null=True, blank=True)
    dark_from = models.DateTimeField(null=True, blank=True, help_text="Start of a brownout of the draining version.")
    dark_until = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=30, blank=True, choices=choices_of(RevocationReason))
    was_compromised = models.BooleanField(default=False)
    exposure = models.CharField(max_length=10, choices=Exposure.choices, default=Exposure.NONE)
    upstream_status = models.CharField(max_length=20, choices=UpstreamStatus.choices, default=UpstreamStatus.UNKNOWN)
    upstream_checked_at = models.DateTimeField(null=True, blank=True)
    upstream_note = models.CharField(max_length=300, blank=True)
    revoke_evidence = models.JSONField(
        default=dict, help_text="What the revocation left behind, for the look after it."
    )
    revoke_called_at = models.DateTimeField(
        null=True, blank=True, help_text="Set before the provider is told to revoke, so a crash is noticed."
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "key", "number"], name="keys_version_number"),
            models.UniqueConstraint(
                fields=["tenant", "key"],
                condition=models.Q(state__in=["active", "suspended"]),
                name="keys_version_one_current",
            ),
            models.UniqueConstraint(
                fields=["tenant", "key"],
                condition=models.Q(state="superseded"),
                name="keys_version_one_draining",
            ),
            # A destroyed version's secret may come back, unless it was compromised: that one never does.
            models.UniqueConstraint(
                fields=["tenant", "fingerprint"],
                condition=~models.Q(state="destroyed") | models.Q(was_compromised=True),
                name="keys_version_fingerprint",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="superseded") | models.Q(drain_until__isnull=False),
                name="keys_version_drains",
            ),
            models.CheckConstraint(
                condition=models.Q(dark_from__isnull=True, dark_until__isnull=True)
                | models.Q(dark_until__gt=models.F("dark_from")),
                name="keys_version_brownout",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["revoked", "compromised"]) | ~models.Q(end_reason=""),
                name="keys_version_reason",
            ),
            state_check(VersionState, "keys_version_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["global_fingerprint"], name="keys_version_across"),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(state__in=["active", "suspended"]),
                name="keys_version_expires",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number} ({self.state})"


class Material(TenantModel):
    """The sealed credential of one version. Deleted when the version is destroyed."""

    version = tenant_link("keys.KeyVersion")
    blob = models.BinaryField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "version"], name="keys_material_once")]

    def __str__(self) -> str:
        return f"material of {self.version_id}"


class Proof(TenantModel):
    """Evidence that the registrant controls the credential, and what it can do beyond what was chosen."""

    key = tenant_link("keys.Key")
    version = tenant_link("keys.KeyVersion")
    challenge = models.CharField(
        max_length=64, help_text="Sent in the probe's user agent: findable in the provider's log."
    )
    method = models.CharField(max_length=40)
    account_id = models.CharField(max_length=300)
    account_label = models.CharField(max_length=300, blank=True)
    evidence = models.JSONField(default=dict)
    effective_scopes = ArrayField(models.CharField(max_length=60), null=True)
    missing = ArrayField(models.CharField(max_length=60), default=list)
    excess = models.JSONField(default=list)
    expires_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["tenant", "key", "-created_at"], name="keys_proof_key"),
            models.Index(fields=["-created_at", "-id"], name="keys_proof_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.method} of {self.account_label or self.account_id}"
