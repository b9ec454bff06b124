"""People at a browser: a context of their own, watched, signed in by a session or by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.test import Client

from tests.browser.watching import Watch
from tests.world import slow_hash

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tenants.models import User

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with one tab open."""

    page: Page
    watch: Watch

    def go(self, path: str) -> None:
        """Type an address and wait until the page has loaded."""
        self.page.goto(f"{self.watch.origin}{path}")

    def leave(self) -> None:
        self.page.context.close()


def enter(browser: Browser, origin: str, user: User | None = None, **options: Any) -> Person:
    """A person at the door, or already inside as `user`."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, reduced_motion="reduce", locale="en-GB", **options
    )
    context.set_default_timeout(10_000)
    watch = Watch(origin)
    watch.attach(context)
    if user is not None:
        client = Client()
        client.force_login(user, backend=BACKEND)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": origin}])
    return Person(context.new_page(), watch)


def let_sign_in(user: User) -> None:
    """The cast's passwords are hashed for speed; real processes read slow ones only."""
    user.password = slow_hash()
    user.save(update_fields=["password"])
