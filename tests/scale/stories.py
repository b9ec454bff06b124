"""Two tenants in a cell, and how the first one's lists are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.test import Client

if TYPE_CHECKING:
    from keys.models import Key
    from tests.scale.cell import Cell
    from tests.world import Cast, Credential, World

BACKEND: Final = "allauth.account.auth_backends.AuthenticationBackend"


class Story(NamedTuple):
    """`cast` has the key, and the consumer that reads lists; `other` must never be seen by it."""

    cell: Cell
    world: World
    cast: Cast
    other: Cast
    key: Key
    credential: Credential

    @property
    def pages(self) -> dict[str, str]:
        """Address to the table that its list is read from."""
        return {
            f"/t/{self.cast.slug}/keys/": "keys_key",
            f"/t/{self.cast.slug}/audit/": "audit_entry",
            f"/api/v1/tenants/{self.cast.slug}/keys/": "keys_key",
            f"/api/v1/tenants/{self.cast.slug}/audit/events/": "audit_entry",
        }

    def get(self, address: str) -> Any:
        if address.startswith("/api/"):
            return Client(headers=self.credential.headers).get(address)
        client = Client()
        client.force_login(self.cast.owner, backend=BACKEND)
        return client.get(address)
