"""Answers the doors' questions from before a tenant is bound: a person's places, the owner of a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from byok_portal.boundary import actors, binding
from byok_portal.boundary.directory import Bearer, Place
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Unauthenticated
from tenants import selectors, tokens
from tenants.models import Consumer, ConsumerToken

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Origin


class TenantDirectory:
    """Installed into the boundary by the tenants app."""

    def list_places(self, user_id: UUID) -> list[Place]:
        return selectors.list_places(user_id)

    def get_bearer(self, authorization: str | None, origin: Origin) -> Bearer:
        """Raises Unauthenticated, with one answer for unknown, expired, revoked and ended alike."""
        found = selectors.find_token_owner(tokens.digest(tokens.from_header(authorization)))
        if found is None:
            raise Unauthenticated("The token is not known, has expired or was revoked.")
        tenant_id, consumer_id, token_id = found
        with binding.bind_tenant(tenant_id), binding.reading():
            token = ConsumerToken.objects.select_related("consumer").get(id=token_id)
            tenant_slug = selectors.get_tenant().slug
        if not _is_live(token):
            raise Unauthenticated("The token is not known, has expired or was revoked.")
        scopes = frozenset(Permission(scope) for scope in token.scopes)
        actor = actors.consumer(
            consumer_id, tenant_id=tenant_id, scopes=scopes, label=token.consumer.slug, origin=origin
        )
        return Bearer(actor, tenant_id, tenant_slug, token_id)


def _is_live(token: ConsumerToken) -> bool:
    in_time = token.revoked_at is None and token.expires_at > timezone.now()
    return in_time and token.consumer.state == Consumer.State.ACTIVE
