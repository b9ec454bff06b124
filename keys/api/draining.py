"""The API door of the second half of a rotation: who still uses the old version, its end, its return, its rehearsal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, WRITES, describe
from byok_portal.errors import NotFound
from keys import selectors, usage
from keys.api.serializers import VersionBody
from keys.services import draining
from tenants.api.views import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

    from keys.models import Key, KeyVersion


class NothingBody(serializers.Serializer[Any]):
    """No field."""


class FinishBody(serializers.Serializer[Any]):
    """Ending a version that is still in use takes `force` and a reason."""

    force = serializers.BooleanField(default=False)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class RollBackBody(serializers.Serializer[Any]):
    """Why the successor goes."""

    note = serializers.CharField(max_length=500)


class BrownoutBody(serializers.Serializer[Any]):
    """How long the version is off, and from when; now, without `starts_at`."""

    minutes = serializers.IntegerField(min_value=1, max_value=draining.MAX_BROWNOUT_MINUTES)
    starts_at = serializers.DateTimeField(required=False, allow_null=True)


class VersionUserBody(serializers.Serializer[Any]):
    """A consumer of the old version: `still` on it, `silent` since the rotation, or `moved` on."""

    consumer = serializers.UUIDField(source="consumer_id")
    name = serializers.CharField()
    last_at = serializers.DateTimeField()
    standing = serializers.ChoiceField(choices=[word.value for word in usage.Standing])


class RefusedBody(serializers.Serializer[Any]):
    """A consumer that the last brownout refused."""

    consumer = serializers.UUIDField(source="consumer_id")
    name = serializers.CharField()
    times = serializers.IntegerField()
    last_at = serializers.DateTimeField()


class VersionUsersBody(serializers.Serializer[Any]):
    """Who used a draining version, at most a minute behind, and whom its last brownout refused."""

    users = VersionUserBody(many=True)
    refused = RefusedBody(many=True)


class KeyVersionUsers(PortalView):
    """Where the consumers of a draining version are."""

    reads = Permission.KEY_READ

    @describe("key_version_users", answer=VersionUsersBody)
    def get(self, request: Request, tenant: str, key: str, number: int) -> Response:
        version = selectors.list_versions(selectors.get_key(key).id).filter(number=number).first()
        if version is None:
            raise NotFound
        found = {"users": usage.list_users(version), "refused": usage.list_refused(version)}
        return Response(VersionUsersBody(found).data)


class DrainChange(PortalView):
    """Base of the changes of a draining version: parse the body, call the operation, answer with the version."""

    body: type[Any]
    change: Callable[..., KeyVersion]

    def run(self, request: Request, key: str, number: int) -> Response:
        """Call the operation once per Idempotency-Key."""
        change = type(self).change

        def call() -> Response:
            values = parse(self.body, request)
            found: Key = self.read(selectors.get_key, key)
            return Response(VersionBody(change(actor=self.actor, key_id=found.id, number=number, **values)).data)

        return self.once(call)


def _change(name: str, operation: Callable[..., KeyVersion], body: type[Any]) -> type[DrainChange]:
    """A view for one operation on a draining version: they differ in nothing but this."""

    @describe(name, request=body, answer=VersionBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self: DrainChange, request: Request, tenant: str, key: str, number: int) -> Response:  # noqa: ARG001
        return self.run(request, key, number)

    members = {"post": post, "body": body, "change": staticmethod(operation), "__doc__": operation.__doc__}
    return type(name.title().replace("_", ""), (DrainChange,), members)


KeyVersionRevoke = _change("key_finish_rotation", draining.finish, FinishBody)
KeyVersionRollBack = _change("key_roll_back", draining.roll_back, RollBackBody)
KeyVersionBrownout = _change("key_brownout", draining.brownout, BrownoutBody)
KeyVersionBrownoutEnd = _change("key_end_brownout", draining.end_brownout, NothingBody)
