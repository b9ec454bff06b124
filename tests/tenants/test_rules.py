"""The rules of input: each refusal names its field and its rule."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from byok_portal.errors import InvalidInput
from tenants import rules

SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?")


@given(st.text(max_size=200))
def test_a_slug_made_of_any_name_is_a_slug_or_a_clear_refusal(name: str) -> None:
    try:
        slug = rules.slug_from(name)
    except InvalidInput as refusal:
        slug = f"{refusal.field}-{refusal.code}".replace("_", "-")
        assert slug == "name-invalid-slug"
    assert SLUG.fullmatch(slug)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "required"),
        ("   ", "required"),
        ("a\0b", "control_characters"),
        ("a\nb", "control_characters"),
        ("x" * 81, "too_long"),
        (None, "not_text"),
        (7, "not_text"),
    ],
)
def test_bad_text_names_field_and_rule(value: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        rules.require_text(value, field="name", maximum=80)
    assert (refusal.value.field, refusal.value.code) == ("name", code)


@pytest.mark.parametrize(
    ("days", "code"), [(-1, "end_date_in_past"), (0, "end_date_in_past"), (4000, "end_date_too_far")]
)
def test_an_end_is_after_today_and_within_three_years(days: int, code: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        rules.require_end_date(timezone.now().date() + timedelta(days=days), field="ends_on")
    assert (refusal.value.field, refusal.value.code) == ("ends_on", code)


@pytest.mark.parametrize("value", [True, 0, 31, "7", 7.0, None])
def test_a_number_is_whole_and_within_its_bounds(value: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        rules.require_number(value, field="days", minimum=1, maximum=30)
    assert (refusal.value.field, refusal.value.code) == ("days", "out_of_range")
