"""The forms of keys: types and required marks. The rules are the operations'. No form ever holds a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.utils.translation import gettext_lazy as _

from byok_portal.boundary.secrets import Secret
from keys.services.grants import MAX_GRANT_DAYS, MAX_RATE
from keys.states import Environment, RevocationReason
from tenants.pages.forms import ROLES, list_project_choices
from tenants.selectors import list_owner_candidates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest, QueryDict

    from keys.catalogue import ProviderEntry

ENVIRONMENTS: Final = [(word.value, word.value.capitalize()) for word in Environment]
_NO_REASON: Final = ("", _("Choose a reason"))


def take_secret(request: HttpRequest) -> tuple[QueryDict, Secret]:
    """The pasted secret, and the form data without it. Afterwards nothing but the Secret holds it."""
    data = request.POST.copy()
    pasted = data.pop("secret", [""])
    request.POST = data  # type: ignore[assignment]  # a copy is mutable, and read like the original
    # People copy line ends and spaces along; what is inside stays as it is.
    return data, Secret(str(pasted[-1]).strip())


def reasons(words: Iterable[RevocationReason] = RevocationReason) -> list[tuple[str, Any]]:
    """Choices of a reason, none of them chosen."""
    return [_NO_REASON, *((word.value, word.value.replace("_", " ").capitalize()) for word in words)]


def list_people() -> list[tuple[str, Any]]:
    """Choices of who may answer for a key, nobody chosen."""
    return [("", _("Choose a person")), *((str(user.id), str(user)) for user in list_owner_candidates())]


class OpenChoices(forms.MultipleChoiceField):
    """Several words from a list that the operation checks: it names the word that it does not know."""

    def valid_value(self, value: object) -> bool:  # Django's signature
        return True


class SecretField(forms.CharField):
    """A password input that is marked as required and always empty: the view has taken the secret out."""

    def __init__(self, *, label: Any) -> None:
        widget = forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"})
        super().__init__(label=label, widget=widget)

    def clean(self, value: object) -> str:  # what was pasted is checked by the operation
        """Accept nothing and refuse nothing."""
        return ""


class RegisterForm(forms.Form):
    """A new key. Parameters and the endpoint depend on the provider."""

    aliases: ClassVar[dict[str, str]] = {"scopes": "scope"}

    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("Such as: nightly reports."))
    environment = forms.ChoiceField(
        label=_("Environment"), choices=ENVIRONMENTS, widget=forms.RadioSelect, initial="production"
    )
    secret = SecretField(label=_("Secret"))
    custody = forms.CharField(initial="sealed", label=_("Custody"))
    scope = OpenChoices(required=False, label=_("Scopes"), widget=forms.CheckboxSelectMultiple)
    justification = forms.CharField(
        label=_("Justification"),
        required=False,
        max_length=500,
        widget=forms.Textarea,
        help_text=_("Required when a critical scope is ticked: why nothing smaller will do."),
    )
    purpose = forms.CharField(
        label=_("Purpose"),
        max_length=300,
        widget=forms.Textarea,
        help_text=_("What it is for, in a sentence."),
    )
    owner = forms.ChoiceField(label=_("Owner"))
    backup_owner = forms.ChoiceField(label=_("Backup owner"), help_text=_("Another person than the owner."))
    ends_on = forms.DateField(
        label=_("Ends on"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=_("Every key ends; at most three years ahead."),
    )
    project = forms.ChoiceField(label=_("Project"), required=False, help_text=_("The key ends with it."))

    def __init__(self, entry: ProviderEntry, data: QueryDict | None = None, *, initial: Any = None) -> None:
        super().__init__(data, initial=initial)
        self.fields["owner"].choices = self.fields["backup_owner"].choices = list_people()  # type: ignore[attr-defined]
        self.fields["project"].choices = list_project_choices()  # type: ignore[attr-defined]
        if entry.endpoint.kind == "customer":
            attrs = {"type": "url", "placeholder": entry.endpoint.placeholder, "inputmode": "url"}
            widget = forms.TextInput(attrs=attrs)
            self.fields["endpoint"] = forms.CharField(label=_("Endpoint"), max_length=300, widget=widget)
        for parameter in entry.parameters:
            self.fields[f"param_{parameter.name}"] = forms.CharField(
                label=parameter.label,
                required=False,
                max_length=300,
                initial=parameter.default,
                help_text=parameter.help,
            )
        parameters = [f"param_{parameter.name}" for parameter in entry.parameters]
        self.order_fields(["name", "environment", "endpoint", *parameters])


class HandOverForm(forms.Form):
    """The two people who answer for a key."""

    owner = forms.ChoiceField(label=_("Owner"))
    backup_owner = forms.ChoiceField(label=_("Backup owner"), help_text=_("Another person than the owner."))
    note = forms.CharField(required=False, max_length=500, label=_("Note"), widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, data: QueryDict | None = None, *, initial: Any = None) -> None:
        super().__init__(data, initial=initial)
        self.fields["owner"].choices = self.fields["backup_owner"].choices = list_people()  # type: ignore[attr-defined]


class RoleForm(forms.Form):
    """What a member may do."""

    role = forms.ChoiceField(label=_("Role"), choices=[(value, label) for value, label, _text in ROLES])


class AcceptForm(forms.Form):
    """For how long a finding is left as it is, and why."""

    days = forms.TypedChoiceField(
        coerce=int,
        label=_("For"),
        choices=[(7, _("A week")), (30, _("30 days")), (90, _("90 days")), (180, _("180 days"))],
        initial=30,
    )
    reason = forms.CharField(max_length=500, label=_("Why"), widget=forms.Textarea(attrs={"rows": 2}))


class FinishForm(forms.Form):
    """Ending a version that is still in use."""

    force = forms.BooleanField(
        required=False, label=_("End it although it is in use"), help_text=_("Calls that ask for it will fail.")
    )
    note = forms.CharField(
        required=False,
        max_length=500,
        label=_("Why"),
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class ReasonNoteForm(forms.Form):
    """Why, in the person's own words."""

    note = forms.CharField(max_length=500, label=_("Why"), widget=forms.Textarea(attrs={"rows": 2}))


