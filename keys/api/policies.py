"""The API door of policies: what each layer asks, what is in force, and setting one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, WRITES, describe
from keys import rulebook, selectors
from keys.policies import BOUNDS, Overdue, in_force, to_document
from keys.services import policies

if TYPE_CHECKING:
    from rest_framework.request import Request

    from keys.models import Key

HISTORY = 100


def _number(name: str) -> serializers.IntegerField:
    least, most = BOUNDS[name]
    return serializers.IntegerField(min_value=least, max_value=most, required=False)


class RulesBody(serializers.Serializer[Any]):
    """Rules of one layer; what it leaves out it says nothing about."""

    max_lifetime_days = _number("max_lifetime_days")
    rotation_days = _number("rotation_days")
    max_drain_hours = _number("max_drain_hours")
    dormant_days = _number("dormant_days")
    proof_days = _number("proof_days")
    recertify_days = _number("recertify_days")
    reminder_days = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=365), required=False, min_length=1, max_length=10
    )
    overdue = serializers.ChoiceField(choices=[word.value for word in Overdue], required=False)
    grace_days = _number("grace_days")

    def to_internal_value(self, data: Any) -> Any:
        """As it came: the policy's own rules name each field, the unknown ones too."""
        return data

    def to_representation(self, instance: Any) -> Any:
        return to_document(instance)


class SetPolicyBody(serializers.Serializer[Any]):
    """A whole policy: it replaces the one before it, and calls off what was scheduled."""

    rules = RulesBody()
    starts_at = serializers.DateTimeField(required=False, allow_null=True)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)
    replaces = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, help_text="The edition that was looked at; 409 when it is old."
    )

    accept_suspensions = serializers.BooleanField(
        default=False, help_text="Needed when keys are too old already, and are suspended as soon as it starts."
    )


class EditionBody(serializers.Serializer[Any]):
    """One edition, as it was set."""

    number = serializers.IntegerField()
    starts_at = serializers.DateTimeField()
    set_at = serializers.DateTimeField(source="created_at")
    set_by = serializers.UUIDField(source="set_by_id")
    note = serializers.CharField()
    rules = serializers.JSONField()


class PolicyBody(serializers.Serializer[Any]):
    """What the layers ask now, what holds, and the editions of the last layer, newest first.

    `number` is the newest edition's, which `replaces` takes; 0 without one.
    """

    platform = RulesBody()
    tenant = RulesBody()
    key = RulesBody(allow_null=True)
    in_force = RulesBody()
    number = serializers.IntegerField()
    editions = EditionBody(many=True)


class TenantPolicy(PortalView):
    """The tenant's policy under the platform's."""

    reads = Permission.KEY_READ

    @describe("policy", answer=PolicyBody)
    def get(self, request: Request, tenant: str) -> Response:
        return Response(_answer(None))

    @describe("policy_set", request=SetPolicyBody, answer=PolicyBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def put(self, request: Request, tenant: str) -> Response:
        def call() -> Response:
            policies.set_tenant(actor=self.actor, **parse(SetPolicyBody, request))
            return Response(self.read(_answer, None))

        return self.once(call)


class KeyPolicy(PortalView):
    """What one key asks beyond its tenant's policy."""

    reads = Permission.KEY_READ

    @describe("key_policy", answer=PolicyBody)
    def get(self, request: Request, tenant: str, key: str) -> Response:
        return Response(_answer(selectors.get_key(key)))

    @describe("key_policy_set", request=SetPolicyBody, answer=PolicyBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def put(self, request: Request, tenant: str, key: str) -> Response:
        def call() -> Response:
            found: Key = self.read(selectors.get_key, key)
            policies.set_key(actor=self.actor, key_id=found.id, **parse(SetPolicyBody, request))
            return Response(self.read(_answer, found))

        return self.once(call)


def _answer(key: Key | None) -> dict[str, Any]:
    key_id, now = key.id if key else None, timezone.now()
    book = rulebook.read_book([key.id] if key else ())
    platform, tenant, own = (in_force(layer, now) for layer in book.layers(key_id))
    newest = rulebook.newest_of(book.layers(key_id)[2 if key else 1])
    found = {
        "platform": platform,
        "tenant": tenant,
        "key": own if key else None,
        "in_force": book.policy(key_id, at=now),
        "number": newest.number if newest else 0,
        "editions": rulebook.list_editions(key_id)[:HISTORY],
    }
    return dict(PolicyBody(found).data)
