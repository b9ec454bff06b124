from __future__ import annotations

from typing import Any, TypeVar

from django import forms

ENVIRONMENTS = [("production", "Production"), ("staging", "Staging"), ("sandbox", "Sandbox")]
PEOPLE = [("1", "Tenant owner"), ("2", "Platform lead")]
AnyForm = TypeVar("AnyForm", bound=forms.Form)


def submit(form: type[AnyForm], values: dict[str, Any]) -> AnyForm:
    bound = form(values)
    bound.is_valid()
    return bound


class RegisterForm(forms.Form):
    name = forms.SlugField(help_text="Lower-case letters, digits and hyphens.")
    environment = forms.ChoiceField(choices=ENVIRONMENTS, widget=forms.RadioSelect, initial="production")
    param_project = forms.CharField(label="Project id", required=False)
    secret = forms.CharField(widget=forms.PasswordInput)
    custody = forms.ChoiceField(choices=[("sealed", "Sealed")], widget=forms.RadioSelect, initial="sealed")
    scope = forms.MultipleChoiceField(choices=[("chat.write", "Chat")], widget=forms.CheckboxSelectMultiple)
    justification = forms.CharField(
        widget=forms.Textarea, required=False, help_text="Required when a critical scope is ticked."
    )
    purpose = forms.CharField(widget=forms.Textarea)
    owner = forms.ChoiceField(choices=PEOPLE)
    backup_owner = forms.ChoiceField(choices=PEOPLE, required=False)
    ends_on = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}))


class RotateForm(forms.Form):
    secret = forms.CharField(widget=forms.PasswordInput)
    drain = forms.ChoiceField(choices=[("0", "0"), ("24", "24")], widget=forms.RadioSelect)
    note = forms.CharField(required=False)


class ConfirmForm(forms.Form):
    reason = forms.ChoiceField(choices=[("", "Choose a reason"), ("key_compromise", "Key compromise")])
    note = forms.CharField(widget=forms.Textarea, required=False)
    confirm_name = forms.CharField(label="Type the key's name to confirm", help_text="prod-chat-gateway")

    def clean_confirm_name(self) -> str:
        message = "This is not the key's name."
        raise forms.ValidationError(message)


class GrantForm(forms.Form):
    consumer = forms.ChoiceField(choices=[("a", "support-agent"), ("b", "batch-vendor")])
    networks = forms.CharField(required=False, help_text="CIDR, separated by commas. Empty: any.")
    expires_in_days = forms.IntegerField(initial=30)
    rate_per_minute = forms.IntegerField(required=False)
    window_start = forms.TimeField(required=False, widget=forms.TimeInput(attrs={"type": "time"}))
    window_end = forms.TimeField(required=False, widget=forms.TimeInput(attrs={"type": "time"}))
    reason = forms.CharField(widget=forms.Textarea)


class ConsumerForm(forms.Form):
    name = forms.SlugField()
    owner = forms.ChoiceField(choices=PEOPLE)
    purpose = forms.CharField(widget=forms.Textarea)


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail address")


class PasswordForm(forms.Form):
    password1 = forms.CharField(label="Password", widget=forms.PasswordInput, help_text="At least 15 characters.")
    password2 = forms.CharField(label="Password again", widget=forms.PasswordInput)


class SignInForm(forms.Form):
    login = forms.EmailField(label="E-mail address")
    password = forms.CharField(widget=forms.PasswordInput)
    remember = forms.BooleanField(label="Remember me", required=False)