class BrownoutForm(forms.Form):
    """When and for how long the old version is off."""

    aliases: ClassVar[dict[str, str]] = {"starts_at": "delay"}

    delay = forms.TypedChoiceField(
        coerce=int,
        label=_("Begins"),
        choices=[(0, _("Now")), (60, _("In an hour")), (1440, _("In a day"))],
        initial=0,
    )
    minutes = forms.TypedChoiceField(
        coerce=int,
        label=_("For"),
        choices=[(5, _("5 minutes")), (15, _("15 minutes")), (30, _("30 minutes")), (60, _("An hour"))],
        initial=5,
    )


class RotateForm(forms.Form):
    """The successor of a key's current version."""

    aliases: ClassVar[dict[str, str]] = {"drain_hours": "drain"}

    secret = SecretField(label=_("New secret"))
    drain = forms.IntegerField(label=_("Drain"), initial=24)
    accept_excess = forms.BooleanField(
        required=False, label=_("I accept that the new credential can do more than was chosen")
    )
    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=500,
        help_text=_("Why. Required to accept rights beyond the chosen scopes."),
    )


class NoteForm(forms.Form):
    """A change that may be explained."""

    note = forms.CharField(label=_("Note"), required=False, max_length=500, widget=forms.Textarea)


class ActivateForm(NoteForm):
    """Activation of a credential that can do exactly what was chosen."""


class ExcessForm(forms.Form):
    """Activation of a credential that can do more."""

    accept_excess = forms.BooleanField(
        required=False, label=_("I accept that the credential can do more than was chosen")
    )
    note = forms.CharField(
        label=_("Reason"),
        max_length=500,
        widget=forms.Textarea,
        help_text=_("Why a credential with fewer rights will not do."),
    )


class EndForm(forms.Form):
    """The end of something, with its reason."""

    reason = forms.ChoiceField(label=_("Reason"))

    def __init__(self, data: QueryDict | None = None, *, words: Iterable[RevocationReason] = RevocationReason) -> None:
        super().__init__(data)
        self.fields["reason"].choices = reasons(words)  # type: ignore[attr-defined]


class EndKeyForm(EndForm):
    """The end of a key; its name is typed, so that the wrong one is not ended in a hurry."""

    note = forms.CharField(label=_("Note"), required=False, max_length=500, widget=forms.Textarea)
    confirm_name = forms.CharField(label=_("Type the key's name to confirm"), max_length=80)

    def __init__(
        self,
        name: str,
        data: QueryDict | None = None,
        *,
        words: Iterable[RevocationReason] = RevocationReason,
    ) -> None:
        super().__init__(data, words=words)
        self.name = name
        self.fields["confirm_name"].help_text = name

    def clean_confirm_name(self) -> str:
        """Raises ValidationError for another name."""
        if self.cleaned_data["confirm_name"] != self.name:
            raise forms.ValidationError(_("This is not the key's name."), code="not_confirmed")
        return self.name


class GrantForm(forms.Form):
    """A grant on one key. A daily window is kept out of it: the API offers one."""

    aliases: ClassVar[dict[str, str]] = {"scopes": "scope", "deliveries": "delivery"}

    consumer = forms.ChoiceField(label=_("Consumer"))
    scope = OpenChoices(required=False, label=_("Scopes"), widget=forms.CheckboxSelectMultiple)
    delivery = OpenChoices(required=False, label=_("Delivery"), widget=forms.CheckboxSelectMultiple)
    days = forms.IntegerField(label=_("Ends after days"), initial=30, min_value=1, max_value=MAX_GRANT_DAYS)
    rate_per_minute = forms.IntegerField(
        label=_("Uses per minute"),
        required=False,
        min_value=1,
        max_value=MAX_RATE,
        help_text=_("Empty: no limit."),
    )
    networks = forms.CharField(
        label=_("Networks"),
        required=False,
        max_length=1000,
        help_text=_("Such as 203.0.113.0/24, separated by commas. Empty: any."),
    )
    reason = forms.CharField(label=_("Reason"), max_length=300, widget=forms.Textarea)

    def __init__(self, consumers: Iterable[tuple[str, str]], data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.fields["consumer"].choices = [("", _("Choose a consumer")), *consumers]  # type: ignore[attr-defined]

    @property
    def network_list(self) -> tuple[str, ...]:
        """Networks one by one."""
        return tuple(part for part in self.cleaned_data["networks"].replace(",", " ").split() if part)
