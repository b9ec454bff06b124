"""Shapes of the API's bodies for tenants and consumers. Types and presence only; the rules are in the services."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from byok_portal.boundary.permissions import TOKEN_PERMISSIONS
from tenants.models import Consumer, ConsumerKind, ConsumerToken, Tenant
from tenants.states import Environment


class TenantBody(serializers.ModelSerializer[Tenant]):
    """The tenant that the token opens."""

    class Meta:
        model = Tenant
        fields = ("id", "slug", "name", "state", "contract_ends_on", "ends_automatically", "created_at")


class ConsumerBody(serializers.ModelSerializer[Consumer]):
    """A consumer; its tokens are never shown."""

    contact = serializers.CharField(read_only=True)
    project = serializers.UUIDField(source="project_id", allow_null=True, read_only=True)

    class Meta:
        model = Consumer
        fields = (
            "id",
            "slug",
            "name",
            "kind",
            "environment",
            "operated_by",
            "contact",
            "project",
            "state",
            "created_at",
            "ended_at",
        )


class RegisterConsumerBody(serializers.Serializer[Any]):
    """What a new consumer needs."""

    name = serializers.CharField(max_length=120)
    kind = serializers.ChoiceField(choices=ConsumerKind.choices, default="service")
    environment = serializers.ChoiceField(choices=[(word.value, word.value.capitalize()) for word in Environment])
    contact = serializers.EmailField(required=False, default="")
    project = serializers.CharField(max_length=60, required=False, default="", allow_blank=True)


class IssueTokenBody(serializers.Serializer[Any]):
    """What a new token may do, and for how long."""

    days = serializers.IntegerField(min_value=1, max_value=366)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(scope.value for scope in TOKEN_PERMISSIONS)),
        default=lambda: ["key:use"],
        min_length=1,
    )


class TokenBody(serializers.ModelSerializer[ConsumerToken]):
    """A token's metadata."""

    class Meta:
        model = ConsumerToken
        fields = ("id", "prefix", "last_four", "scopes", "expires_at", "revoked_at", "created_at")


class IssuedTokenBody(TokenBody):
    """A new token; `token` is in this one answer and nowhere else."""

    token = serializers.CharField(read_only=True)

    class Meta(TokenBody.Meta):
        fields = (*TokenBody.Meta.fields, "token")  # type: ignore[assignment]


class ReasonBody(serializers.Serializer[Any]):
    """Why something ends."""

    reason = serializers.CharField(max_length=40)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class EndConsumerBody(ReasonBody):
    """Why it ends; the slug and the plan's digest where a plan was read, to be refused when it has changed."""

    confirmation = serializers.CharField(max_length=120, required=False, allow_null=True, default=None)
    digest = serializers.CharField(max_length=64, required=False, allow_null=True, default=None)


class OffboardingStepBody(serializers.Serializer[Any]):
    """One step of an offboarding. A `residual` one is left to people, as `instruction` says, until it is `settled`."""

    position = serializers.IntegerField()
    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field of that name
    state = serializers.CharField()
    attempts = serializers.IntegerField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField()
    instruction = serializers.CharField()
    settled_at = serializers.DateTimeField(allow_null=True)
    settled_note = serializers.CharField()
