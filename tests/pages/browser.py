"""A signed-in person with Django's test client: real sessions, real middleware."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from django.test import Client
from django.urls import reverse
from django.utils import timezone

if TYPE_CHECKING:
    from byok_portal.quickstart.openbao_admin import BaoToken
    from tenants.models import User
    from tests.world import Cast, World

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


class Page(Protocol):
    """What the test client answers with."""

    content: bytes


def sign_in(user: User) -> Client:
    """A client that holds the person's session."""
    client = Client(raise_request_exception=True, REMOTE_ADDR="127.0.0.1")
    client.force_login(user, backend=BACKEND)
    return client


def at(name: str, cast: Cast, *more: object) -> str:
    """The address of a page in a tenant."""
    return reverse(name, args=[cast.slug, *more])


def text_of(answer: Page) -> str:
    """The page without its tags and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def registration(world: World, cast: Cast, token: BaoToken, **changes: Any) -> dict[str, Any]:
    """What a browser posts to register an OpenBao key."""
    values: dict[str, Any] = {
        "provider": "openbao",
        "name": world.name("reports"),
        "environment": "production",
        "secret": token.token,
        "custody": "sealed",
        "scope": ["secrets:read"],
        "purpose": "Nightly report",
        "owner": str(cast.owner.pk),
        "backup_owner": str(cast.backup.pk),
        "ends_on": str(in_days(90)),
        "endpoint": world.bao_server.address,
        "param_mount": "secret",
        "param_prefix": "reports/",
        "param_namespace": "",
    }
    return {**values, **changes}


def in_days(days: int) -> Any:
    """A day from today, in UTC."""
    return timezone.now().date() + timedelta(days=days)
