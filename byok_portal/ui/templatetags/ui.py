"""`{% load ui %}`: icons, charts, badges, form fields and times. Tags only draw what they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from django import forms, template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from lucide.templatetags.lucide import lucide

from byok_portal.ui.charts import draw_sparkline, fill_ring
from byok_portal.ui.fields import FieldView, Problem, list_problems, show_field
from byok_portal.ui.wording import machine_time, shorten_number, take_initials, word_distance, word_moment

if TYPE_CHECKING:
    from django.forms.boundfield import BoundField
    from django.utils.safestring import SafeString

register = template.Library()
DASH = "\N{EN DASH}"

RISK_LEVELS = ("none", "low", "medium", "high", "critical")
RISK_LABELS = (_("None"), _("Low"), _("Medium"), _("High"), _("Critical"))


@register.simple_tag
def icon(name: str, size: str = "") -> str:
    """Draw a Lucide icon, hidden from screen readers: the words beside it carry the meaning."""
    return lucide(name, size=16, **{"class": f"icon {size}".strip(), "aria-hidden": "true"})


@register.inclusion_tag("ui/risk.html")
def risk(level: object) -> dict[str, Any]:
    """Draw four bars and a word. Takes 0 to 4, or anything with `n` and optionally `level`, `label`."""
    n = _rank(level)
    return {
        "bars": [n >= bar for bar in (1, 2, 3, 4)],
        "level": _read(level, "level", "") or RISK_LEVELS[n],
        "label": _read(level, "label", "") or RISK_LABELS[n],
    }


@register.inclusion_tag("ui/spark.html")
def sparkline(points: Sequence[float] | None, trend: str = "", label: str = "") -> dict[str, Any]:
    """Draw `points`, oldest first. `trend` "alarm" draws them red; `label` says it in words."""
    drawn = draw_sparkline(points or ())
    return {"chart": drawn, "trend": "flat" if drawn.flat else trend, "label": label}


@register.inclusion_tag("ui/ring.html")
def ring(percent: float | None) -> dict[str, str]:
    """Draw a ring filled to `percent`; the words beside it carry the meaning."""
    return {"dash": fill_ring(percent or 0)}


@register.simple_tag
def status(css: str, label: str) -> SafeString:
    """Draw a dot and a word; `css` is the state's name, such as `active`, `suspended`, `compromised`."""
    return format_html('<span class="status {}">{}</span>', css, label)


@register.simple_tag
def ago(value: date | datetime | None, empty: str = DASH) -> SafeString | str:
    """Relative time; hovering shows the absolute one."""
    if not value:
        return empty
    return _time_element(value, word_distance(value, timezone.now()), word_moment(value))


@register.simple_tag
def moment(value: date | datetime | None, empty: str = DASH) -> SafeString | str:
    """Absolute time, for records."""
    return empty if not value else _time_element(value, word_moment(value), "")


@register.simple_tag
def fact(value: object, empty: str = DASH) -> object:
    """Word a value of a key-value list: dates and times are worded, nothing is a dash."""
    return moment(value, empty) if isinstance(value, date) else empty if value in (None, "") else value


@register.inclusion_tag("ui/field.html")
def field(bound: BoundField, hint: str | None = "", look: str = "", **attrs: str) -> dict[str, Any]:
    """Label, widget, hint and errors. `look` is `seg` for a segmented radio row; `attrs` go to the widget."""
    dashed = {name.replace("_", "-"): value for name, value in attrs.items()}
    return {"view": show_field(bound, hint=hint, attrs=dashed), "look": look}


@register.simple_tag
def widget(bound: BoundField, hint: str | None = "", **attrs: str) -> FieldView:
    """Return a field's parts, for a template that lays them out: `{% widget form.secret as secret %}`."""
    return show_field(bound, hint=hint, attrs={name.replace("_", "-"): value for name, value in attrs.items()})


@register.inclusion_tag("ui/error_summary.html")
def error_summary(form: forms.BaseForm | None) -> dict[str, list[Problem]]:
    """Every field that broke a rule, each a link to the field; nothing for a page without a form."""
    return {"problems": list_problems(form) if isinstance(form, forms.BaseForm) else []}


@register.filter
def compact(value: float | None) -> str:
    """88412 -> 88.4k."""
    return shorten_number(value) if isinstance(value, (int, float)) else DASH


@register.filter
def initials(name: str) -> str:
    """Acme Robotics -> AR."""
    return take_initials(str(name))


def _time_element(value: date | datetime, text: str, title: str) -> SafeString:
    if title:
        return format_html('<time datetime="{}" title="{}">{}</time>', machine_time(value), title, text)
    return format_html('<time datetime="{}">{}</time>', machine_time(value), text)


def _rank(level: object) -> int:
    n = _read(level, "n", level)
    return n if isinstance(n, int) else 0


def _read(source: object, name: str, default: object) -> object:
    return source.get(name, default) if isinstance(source, Mapping) else getattr(source, name, default)
