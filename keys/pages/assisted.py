"""Rotating a key without a secret in anybody's hands: the plan, its confirmation, and what stands against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from keys import selectors
from keys.pages.changes import ChangePage
from keys.providers import find_succession
from keys.services import assisted, rotation
from keys.services.catalogue import entry_of

if TYPE_CHECKING:
    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

    from keys.models import Key, KeyVersion
    from keys.providers.contract import Succession


_DRAINS: Final = (
    (0, gettext_lazy("Not at all: the old version ends at once")),
    (1, gettext_lazy("1 hour")),
    (24, gettext_lazy("24 hours")),
    (168, gettext_lazy("7 days")),
)
_SUGGESTED: Final = 24


class AssistForm(forms.Form):
    """How long the old version drains. `replaces` is the version that the page showed."""

    aliases: ClassVar[dict[str, str]] = {"drain_hours": "drain"}

    drain = forms.TypedChoiceField(coerce=int, label=gettext_lazy("How long may both versions work?"))
    accept_excess = forms.BooleanField(
        required=False, label=gettext_lazy("I accept that it can do more than the old version was accepted with")
    )
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=500,
        help_text=gettext_lazy("Why. Required to accept more rights."),
    )
    replaces = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, key: Key, current: KeyVersion | None, data: QueryDict | None = None) -> None:
        """Offers the drains that the policy allows."""
        allowed = [(hours, label) for hours, label in _DRAINS if rotation.find_problem(key, current, hours) is None]
        suggested = max((hours for hours, _label in allowed if hours <= _SUGGESTED), default=0)
        super().__init__(data, initial={"drain": suggested, "replaces": current.number if current else None})
        self.fields["drain"].choices = allowed  # type: ignore[attr-defined]


def word_way(key: Key) -> str:
    """How keys of this provider are rotated, in a sentence."""
    entry = entry_of(key.provider)
    if find_succession(entry) is None:
        return _("By hand, with a guide: somebody makes the new credential at %(name)s") % {"name": entry.name}
    return _("The portal can have %(name)s make the successor; nobody handles a secret") % {"name": entry.name}


def find_offer(key: Key, current: KeyVersion | None, *, slug: str) -> dict[str, Any] | None:
    """What the page of a rotation says about letting the portal do it; None where people follow the guide.

    `obstacle`: why it will be refused, by the evidence of the last proof.
    """
    succession = find_succession(entry_of(key.provider))
    if succession is None:
        return None
    return {
        "url": reverse("keys:rotate-assisted", args=[slug, key.slug]),
        "obstacle": _foresee(succession, key, current),
    }


class RotateAssistedPage(ChangePage):
    """Asks before the provider makes the successor."""

    operation: ClassVar[str] = "key.rotate_assisted"
    verb: ClassVar[Any] = gettext_lazy("Let the portal rotate")
    button: ClassVar[Any] = gettext_lazy("Make the successor")
    done: ClassVar[Any] = gettext_lazy("%(name)s has a successor that nobody has seen. It is current.")

    def get(self, request: HttpRequest, **where: Any) -> HttpResponse:
        """The plan; where the provider makes no successors, the guide."""
        found = self.find(**where)
        with binding.reading():
            is_guided = find_succession(entry_of(found.provider)) is None
        if is_guided:
            messages.info(request, _("%(name)s makes no successors: follow its guide.") % {"name": found.provider.name})
            return redirect("keys:rotate", self.place.slug, found.slug)
        return super().get(request, **where)

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:
        return AssistForm(key, selectors.find_current(key.id), data)

    def call(self, key: Key, form: Form) -> object:
        values = form.cleaned_data
        return assisted.rotate(
            actor=self.actor,
            key_id=key.id,
            drain_hours=values["drain"],
            replaces=values["replaces"],
            accept_excess=values["accept_excess"],
            note=values["note"],
        )

    def effects(self, key: Key) -> list[tuple[str, str]]:
        current = selectors.find_current(key.id)
        names = {"provider": key.provider.name, "number": current.number if current else "-"}
        return [
            (
                "",
                _("%(provider)s is asked, with version %(number)s itself, for an equal: its policies, its life.")
                % names,
            ),
            ("ok", _("It is sealed on arrival and proven; then it is current. Nobody sees it.")),
            ("ok", _("Consumers keep calling: version %(number)s drains for as long as you choose.") % names),
            ("", _("Then it ends itself at %(provider)s, and the portal looks whether it is dead.") % names),
            ("danger", _("A credential that makes its own successors can make others too: guard it accordingly.")),
        ]

    def more(self, key: Key) -> dict[str, Any]:
        """What is known to stand against it, before it is tried."""
        succession, current = find_succession(entry_of(key.provider)), selectors.find_current(key.id)
        obstacle = _foresee(succession, key, current) if succession else ""
        if not obstacle:
            return {}
        return {"notices": [{"level": "warn", "title": _("It will be refused as things are."), "text": obstacle}]}


def _foresee(succession: Succession, key: Key, current: KeyVersion | None) -> str:
    proof = selectors.find_proof(key.id, version_id=current.id) if current is not None else None
    return succession.foresee(proof.evidence) if proof is not None else ""
