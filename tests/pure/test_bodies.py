"""What may be numbered: the quick look and the long one never disagree about a body that the quick one lets through."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import bodies
from audit.models import Outcome
from byok_portal.errors import PortalError
from tests.audit import inbox

EVENT = UUID("0198f2a0-0000-7000-8000-000000000001")
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=9) | st.floats(allow_nan=False)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)


def is_accepted(text: str) -> bool:
    try:
        bodies._check(str(EVENT), text)
    except PortalError:
        return False
    return True


def test_the_outcomes_are_the_ones_of_the_log() -> None:
    assert list(bodies.OUTCOMES) == Outcome.values


def test_a_use_takes_the_quick_look() -> None:
    text = inbox.text(inbox.document(EVENT, detail={"lease": 1, "scopes": ["a", "b"], "n": None, "x": True}))
    assert bodies._is_plain(str(EVENT), text)
    bodies.check_body(str(EVENT), text)


@given(st.dictionaries(st.text(max_size=6), values, max_size=4), st.sampled_from(["", " ", ",", '"a":1,']), st.data())
def test_what_the_quick_look_lets_through_the_long_one_would_too(
    detail: dict[str, Any], junk: str, data: st.DataObject
) -> None:
    text = inbox.text(inbox.document(EVENT, detail=detail))
    place = data.draw(st.integers(0, len(text)))
    text = text[:place] + junk + text[place:]
    if bodies._is_plain(str(EVENT), text):
        assert is_accepted(text)


CHANGES: dict[str, dict[str, Any]] = {
    "another event": {"id": str(UUID(int=1))},
    "an upper-case id": {"actor": {"id": "0198F2A0-0000-7000-8000-00000000000A", "kind": "user"}},
    "an id without hyphens": {"target": {"id": "0198f2a0000070008000000000000001", "kind": "key"}},
    "one more key": {"extra": 1},
    "a long action": {"action": "a" * 61},
    "a time without a zone": {"time": "2026-01-02T03:04:05.000006"},
    "a detail that is a list": {"detail": []},
    "an integer too large": {"detail": {"n": 2**53}},
    "a commitment that is a number": {"priv": 7},
    "a request that is missing": {"req": None},
    "an unknown outcome": {"outcome": "perhaps"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_body_that_is_not_whole_is_refused(what: str) -> None:
    text = json.dumps(inbox.document(EVENT, **CHANGES[what]), sort_keys=True, separators=(",", ":"))
    assert not bodies._is_plain(str(EVENT), text)
    with pytest.raises(PortalError):
        bodies.check_body(str(EVENT), text)


def test_text_beyond_ascii_goes_the_long_way_and_is_accepted() -> None:
    text = inbox.text(inbox.document(EVENT, detail={"name": "Schlüssel", "path": "a\\b"}))
    assert not bodies._is_plain(str(EVENT), text)
    bodies.check_body(str(EVENT), text)
