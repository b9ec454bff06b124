"""Shapes of the API's bodies for keys. A secret goes in and never comes out, but for the answer of an allowed lease."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from keys.models import Grant, Key, KeyVersion, Proof, Provider
from keys.states import Delivery, Environment

MAX_SECRET = 64 * 1024


class ProviderBody(serializers.ModelSerializer[Provider]):
    """A provider of the catalogue, in short."""

    class Meta:
        model = Provider
        fields = ("slug", "name", "source", "is_enabled")


class ProviderDetailBody(ProviderBody):
    """A provider with its whole entry: scopes, presets, call patterns, rotation class."""

    document = serializers.JSONField()

    class Meta(ProviderBody.Meta):
        fields = (*ProviderBody.Meta.fields, "document")  # type: ignore[assignment]


class KeyBody(serializers.ModelSerializer[Key]):
    """A key: everything but its secret."""

    provider = serializers.SlugRelatedField[Provider](slug_field="slug", read_only=True)
    owner = serializers.UUIDField(source="owner_id")
    backup_owner = serializers.UUIDField(source="backup_owner_id", allow_null=True)
    project = serializers.UUIDField(source="project_id", allow_null=True)

    class Meta:
        model = Key
        fields = (
            "id",
            "slug",
            "name",
            "provider",
            "endpoint",
            "parameters",
            "environment",
            "custody",
            "purpose",
            "owner",
            "backup_owner",
            "project",
            "ends_on",
            "scopes",
            "state",
            "suspends_at",
            "suspends_for",
            "rotation_due_at",
            "account_label",
            "created_at",
            "ended_at",
        )


class VersionBody(serializers.ModelSerializer[KeyVersion]):
    """A version's metadata. `state` is ours; `upstream_status` is what the provider answered when we last looked."""

    class Meta:
        model = KeyVersion
        fields = (
            "number",
            "state",
            "hint",
            "expires_at",
            "verified_at",
            "activated_at",
            "drain_until",
            "dark_from",
            "dark_until",
            "ended_at",
            "end_reason",
            "exposure",
            "upstream_status",
            "upstream_checked_at",
            "upstream_note",
            "created_at",
        )


class ProofBody(serializers.ModelSerializer[Proof]):
    """Evidence of control, with what the credential can do beyond what was chosen."""

    class Meta:
        model = Proof
        fields = (
            "id",
            "challenge",
            "method",
            "account_id",
            "account_label",
            "evidence",
            "effective_scopes",
            "missing",
            "excess",
            "created_at",
            "expires_at",
        )


class RegisterKeyBody(serializers.Serializer[Any]):
    """What a registration needs; the secret is proven before anything is stored."""

    provider = serializers.CharField(max_length=60)
    name = serializers.CharField(max_length=80)
    environment = serializers.CharField(max_length=20)
    custody = serializers.CharField(max_length=20, default="sealed")
    purpose = serializers.CharField(max_length=300)
    owner = serializers.CharField(max_length=60)
    backup_owner = serializers.CharField(max_length=60)
    ends_on = serializers.DateField()
    scopes = serializers.ListField(child=serializers.CharField(max_length=60), min_length=1, max_length=100)
    endpoint = serializers.CharField(max_length=300, required=False, default="", allow_blank=True)
    parameters = serializers.DictField(child=serializers.CharField(allow_blank=True, max_length=300), default=dict)
    justification = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)
    project = serializers.CharField(max_length=60, required=False, default="", allow_blank=True)
    secret = serializers.CharField(max_length=MAX_SECRET, trim_whitespace=False, write_only=True)


class RegisteredBody(serializers.Serializer[Any]):
    """A registered and proven key; activate it to make it usable."""

    key = KeyBody()
    version = VersionBody()
    proof = ProofBody()


class RotateBody(serializers.Serializer[Any]):
    """A successor's secret and how long the old version drains."""

    secret = serializers.CharField(max_length=MAX_SECRET, trim_whitespace=False, write_only=True)
    drain_hours = serializers.IntegerField(min_value=0, max_value=720)
    accept_excess = serializers.BooleanField(default=False)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class RotateAssistedBody(serializers.Serializer[Any]):
    """A rotation whose successor the provider makes. `replaces`: the version that the caller takes for current.

    Sent again with the same `replaces`, it is refused when it was done: the same request twice is one rotation.
    """

    drain_hours = serializers.IntegerField(min_value=0, max_value=720)
    replaces = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False, allow_null=True)
    accept_excess = serializers.BooleanField(default=False)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class ActivateBody(serializers.Serializer[Any]):
    """Accepting, with a reason, what the credential can do beyond the chosen scopes."""

    accept_excess = serializers.BooleanField(default=False)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class NoteBody(serializers.Serializer[Any]):
    """A note for the record."""

    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class HandOverBody(NoteBody):
    """The two people who answer for the key, by id."""

    owner = serializers.CharField(max_length=60)
    backup_owner = serializers.CharField(max_length=60)


