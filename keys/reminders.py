"""Which deadlines there are, on which days before them somebody is told, and who, once they have passed. Pure.

A clock that jumps over several days gives one reminder, the nearest; one that goes back gives none again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

NOTHING_SAID: Final = 9999
"""The stage of a deadline that nobody has been told of."""
OWNERS_AFTER: Final = -1
STAFF_AFTER: Final = -3
"""Days after a deadline that nobody acted on, as days that are left."""


class Deadline(StrEnum):
    """What comes to an end."""

    KEY_END = "key_end"
    ROTATION = "rotation"
    CREDENTIAL = "credential"
    GRANT_END = "grant_end"
    PROOF = "proof"
    CONTRACT = "contract"
    CONFIRMATION = "confirmation"
    PROJECT = "project_end"


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told: the key's owner and backup owner, the tenant's owners, platform staff."""

    key_owners: bool
    tenant_owners: bool
    staff: bool


def stages_of(deadline: Deadline, days: Iterable[int]) -> list[int]:
    """The days on which something is said, the earliest first. A grant that ends needs nobody to act."""
    after = [] if deadline is Deadline.GRANT_END else [OWNERS_AFTER, STAFF_AFTER]
    return [*sorted({day for day in days if day > 0}, reverse=True), *after]


def find_stage(deadline: Deadline, *, left: int, days: Iterable[int]) -> int | None:
    """The nearest stage that has come when `left` days are left, or None when the first has not."""
    return min((stage for stage in stages_of(deadline, days) if stage >= left), default=None)


def find_next_look(deadline: Deadline, *, due_on: date, stage: int, days: Iterable[int]) -> date | None:
    """The first day of the stage after this one; None when all is said."""
    later = [each for each in stages_of(deadline, days) if each < stage]
    return due_on - timedelta(days=max(later)) if later else None


def audience_of(stage: int, *, said: int) -> Audience:
    """Who hears a stage; `said`: the stage before, so that one that was jumped over leaves nobody out."""
    if stage > OWNERS_AFTER:
        return Audience(key_owners=True, tenant_owners=False, staff=False)
    is_last = stage <= STAFF_AFTER
    owners_know = is_last and said <= OWNERS_AFTER
    return Audience(key_owners=not owners_know, tenant_owners=not owners_know, staff=is_last)
