"""Rules for input that several operations share: each raises InvalidInput with the field and the rule."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone
from django.utils.text import slugify

from byok_portal.errors import InvalidInput
from tenants.states import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PERIOD: Final = timedelta(days=3 * 366)
_SLUG: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?")


def require_text(value: object, *, field: str, maximum: int, required: bool = True) -> str:
    """Trimmed text without control characters, at most `maximum` characters."""
    if not isinstance(value, str):
        raise InvalidInput(f"{label(field)} must be text.", code="not_text", field=field)
    text = value.strip()
    # What is printable holds neither, and nearly every text is.
    if not text.isprintable() and any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise InvalidInput(
            f"{label(field)} must not contain control characters.", code="control_characters", field=field
        )
    if required and not text:
        raise InvalidInput(f"{label(field)} is required.", code="required", field=field)
    if len(text) > maximum:
        raise InvalidInput(f"{label(field)} has at most {maximum} characters.", code="too_long", field=field)
    return text


def require_slug(value: str, *, field: str = "slug") -> str:
    """A slug: small letters, digits and inner hyphens, 1 to 60 of them."""
    if not _SLUG.fullmatch(value):
        raise InvalidInput(
            f"{label(field)} uses small letters, digits and inner hyphens, at most 60.",
            code="invalid_slug",
            field=field,
        )
    return value


def slug_from(name: str, *, field: str = "name") -> str:
    """The slug that a name gives. Raises when no letter or digit is left of it."""
    slug = re.sub("[-_]+", "-", slugify(name))[:60].strip("-")
    if not slug:
        raise InvalidInput(f"{label(field)} needs at least one letter or digit.", code="invalid_slug", field=field)
    return slug


def require_email(value: object, *, field: str) -> str:
    """A well-formed e-mail address, in small letters."""
    text = require_text(value, field=field, maximum=254).lower()
    try:
        validate_email(text)
    except ValidationError:
        raise InvalidInput(f"{label(field)} must be an e-mail address.", code="invalid_email", field=field) from None
    return text


def require_end_date(value: date | None, *, field: str, required: bool = True) -> date | None:
    """A date after today and at most three years ahead."""
    if value is None:
        if required:
            raise InvalidInput(
                f"{label(field)} is required: every key and contract ends.", code="required", field=field
            )
        return None
    today = timezone.now().date()
    if value <= today:
        raise InvalidInput(f"{label(field)} must be after today.", code="end_date_in_past", field=field)
    if value > today + MAX_PERIOD:
        raise InvalidInput(f"{label(field)} is at most three years ahead.", code="end_date_too_far", field=field)
    return value


def require_choice(value: object, choices: Iterable[str], *, field: str) -> str:
    """One of the listed words."""
    known = list(choices)
    if value not in known:
        raise InvalidInput(f"{label(field)} must be one of: {', '.join(known)}.", code="unknown_choice", field=field)
    return str(value)


def require_environment(value: object) -> Environment:
    """One of the closed list of environments."""
    return Environment(require_choice(value, [word.value for word in Environment], field="environment"))


def require_number(value: object, *, field: str, minimum: int, maximum: int) -> int:
    """A whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise InvalidInput(
            f"{label(field)} must be a whole number from {minimum} to {maximum}.",
            code="out_of_range",
            field=field,
        )
    return value


def label(field: str) -> str:
    """The field as people read it."""
    return field.replace("_", " ").capitalize()
