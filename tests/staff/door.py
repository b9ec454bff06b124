"""A staff member at the staff door: a signed-in client and the addresses of the admin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.test import Client
from django.urls import reverse

if TYPE_CHECKING:
    from tenants.models import User
    from tests.world import World

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


def sign_in(user: User) -> Client:
    """A client with this person's session."""
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


def enter(world: World) -> Client:
    """A signed-in staff member."""
    return sign_in(world.staff())


def address(name: str, *args: Any) -> str:
    """An address of the admin by its URL name."""
    return reverse(f"admin:{name}", args=args)


def once(html: str) -> str:
    """What a page shows once."""
    found = re.search(r'<pre id="once-value"[^>]*>([^<]+)</pre>', html)
    assert found, html
    return found[1]


def errors_of(response: Any) -> dict[str, list[str]]:
    """The form's errors by field."""
    return {name: list(problems) for name, problems in response.context["form"].errors.items()}
