from __future__ import annotations

import pytest
from django import forms

from byok_portal.ui.fields import SecretTextarea, kind_of, list_problems, show_field
from tests.ui.samples.shell import SECRET

CHOICES = [("a", "A"), ("b", "B")]


class EveryKind(forms.Form):
    input = forms.CharField(help_text="Short.")
    textarea = forms.CharField(widget=forms.Textarea)
    select = forms.ChoiceField(choices=CHOICES)
    radios = forms.ChoiceField(choices=CHOICES, widget=forms.RadioSelect)
    checks = forms.MultipleChoiceField(choices=CHOICES, widget=forms.CheckboxSelectMultiple)
    check = forms.BooleanField()
    secret = forms.CharField(widget=forms.PasswordInput)
    hidden = forms.CharField(widget=forms.HiddenInput)

    def clean(self) -> None:
        self.add_error(None, "These do not fit together.")


@pytest.mark.parametrize("name", list(EveryKind.base_fields))
def test_each_widget_has_its_kind(name: str) -> None:
    assert kind_of(EveryKind()[name]) == name


def test_a_hint_and_an_error_are_both_described_in_that_order() -> None:
    view = show_field(EveryKind({})["input"], hint="", attrs={})
    assert 'aria-describedby="id_input_helptext id_input_error"' in view.widget
    assert 'aria-invalid="true"' in view.widget
    assert show_field(EveryKind()["input"], hint=None, attrs={}).hint == ""


def test_problems_name_the_field_and_the_rule_and_the_forms_own_come_first() -> None:
    problems = list_problems(EveryKind({}))
    assert (problems[0].label, problems[0].message, problems[0].target) == (
        "",
        "These do not fit together.",
        "",
    )
    targets = {problem.target for problem in problems}
    assert {"id_input", "id_radios", "id_checks"} <= targets


def test_a_secret_of_several_lines_is_not_rendered_back() -> None:
    class Pem(forms.Form):
        secret = forms.CharField(widget=SecretTextarea)

    form = Pem({"secret": SECRET})
    assert form.is_valid()
    view = show_field(form["secret"], hint="", attrs={})
    assert SECRET not in view.widget
    assert view.kind == "textarea"
    assert 'rows="3"' in view.widget
