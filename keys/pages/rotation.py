"""Rotating a key, and ending the drain of its old version early. The new secret is wrapped on arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.forms import Form
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.ui.options import list_options
from keys import selectors
from keys.pages import changes, picker, presentation
from keys.pages.forms import RotateForm, take_secret
from keys.services import rotation
from keys.services.catalogue import entry_of
from keys.states import VersionState

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from keys.models import Key, KeyVersion

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
        return self._answer(self.load(key), RotateForm())

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
                "form": form,
                "drains": list_options(_DRAINS, chosen={str(form["drain"].value())}),
                "cancel_url": self.url_of(key),
            }
        return self.render("keys/rotate.html", context, status=status)


def _current(key: Key, current: KeyVersion | None) -> dict[str, Any] | None:
    if current is None:
        return None
    return {
        "number": current.number,
        "ending": presentation.ending_of(current),
        "grants": len(changes.list_affected(key)),
    }


class FinishPage(changes.KeyPage):
    """Ends the draining version now."""

    operation: ClassVar[str] = "key.finish_rotation"

    def get(self, request: HttpRequest, key: str, number: int) -> HttpResponse:  # Django's signature
        """What ends."""
        found = self.load(key)
        return self._answer(found, self._version(found, number), Form())

    def post(self, request: HttpRequest, key: str, number: int) -> HttpResponse:
        """End it."""
        found, form = self.load(key), Form(request.POST)
        version = self._version(found, number)
        done = self.attempt(form, lambda: rotation.finish(actor=self.actor, key_id=found.id, number=version.number))
        if done is None:
            return self._answer(found, version, form, status=self.status)
        text = _("Version %(number)s is revoked here. Its row says what the provider confirms.")
        messages.success(request, text % {"number": version.number})
        return redirect(self.url_of(found))

    def _version(self, key: Key, number: int) -> KeyVersion:
        with binding.reading():
            # Small enough for the column, whatever the address says.
            version = selectors.list_versions(key.id).filter(number=min(number, 2**31 - 1)).first()
        if version is None:
            raise errors.NotFound
        return version

    def _answer(self, key: Key, version: KeyVersion, form: Form, *, status: int = 200) -> HttpResponse:
        drains = version.state == VersionState.SUPERSEDED
        with binding.reading():
            affected = changes.list_affected(key) if drains else []
        names = {"number": version.number, "provider": key.provider.name}
        context = {
            "crumbs": self.trail(key, _("Finish rotation")),
            "title": _("End version %(number)s of %(name)s") % {"number": version.number, "name": key.name},
            "lede": ngettext(
                "%(n)d consumer may still be using it.",
                "%(n)d consumers may still be using it.",
                len(affected),
            )
            % {"n": len(affected)},
            "danger": True,
            "effects": [
                {"level": "danger", "text": _("Version %(number)s is refused from now on.") % names},
                {
                    "level": "",
                    "text": _("%(provider)s is asked to end it; its row says what was confirmed.") % names,
                },
                {"level": "ok", "text": _("The current version keeps working.")},
            ],
            "affected": affected,
            "form": form,
            "submit_label": _("End version %(number)s") % names,
            "cancel_url": self.url_of(key),
        }
        return self.render("keys/confirm.html", context, status=status)
