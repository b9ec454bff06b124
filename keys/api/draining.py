"""The API door of the second half of a rotation: who still uses the old version, its end, its return, its rehearsal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView
from byok_portal.boundary.changing import ChangeView, view_of
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import describe
from byok_portal.errors import NotFound
from keys import selectors, usage
from keys.api.serializers import VersionBody
from keys.services import draining

if TYPE_CHECKING:
    from rest_framework.request import Request


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


class DrainChange(ChangeView):
    """Base of the changes of a draining version: they answer with the version."""

    answers = VersionBody

    def find(self, **where: Any) -> dict[str, Any]:
        return {"key_id": selectors.get_key(where["key"]).id, "number": where["number"]}


KeyVersionRevoke = view_of(DrainChange, "key_finish_rotation", draining.finish, FinishBody)
KeyVersionRollBack = view_of(DrainChange, "key_roll_back", draining.roll_back, RollBackBody)
KeyVersionBrownout = view_of(DrainChange, "key_brownout", draining.brownout, BrownoutBody)
KeyVersionBrownoutEnd = view_of(DrainChange, "key_end_brownout", draining.end_brownout, NothingBody)
