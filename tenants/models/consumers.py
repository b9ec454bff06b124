"""Consumers, the workloads that use keys, and their bearer tokens."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from tenants.base import TenantModel, tenant_link
from tenants.models.people import SLUG


class ConsumerKind(models.TextChoices):
    """What kind of workload it is."""

    SERVICE = "service", "Service"
    AGENT = "agent", "Agent"
    VENDOR = "vendor", "Vendor"


class Consumer(TenantModel):
    """A workload that uses keys of one tenant. The platform's own systems are registered once per tenant."""

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        ENDED = "ended", "Ended"

    slug = models.CharField(max_length=60, validators=[SLUG])
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=10, choices=ConsumerKind.choices, default=ConsumerKind.SERVICE)
    environment = models.CharField(max_length=12)
    operated_by = models.CharField(
        max_length=10, choices=[("platform", "The platform"), ("tenant", "The tenant")], default="tenant"
    )
    contact = models.EmailField(blank=True)
    project = tenant_link("tenants.Project", null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ACTIVE)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="tenants_consumer_slug"),
            models.CheckConstraint(condition=models.Q(state__in=["active", "ended"]), name="tenants_consumer_state"),
        ]

    def __str__(self) -> str:
        return self.name


class ConsumerToken(TenantModel):
    """One bearer token of a consumer: digest, prefix and last four are kept, the token itself is shown once."""

    consumer = tenant_link("tenants.Consumer")
    digest = models.BinaryField(max_length=32)
    prefix = models.CharField(max_length=20)
    last_four = models.CharField(max_length=4)
    scopes = ArrayField(models.CharField(max_length=40), help_text="API permissions such as key:use.")
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "digest"], name="tenants_token_once")]
        indexes: ClassVar = [
            models.Index(fields=["digest"], name="tenants_token_digest"),
            models.Index(fields=["tenant", "consumer"], name="tenants_token_consumer"),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last_four}"
