"""One form for a policy, whoever sets it, and its values in words. The rules are those of `keys.policies`."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from keys.policies import BOUNDS, DEFAULT_REMINDERS, Overdue, Policy, to_document

if TYPE_CHECKING:
    from django.http import QueryDict

OVERDUE: Final = {
    Overdue.NOTIFY: gettext_lazy("Tell people"),
    Overdue.BLOCK_GRANTS: gettext_lazy("Tell people, refuse new grants"),
    Overdue.SUSPEND: gettext_lazy("Tell people, refuse new grants, suspend after the grace"),
}
LABELS: Final = {
    "rotation_days": gettext_lazy("Rotate every"),
    "max_lifetime_days": gettext_lazy("Longest life of a version"),
    "overdue": gettext_lazy("When a rotation is overdue"),
    "grace_days": gettext_lazy("Grace before it is suspended"),
    "max_drain_hours": gettext_lazy("Longest drain after a rotation"),
    "proof_days": gettext_lazy("A proof counts for"),
    "recertify_days": gettext_lazy("Owners confirm every"),
    "dormant_days": gettext_lazy("Dormant when unused for"),
    "reminder_days": gettext_lazy("Reminders before a date"),
}
_SAYS_NOTHING: Final = gettext_lazy("Says nothing")


def _number(name: str, unit: Any, help_text: Any = "") -> forms.IntegerField:
    least, most = BOUNDS[name]
    label: Any = format_lazy("{} ({})", LABELS[name], unit)
    return forms.IntegerField(label=label, required=False, min_value=least, max_value=most, help_text=help_text)


class PolicyForm(forms.Form):
    """Every rule may stay empty: then this policy says nothing about it, and the one above it holds."""

    aliases: ClassVar[dict[str, str]] = {"starts_at": "starts_on"}

    rotation_days = _number(
        "rotation_days", gettext_lazy("days"), gettext_lazy("Counted from the day a version became current.")
    )
    max_lifetime_days = _number(
        "max_lifetime_days", gettext_lazy("days"), gettext_lazy("Hard: older versions are refused, drains included.")
    )
    overdue = forms.ChoiceField(
        label=LABELS["overdue"],
        required=False,
        choices=[("", _SAYS_NOTHING), *((w.value, s) for w, s in OVERDUE.items())],
    )
    grace_days = _number("grace_days", gettext_lazy("days"), gettext_lazy("Empty: the longest, 30 days."))
    max_drain_hours = _number("max_drain_hours", gettext_lazy("hours"))
    proof_days = _number("proof_days", gettext_lazy("days"))
    recertify_days = _number(
        "recertify_days",
        gettext_lazy("days"),
        gettext_lazy("Purpose, scopes and consumers of each key. What follows when nobody does is as for a rotation."),
    )
    dormant_days = _number("dormant_days", gettext_lazy("days"))
    reminder_days = forms.CharField(
        label=LABELS["reminder_days"],
        required=False,
        max_length=60,
        help_text=gettext_lazy("Days, separated by commas, such as 30, 14, 7, 1."),
    )
    starts_on = forms.DateField(
        label=gettext_lazy("Starts on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("Empty: at once. A policy that was scheduled before is called off."),
    )
    note = forms.CharField(label=gettext_lazy("Note"), required=False, max_length=500, widget=forms.Textarea)
    accept_suspensions = forms.BooleanField(
        required=False, label=gettext_lazy("I accept that keys which are too old are suspended when it starts")
    )
    replaces = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict | None = None, *, policy: Policy | None = None, number: int = 0) -> None:
        document = to_document(policy or Policy())
        days = document.pop("reminder_days", ())
        initial = {**document, "reminder_days": ", ".join(map(str, days)), "replaces": number}
        super().__init__(data, initial=initial)

    def clean_reminder_days(self) -> list[int] | None:
        """Raises ValidationError for what is no number."""
        parts = self.cleaned_data["reminder_days"].replace(",", " ").split()
        if not all(part.isascii() and part.isdigit() for part in parts):
            raise forms.ValidationError(_("Whole numbers, separated by commas."), code="not_a_number")
        return [int(part) for part in parts] or None

    @property
    def values(self) -> dict[str, Any]:
        """What the operations take."""
        cleaned = self.cleaned_data
        day = cleaned["starts_on"]
        return {
            "rules": {name: cleaned[name] for name in LABELS if cleaned[name] not in (None, "")},
            "starts_at": datetime.combine(day, time.min, tzinfo=UTC) if day else None,
            "note": cleaned["note"],
        }

    @property
    def checks(self) -> dict[str, Any]:
        """What the person has seen and accepted."""
        return {name: self.cleaned_data[name] for name in ("replaces", "accept_suspensions")}


def word_rules(policy: Policy) -> dict[str, str]:
    """Each rule that the policy speaks about, in words."""
    words: dict[str, str] = {}
    for name in LABELS:
        value = getattr(policy, name)
        if value is None:
            continue
        if name == "overdue":
            words[name] = str(OVERDUE[value])
        elif name == "reminder_days":
            words[name] = _("%(days)s days") % {"days": ", ".join(map(str, value))}
        elif name == "max_drain_hours":
            words[name] = ngettext("%(n)d hour", "%(n)d hours", value) % {"n": value}
        else:
            words[name] = ngettext("%(n)d day", "%(n)d days", value) % {"n": value}
    return words


def word_in_force(policy: Policy) -> dict[str, str]:
    """As `word_rules`, with what holds when nobody says anything."""
    proof_days = min(policy.proof_days or settings.PROOF_DAYS, settings.PROOF_DAYS)
    silent = Policy(
        max_drain_hours=BOUNDS["max_drain_hours"][1],
        proof_days=proof_days,
        reminder_days=DEFAULT_REMINDERS,
        overdue=Overdue.NOTIFY,
        grace_days=BOUNDS["grace_days"][1] if policy.overdue is Overdue.SUSPEND else None,
    )
    return {**word_rules(silent), **word_rules(policy), "proof_days": word_rules(silent)["proof_days"]}
