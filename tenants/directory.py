"""Answers the doors' questions from before a tenant is bound: a person's places, the owner of a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.utils import timezone

from byok_portal.boundary import actors, binding
from byok_portal.boundary.database.prepared import Statement
from byok_portal.boundary.directory import Bearer, Place
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Unauthenticated
from tenants import selectors, tokens
from tenants.models import Consumer

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Origin


DIGEST: Final = {"digest": "bytea"}
FINDER: Final = Statement(
    "token_tenant",
    "SELECT set_config('app.tenant_id', tenant_id::text, true) FROM directory_token(%(digest)s)",
    DIGEST,
)
"""Binds the token's tenant for the transaction. Says nothing about whether the token is live."""
BEARER: Final = Statement(
    "token_bearer",
    """
SELECT t.id, t.slug, k.id, k.scopes, k.revoked_at, k.expires_at, c.id, c.slug, c.state
  FROM tenants_consumertoken k
  JOIN tenants_tenant t ON t.id = k.tenant_id
  JOIN tenants_consumer c ON c.tenant_id = k.tenant_id AND c.id = k.consumer_id
 WHERE k.digest = %(digest)s
""",
    DIGEST,
)


class TenantDirectory:
    """Installed into the boundary by the tenants app."""

    def list_places(self, user_id: UUID) -> list[Place]:
        return selectors.list_places(user_id)

    def get_bearer(self, authorization: str | None, origin: Origin) -> Bearer:
        """Raises Unauthenticated, with one answer for unknown, expired, revoked and ended alike."""
        connection: Any = connections[binding.DEFAULT]
        digest = tokens.digest(tokens.from_header(authorization))
        for row in connection.ask_as_found(FINDER, BEARER, {"digest": digest}):
            tenant_id, tenant_slug, token_id, words, revoked_at, expires_at, consumer_id, label, state = row
            if _is_live(revoked_at, expires_at, state):
                scopes = frozenset(Permission(word) for word in words)
                actor = actors.consumer(consumer_id, tenant_id=tenant_id, scopes=scopes, label=label, origin=origin)
                return Bearer(actor, tenant_id, tenant_slug, token_id)
        raise Unauthenticated("The token is not known, has expired or was revoked.")


def _is_live(revoked_at: datetime | None, expires_at: datetime, consumer_state: str) -> bool:
    return revoked_at is None and expires_at > timezone.now() and consumer_state == Consumer.State.ACTIVE
