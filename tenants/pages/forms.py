"""The forms of people and consumers: types and required marks. The rules are the operations'."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.utils.translation import gettext_lazy as _

from byok_portal.boundary.permissions import Permission, Role
from tenants.models import ConsumerKind, Project
from tenants.services.consumers import MAX_TOKEN_DAYS
from tenants.states import Environment, ProjectState

MOST_PROJECTS: Final = 500
ENVIRONMENTS: Final = [(word.value, word.value.capitalize()) for word in Environment]
ROLES: Final = [
    (Role.OWNER.value, _("Owner"), _("Everything, members and grants included.")),
    (
        Role.CUSTODIAN.value,
        _("Custodian"),
        _("Handles material: registers, proves and rotates. Grants nothing."),
    ),
    (
        Role.APPROVER.value,
        _("Approver"),
        _("Decides who may use a key and can stop one. Never handles material."),
    ),
    (Role.AUDITOR.value, _("Auditor"), _("Reads everything, changes nothing.")),
]
KINDS: Final = [
    (ConsumerKind.SERVICE.value, _("Service"), _("A program that is run for you.")),
    (ConsumerKind.AGENT.value, _("Agent"), _("Decides by itself what to call.")),
    (ConsumerKind.VENDOR.value, _("Vendor"), _("A program of another company.")),
]
TOKEN_SCOPES: Final = [
    (Permission.KEY_USE.value, _("Use granted keys (key:use)")),
    (Permission.CREDENTIAL_INTROSPECT.value, _("Check credentials presented to it (credential:introspect)")),
    (Permission.KEY_READ.value, _("Read keys (key:read)")),
    (Permission.AUDIT_READ.value, _("Read the audit log (audit:read)")),
    (Permission.AUDIT_ERASE.value, _("Erase personal data (audit:erase)")),
    (Permission.NOTICE_READ.value, _("Read what it is told (notice:read)")),
    (Permission.KEY_REGISTER.value, _("Register keys (key:register)")),
    (Permission.KEY_ROTATE.value, _("Rotate keys (key:rotate)")),
    (Permission.KEY_REVOKE.value, _("Revoke keys (key:revoke)")),
]


def list_project_choices() -> list[tuple[str, Any]]:
    """Choices of a live project, none of them chosen."""
    live = Project.objects.filter(state=ProjectState.ACTIVE).order_by("name")[:MOST_PROJECTS]
    return [("", _("None")), *((str(each.id), each.name) for each in live)]


class PasswordField(forms.CharField):
    """Marked as required and always empty: the view has taken the password out."""

    def clean(self, value: object) -> str:  # what was typed is checked by the operation
        """Accept nothing and refuse nothing."""
        return ""


class PasswordForm(forms.Form):
    """What a new person gives; somebody who has a password already gives nothing."""

    name = forms.CharField(label=_("Your name"), required=False, max_length=120)
    password = PasswordField(
        label=_("Password"),
        widget=forms.PasswordInput,
        help_text=_("At least 15 characters. Several words are easier to remember."),
    )


class ConsumerForm(forms.Form):
    """A new consumer."""

    kind = forms.ChoiceField(choices=[(value, label) for value, label, _text in KINDS], initial="service")
    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("Such as: report service."))
    environment = forms.ChoiceField(
        label=_("Environment"),
        choices=ENVIRONMENTS,
        widget=forms.RadioSelect,
        initial="production",
        help_text=_("It can use keys of the same environment only."),
    )
    operated_by = forms.ChoiceField(
        label=_("Operated by"), choices=[("tenant", _("Us")), ("platform", _("The platform"))]
    )
    contact = forms.EmailField(
        label=_("Contact"), required=False, help_text=_("An address to write to when it misbehaves.")
    )


class TokenForm(forms.Form):
    """A new token."""

    days = forms.IntegerField(
        label=_("Ends after days"),
        initial=90,
        min_value=1,
        max_value=MAX_TOKEN_DAYS,
        help_text=_("1 to 366."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("May call"),
        choices=TOKEN_SCOPES,
        widget=forms.CheckboxSelectMultiple,
        initial=[Permission.KEY_USE.value],
        help_text=_("The API scopes. A workload that only uses keys needs the first."),
    )


class EmptyForm(forms.Form):
    """Confirms what the page says."""


class InviteForm(forms.Form):
    """Whom to invite, as what."""

    email = forms.EmailField(label=_("E-mail address"))
    role = forms.ChoiceField(choices=[(value, label) for value, label, _text in ROLES], initial="auditor")
