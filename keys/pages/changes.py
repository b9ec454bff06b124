"""The shape that every change of a key shares: say what will happen and to whom, ask, call one operation, go back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from keys import selectors
from keys.pages.presentation import word_scopes
from keys.states import GrantState

if TYPE_CHECKING:
    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

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


class ChangePage(KeyPage):
    """Asks before one change of a key, on `keys/confirm.html`. Subclasses say the words and make the call."""

    danger: ClassVar[bool] = False
    verb: ClassVar[Any]
    done: ClassVar[Any]
    button: ClassVar[Any] = ""
    """What the button says when it is not the verb."""

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:
        """What is asked."""
        raise NotImplementedError

    def call(self, key: Key, form: Form) -> object:
        """The operation."""
        raise NotImplementedError

    def effects(self, key: Key) -> list[tuple[str, str]]:
        """(level, text) of what will happen."""
        raise NotImplementedError

    def more(self, key: Key) -> dict[str, Any]:  # for subclasses
        """What else the page shows."""
        return {}

    def get(self, request: HttpRequest, key: str) -> HttpResponse:  # Django's signature
        """What will happen, and who is affected."""
        found = self.load(key)
        return self.answer(found, self.form_for(found))

    def post(self, request: HttpRequest, key: str) -> HttpResponse:
        """Make the change, or show the form again with what was wrong."""
        found = self.load(key)
        with binding.reading():
            form = self.form_for(found, request.POST)
        if not form.is_valid():
            return self.answer(found, form, status=422)
        if self.attempt(form, lambda: self.call(found, form)) is None:
            return self.answer(found, form, status=self.status)
        messages.success(request, self.done % {"name": found.name})
        return redirect(self.url_of(found))

    def answer(self, key: Key, form: Form, *, status: int = 200) -> HttpResponse:
        """The page with its form."""
        with binding.reading():
            context = {
                "crumbs": self.trail(key, str(self.button or self.verb)),
                "title": f"{self.verb} {key.name}",
                "danger": self.danger,
                "effects": [{"level": level, "text": text} for level, text in self.effects(key)],
                "affected": list_affected(key),
                "form": form,
                "submit_label": self.button or self.verb,
                "cancel_url": self.url_of(key),
                **self.more(key),
            }
        return self.render("keys/confirm.html", context, status=status)


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
