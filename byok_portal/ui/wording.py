"""Short wordings of numbers, names and times for people. Must never be parsed back or stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

MILLION, THOUSAND, GROUPED_UP_TO = 1_000_000, 1_000, 10_000
MINUTE, HOUR = 60, 3600
RELATIVE_UP_TO = timedelta(days=60)
NOW_WITHIN = timedelta(seconds=45)


def shorten_number(value: float) -> str:
    """88412 -> "88.4k", 1240000 -> "1.24M"; below ten thousand every digit, grouped."""
    size = abs(value)
    if size >= MILLION:
        return f"{value / MILLION:.2f}".rstrip("0").rstrip(".") + "M"
    if size >= GROUPED_UP_TO:
        return f"{value / THOUSAND:.1f}".removesuffix(".0") + "k"
    return f"{value:,.0f}"


def take_initials(name: str) -> str:
    """Up to two letters for a monogram tile: "Acme Robotics" -> "AR", "acme" -> "AC"."""
    words = [word for word in name.replace("@", " ").replace("-", " ").split() if word[0].isalnum()]
    if not words:
        return "?"
    return (words[0][0] + words[1][0] if len(words) > 1 else words[0][:2]).upper()


def word_moment(value: date | datetime) -> str:
    """Absolute: "23 Nov 2026, 10:31 UTC" for a time, "23 Nov 2026" for a day."""
    if not isinstance(value, datetime):
        return formats.date_format(value, "j M Y")
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return formats.date_format(local, "j M Y, H:i") + f" {local.tzname() or ''}".rstrip()


def word_distance(value: date | datetime, now: datetime) -> str:
    """Relative to `now`: "3 days ago", "in 2 hours"; beyond sixty days, the date."""
    if not isinstance(value, datetime):
        return _word_days(value, now.date())
    gap = value - now
    if abs(gap) < NOW_WITHIN:
        return _("just now")
    if abs(gap) > RELATIVE_UP_TO:
        return formats.date_format(value, "j M Y")
    if gap < timedelta():
        return _("%(span)s ago") % {"span": _word_span(-gap)}
    return _("in %(span)s") % {"span": _word_span(gap)}


def machine_time(value: date | datetime) -> str:
    """ISO 8601 for the `datetime` attribute; aware times in UTC."""
    if isinstance(value, datetime) and timezone.is_aware(value):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return value.isoformat()


def _word_days(day: date, today: date) -> str:
    gap = (day - today).days
    if gap == 0:
        return _("today")
    if abs(gap) > RELATIVE_UP_TO.days:
        return formats.date_format(day, "j M Y")
    span = _word_span(timedelta(days=abs(gap)))
    return (_("%(span)s ago") if gap < 0 else _("in %(span)s")) % {"span": span}


def _word_span(span: timedelta) -> str:
    """Word a span in its largest unit up to days: weeks would hide when a key ends. Django's own msgids."""
    seconds = int(span.total_seconds())
    if span.days:
        return ngettext("%(num)d day", "%(num)d days", span.days) % {"num": span.days}
    if seconds >= HOUR:
        hours = seconds // HOUR
        return ngettext("%(num)d hour", "%(num)d hours", hours) % {"num": hours}
    minutes = max(1, seconds // MINUTE)
    return ngettext("%(num)d minute", "%(num)d minutes", minutes) % {"num": minutes}
