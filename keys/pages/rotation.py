"""Rotating a key. The new secret is wrapped on arrival. What follows for the old version is in `draining`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from byok_portal.boundary import binding
from byok_portal.ui.options import list_options
from keys import selectors
from keys.pages import changes, picker, presentation
from keys.pages.assisted import find_offer
from keys.pages.forms import RotateForm, take_secret
from keys.services import rotation
from keys.services.catalogue import entry_of

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from keys.models import Key, KeyVersion

_DRAIN: Final = 24
_DRAINS: Final = (
    (
        "0",
        gettext_lazy("Not at all"),
        gettext_lazy("The old version ends the moment the new one is current."),
    ),
    ("1", gettext_lazy("1 hour"), gettext_lazy("Longer than any lease.")),
    (
        "24",
        gettext_lazy("24 hours"),
        gettext_lazy("Consumers that ask for a version by number move over in peace."),
    ),
    ("168", gettext_lazy("7 days"), gettext_lazy("For batch jobs that run weekly.")),
)


@method_decorator(sensitive_post_parameters("secret"), name="dispatch")
class RotatePage(changes.KeyPage):
    """Brings a successor."""

    operation: ClassVar[str] = "key.rotate"

    def get(self, request: HttpRequest, key: str) -> HttpResponse:  # Django's signature
        """The form, with the provider's guide beside it."""
        found = self.load(key)
        # What is chosen beforehand must be something that may be chosen.
        refused = rotation.find_problem(found, selectors.find_current(found.id), _DRAIN)
        return self._answer(found, RotateForm(initial={"drain": 0 if refused else _DRAIN}))

    def post(self, request: HttpRequest, key: str) -> HttpResponse:
        """Prove the successor and make it current."""
        data, plaintext = take_secret(request)
        found, form = self.load(key), RotateForm(data)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        values = form.cleaned_data
        version = self.attempt(
            form,
            lambda: rotation.rotate(
                actor=self.actor,
                key_id=found.id,
                plaintext=plaintext,
                drain_hours=values["drain"],
                accept_excess=values["accept_excess"],
                note=values["note"],
            ),
        )
        if version is None:
            return self._answer(found, form, status=self.status)
        text = _("Version %(number)s of %(name)s is current.")
        messages.success(request, text % {"number": version.number, "name": found.name})
        return redirect(self.url_of(found))

    def _answer(self, key: Key, form: RotateForm, *, status: int = 200) -> HttpResponse:
        with binding.reading():
            entry = picker.entry_context(entry_of(key.provider))
            current = selectors.find_current(key.id)
            context = {
                "crumbs": self.trail(key, _("Rotate")),
                "key": presentation.key_of(key, current, slug=self.place.slug),
                "current": _current(key, current),
                "entry": entry,
                "guide": entry["guide"],
                "offer": find_offer(key, current, slug=self.place.slug),
                "form": form,
                "drains": list_options(
                    _DRAINS, chosen={str(form["drain"].value())}, disabled=_refuse_drains(key, current)
                ),
                "cancel_url": self.url_of(key),
            }
        return self.render("keys/rotate.html", context, status=status)


def _refuse_drains(key: Key, current: KeyVersion | None) -> dict[str, Any]:
    """Why a drain cannot be chosen: the operation would refuse it."""
    problems = {value: rotation.find_problem(key, current, int(value)) for value, *_words in _DRAINS}
    return {value: problem.detail for value, problem in problems.items() if problem is not None}


def _current(key: Key, current: KeyVersion | None) -> dict[str, Any] | None:
    if current is None:
        return None
    return {
        "number": current.number,
        "ending": presentation.ending_of(current),
        "grants": len(changes.list_affected(key)),
    }
