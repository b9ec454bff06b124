"""An entry is in the log for ever, so a strange time in it must not keep any page from opening."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from audit.models import Entry
from byok_portal.boundary.identifiers import new_id
from tests.audit import inbox


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("0001-01-01T00:00:00+12:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-12:00", datetime.max.replace(tzinfo=UTC)),
        ("2026-01-02T03:04:05+01:00", datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_time_is_shown_in_utc_and_never_overflows(time: str, shown: datetime) -> None:
    event = new_id()
    body = inbox.text(inbox.document(event, time=time))
    assert Entry(leaf=f'{{"body":{body}}}').occurred_at == shown