class QuarantineBody(NoteBody):
    """What is known; uses from `suspected_since` on are looked at, without it from now."""

    suspected_since = serializers.DateTimeField(required=False, allow_null=True)


class CompromiseBody(QuarantineBody):
    """Why the key counts as exposed."""

    reason = serializers.CharField(max_length=40, default="key_compromise")


class WindowBody(serializers.Serializer[Any]):
    """Weekly hours in UTC; Monday is 0. An end before the start runs past midnight."""

    days = serializers.ListField(child=serializers.IntegerField(min_value=0, max_value=6), min_length=1, max_length=7)
    start_minute = serializers.IntegerField(min_value=0, max_value=1440)
    end_minute = serializers.IntegerField(min_value=0, max_value=1440)


class GrantBody(serializers.ModelSerializer[Grant]):
    """A consumer's right on a key."""

    key = serializers.UUIDField(source="key_id")
    consumer = serializers.UUIDField(source="consumer_id")
    window = WindowBody(allow_null=True, read_only=True)

    class Meta:
        model = Grant
        fields = (
            "id",
            "key",
            "consumer",
            "scopes",
            "deliveries",
            "networks",
            "window",
            "rate_per_minute",
            "starts_at",
            "expires_at",
            "state",
            "reason",
            "created_at",
            "ended_at",
            "end_reason",
        )


class CreateGrantBody(serializers.Serializer[Any]):
    """What a grant needs."""

    consumer = serializers.CharField(max_length=60)
    scopes = serializers.ListField(child=serializers.CharField(max_length=60), min_length=1, max_length=100)
    deliveries = serializers.ListField(
        child=serializers.ChoiceField(choices=[(word.value, word.value) for word in Delivery]),
        default=lambda: ["decision"],
        min_length=1,
        max_length=3,
    )
    days = serializers.IntegerField(min_value=1, max_value=366)
    reason = serializers.CharField(max_length=300)
    networks = serializers.ListField(child=serializers.CharField(max_length=60), default=list, max_length=20)
    rate_per_minute = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False, allow_null=True)
    window = WindowBody(required=False, allow_null=True)


class UseBody(serializers.Serializer[Any]):
    """One use: which scope, what for, and how it should reach the consumer."""

    scope = serializers.CharField(max_length=60)
    purpose = serializers.CharField(max_length=200)
    environment = serializers.ChoiceField(
        choices=[(word.value, word.value.capitalize()) for word in Environment],
        required=False,
        allow_null=True,
    )
    delivery = serializers.ChoiceField(
        choices=[("decision", "decision"), ("lease", "lease")], default=Delivery.DECISION.value
    )
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False, allow_null=True)


class LeaseBody(serializers.Serializer[Any]):
    """The plaintext of a lease. Do not store it; it is worth nothing after `expires_at`."""

    secret = serializers.CharField()
    expires_at = serializers.DateTimeField()


class UsedBody(serializers.Serializer[Any]):
    """An allowed use. A denied one is a problem with its own code."""

    allowed = serializers.BooleanField()
    code = serializers.CharField()
    audit_id = serializers.UUIDField()
    key = serializers.UUIDField()
    version = serializers.IntegerField()
    lease = LeaseBody(required=False)


class IntrospectBody(serializers.Serializer[Any]):
    """The credential that was presented to the asking service."""

    token = serializers.CharField(max_length=MAX_SECRET, trim_whitespace=False, write_only=True)


class IntrospectedBody(serializers.Serializer[Any]):
    """RFC 7662 shape; nothing but `active` when the credential is not a live key of the tenant."""

    active = serializers.BooleanField()
    key = serializers.UUIDField(required=False)
    scope = serializers.CharField(required=False)
    environment = serializers.CharField(required=False)
    exp = serializers.IntegerField(required=False)
