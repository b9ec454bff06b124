"""How one form field is shown: its kind, its dressed widget, its hint and errors wired by id.

Must never put a secret's value back on a page: password widgets are rendered empty whatever was posted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django import forms

if TYPE_CHECKING:
    from django.forms.boundfield import BoundField
    from django.utils.safestring import SafeString

DJANGO_ROWS = "10"
"""What a Textarea has when nobody chose: more than any field here wants."""

KINDS: tuple[tuple[type[forms.Widget], str], ...] = (
    (forms.CheckboxSelectMultiple, "checks"),  # before RadioSelect, which it extends
    (forms.RadioSelect, "radios"),
    (forms.CheckboxInput, "check"),
    (forms.Select, "select"),
    (forms.Textarea, "textarea"),
    (forms.PasswordInput, "secret"),
)


class SecretTextarea(forms.Textarea):
    """For secrets of several lines (PEM, JSON); like a password input it never renders what was posted."""

    def format_value(self, value: object) -> None:
        """Return nothing, whatever `value` is."""


@dataclass(frozen=True)
class FieldView:
    """What `ui/field.html` needs; `widget` is empty for a choice list, which the template draws itself."""

    bound: BoundField
    kind: str
    hint: str
    error_id: str
    hint_id: str
    widget: SafeString | str


@dataclass(frozen=True)
class Problem:
    """One line of the error summary: the field's label, the rule that it breaks, and where to go."""

    label: str
    message: str
    target: str


def show_field(bound: BoundField, *, hint: str | None, attrs: dict[str, str]) -> FieldView:
    """Describe `bound`; hint "" means the help text, None means no hint; `attrs` go to the widget."""
    kind = kind_of(bound)
    hint = str(bound.help_text) if hint == "" else hint or ""
    hint_id, error_id = f"{bound.auto_id}_helptext", f"{bound.auto_id}_error"
    described = " ".join([hint_id] * bool(hint) + [error_id] * bool(bound.errors))
    if described:
        attrs = {**attrs, "aria-describedby": described}
    widget = "" if kind in ("radios", "checks") else bound.as_widget(attrs={**_dress(bound, kind, attrs)})
    return FieldView(bound, kind, hint, error_id, hint_id, widget)


def kind_of(bound: BoundField) -> str:
    """One of: hidden, radios, checks, check, select, textarea, secret, input."""
    if bound.is_hidden:
        return "hidden"
    return next((kind for widget, kind in KINDS if isinstance(bound.field.widget, widget)), "input")


def list_problems(form: forms.BaseForm) -> list[Problem]:
    """List every error, the form's own first; `target` is the id to link to, empty for the form itself."""
    own = [Problem("", str(error), "") for error in form.non_field_errors()]
    for name in form.fields:
        bound = form[name]
        own += [Problem(str(bound.label), str(error), _target(bound)) for error in bound.errors]
    return own


def _target(bound: BoundField) -> str:
    """Return the id to jump to; a group has no single input, so its fieldset carries the id."""
    return str(bound.auto_id if kind_of(bound) in ("radios", "checks") else bound.id_for_label)


def _dress(bound: BoundField, kind: str, attrs: dict[str, str]) -> dict[str, str]:
    classes = {"select": "select l", "textarea": "input area", "check": "box", "hidden": ""}.get(kind, "input l")
    own = bound.field.widget.attrs.get("class", "")
    dressed = {**attrs, "class": f"{classes} {own} {attrs.get('class', '')}".strip()}
    if kind == "textarea" and "rows" not in attrs and bound.field.widget.attrs.get("rows") == DJANGO_ROWS:
        dressed["rows"] = "3"
    if kind == "secret":
        dressed = {"autocomplete": "off", "spellcheck": "false", **dressed}
    return {name: value for name, value in dressed.items() if value != ""}
