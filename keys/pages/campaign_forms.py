"""The forms of recertification. The rules are the operations'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.utils.translation import gettext_lazy as _

from keys.policies import Overdue
from keys.states import Environment, ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import QueryDict

SELECTIONS: Final = {
    "all": _("Every active key"),
    "environment": _("Keys of an environment"),
    "provider": _("Keys of a provider"),
    "risk": _("Keys with high-risk scopes"),
}
CONSEQUENCES: Final[dict[str, Any]] = {
    Overdue.NOTIFY.value: _("Tell people"),
    Overdue.BLOCK_GRANTS.value: _("Tell people, refuse new grants"),
    Overdue.SUSPEND.value: _("Tell people, refuse new grants, suspend the key"),
}


class StartForm(forms.Form):
    """Which keys, until when, and what follows."""

    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("Such as: yearly review."))
    choice = forms.ChoiceField(label=_("Which keys"))
    due_on = forms.DateField(
        label=_("Due on"),
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("The last day to answer, in UTC."),
    )
    consequence = forms.ChoiceField(label=_("Without an answer"), choices=list(CONSEQUENCES.items()))
    note = forms.CharField(label=_("Note"), required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 2}))

    aliases = {"selection": "choice", "value": "choice"}

    def __init__(self, data: QueryDict | None = None, *, providers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(data)
        self.fields["choice"].choices = [  # type: ignore[attr-defined]
            ("all:", SELECTIONS["all"]),
            ("risk:", SELECTIONS["risk"]),
            (
                SELECTIONS["environment"],
                [(f"environment:{word.value}", word.value.capitalize()) for word in Environment],
            ),
            (SELECTIONS["provider"], [(f"provider:{slug}", name) for slug, name in providers]),
        ]

    @property
    def values(self) -> dict[str, Any]:
        """What the operation takes."""
        cleaned = self.cleaned_data
        selection, _colon, value = cleaned["choice"].partition(":")
        taken = {name: cleaned[name] for name in ("name", "due_on", "consequence", "note")}
        return {**taken, "selection": selection, "value": value}


class AnswerForm(forms.Form):
    """What the owner of a key says."""

    answer = forms.ChoiceField(
        label=_("Your answer"),
        widget=forms.RadioSelect,
        choices=[
            (ItemState.CONFIRMED.value, _("It is right as it stands above")),
            (ItemState.CHANGE_NEEDED.value, _("It needs a change")),
            (ItemState.NOT_MINE.value, _("Somebody else answers for it")),
        ],
    )
    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Required unless you confirm: what should change, or who answers for it."),
    )
