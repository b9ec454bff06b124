"""The API door of assisted rotation: nobody sends a secret, the provider makes the successor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.response import Response

from byok_portal.boundary.api import PortalView
from byok_portal.boundary.changing import parse
from byok_portal.boundary.schema_api import IDEMPOTENCY, WRITES, describe
from keys import selectors
from keys.api.serializers import RotateAssistedBody, VersionBody
from keys.services import assisted

if TYPE_CHECKING:
    from rest_framework.request import Request


class KeyRotateAssisted(PortalView):
    """Have the provider make the successor of a key's current version."""

    @describe(
        "key_rotate_assisted",
        request=RotateAssistedBody,
        answer=VersionBody,
        status=201,
        problems=(*WRITES, 502),
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str, key: str) -> Response:
        def rotate() -> Response:
            values, found = parse(RotateAssistedBody, request), self.read(selectors.get_key, key)
            version = assisted.rotate(actor=self.actor, key_id=found.id, **values)
            return Response(VersionBody(version).data, status=201)

        return self.once(rotate)
