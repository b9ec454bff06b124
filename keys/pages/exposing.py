"""The two pages that declare a key exposed. Two clicks from the key's page: nothing has to be typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django import forms
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from keys.pages.changes import ChangePage
from keys.pages.forms import reasons
from keys.services import exposing
from keys.services.catalogue import entry_of
from keys.states import KeyState, RevocationReason

if TYPE_CHECKING:
    from django.http import QueryDict

    from keys.models import Incident, Key

_REASONS: Final = reasons((RevocationReason.KEY_COMPROMISE, RevocationReason.LEAK_REPORT))[1:]


class SinceField(forms.DateTimeField):
    """A moment in UTC."""

    def __init__(self, *, required: bool, help_text: Any = "") -> None:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
        label = gettext_lazy("Suspected since (UTC)")
        super().__init__(label=label, widget=widget, required=required, help_text=help_text)


class QuarantineForm(forms.Form):
    """What is known; nothing of it is required."""

    note = forms.CharField(
        label=gettext_lazy("What is known"), required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 2})
    )
    suspected_since = SinceField(
        required=False, help_text=gettext_lazy("Uses from then on are looked at. Empty: from now.")
    )


class CompromiseForm(QuarantineForm):
    """How it came out, and what is known."""

    reason = forms.ChoiceField(label=gettext_lazy("Reason"), choices=_REASONS)
    field_order = ("reason", "note", "suspected_since")


class ExposePage(ChangePage):
    """Base of both: says what will happen, opens the incident, leads to it."""

    danger: ClassVar[bool] = True

    def after(self, thing: Key, result: object) -> str:  # the base's signature
        return reverse("keys:incident", args=[self.place.slug, cast("Incident", result).id])


class CompromisePage(ExposePage):
    """Ends a key at once; a quarantine is offered beside it."""

    operation: ClassVar[str] = "key.compromise"
    verb: ClassVar[Any] = gettext_lazy("Report an exposure of")
    crumb: ClassVar[Any] = gettext_lazy("Report an exposure")
    button: ClassVar[Any] = gettext_lazy("Revoke at once, for good")
    done: ClassVar[Any] = gettext_lazy("%(name)s is compromised and refused from now on. This is what is left to do.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> forms.Form:
        return CompromiseForm(data)

    def call(self, key: Key, form: forms.Form) -> Incident:
        return exposing.compromise(actor=self.actor, key_id=key.id, **form.cleaned_data)

    def effects(self, key: Key) -> list[tuple[str, str]]:
        provider = {"provider": key.provider.name, "note": entry_of(key.provider).revoke_note}
        effects = [
            ("danger", _("Revoked: every version ends without overlap, and no version ever comes back.")),
            ("", _("At %(provider)s: %(note)s") % provider),
            ("ok", _("An incident is opened, and owners and consumers are told at once.")),
        ]
        if self._offers_quarantine(key):
            effects.append(("", _("Not sure? A quarantine refuses every use as quickly, and can be taken back.")))
        return effects

    def more(self, key: Key) -> dict[str, Any]:
        if not self._offers_quarantine(key):
            return {}
        url = reverse("keys:quarantine", args=[self.place.slug, key.slug])
        return {"second": {"url": url, "label": _("Quarantine instead")}}

    def _offers_quarantine(self, key: Key) -> bool:
        return key.state in {KeyState.ACTIVE, KeyState.SUSPENDED} and not key.incidents.filter(closed_at=None).exists()


class QuarantinePage(ExposePage):
    """Refuses every use until somebody knows more."""

    operation: ClassVar[str] = "key.quarantine"
    verb: ClassVar[Any] = gettext_lazy("Quarantine")
    done: ClassVar[Any] = gettext_lazy("%(name)s is in quarantine. Every use is refused from now on.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> forms.Form:  # the base's signature
        return QuarantineForm(data)

    def call(self, key: Key, form: forms.Form) -> Incident:
        return exposing.quarantine(actor=self.actor, key_id=key.id, **form.cleaned_data)

    def effects(self, key: Key) -> list[tuple[str, str]]:
        name = {"provider": key.provider.name}
        return [
            ("danger", _("Uses that start after this are refused, on every process.")),
            (
                "",
                _("%(provider)s is not told: whoever has the credential can still use it there.") % name,
            ),
            ("ok", _("An incident is opened, and owners and consumers are told at once.")),
            ("ok", _("A false alarm brings the key and its grants back.")),
        ]
