"""The pages about one key: finding it, its breadcrumbs, and who is affected by a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from byok_portal.boundary import binding
from byok_portal.boundary.asking import AskingPage
from byok_portal.boundary.pages import OperationPage
from keys import selectors
from keys.pages.presentation import word_scopes
from keys.states import GrantState

if TYPE_CHECKING:
    from keys.models import Key


class KeyPage(OperationPage):
    """Base of the pages about one key."""

    section: ClassVar[str] = "keys"

    def load(self, reference: str) -> Key:
        """The key, read in a transaction of its own. Raises NotFound."""
        with binding.reading():
            return selectors.get_key(reference)

    def url_of(self, key: Key) -> str:
        """The key's own page."""
        return reverse("keys:detail", args=[self.place.slug, key.slug])

    def trail(self, key: Key, last: str) -> list[tuple[str, str]]:
        """The breadcrumbs."""
        return [
            (_("Keys"), reverse("keys:list", args=[self.place.slug])),
            (key.name, self.url_of(key)),
            (last, ""),
        ]


class ChangePage(KeyPage, AskingPage["Key"]):
    """Asks before one change of a key: the verb with the key's name is the title."""

    title: ClassVar[Any] = "%(verb)s %(name)s"

    def find(self, **where: Any) -> Key:
        return self.load(where["key"])

    def words(self, thing: Key) -> dict[str, Any]:
        return {"name": thing.name, "verb": self.verb}

    def back(self, thing: Key) -> str:
        return self.url_of(thing)

    def affected(self, thing: Key) -> list[dict[str, str]]:
        return list_affected(thing)


def list_affected(key: Key) -> list[dict[str, str]]:
    """Consumers that may use the key now."""
    live = selectors.list_grants(key.id).filter(state=GrantState.ACTIVE, expires_at__gt=timezone.now())
    return [
        {
            "name": grant.consumer.name,
            "kind": grant.consumer.get_kind_display(),
            "note": word_scopes(grant.scopes),
        }
        for grant in live[:50]
    ]
