"""Identifiers: UUIDv7, so that ids sort by time and carry no volume. Never a credential (DESIGN.md section 5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import UUID

import uuid_utils.compat

if TYPE_CHECKING:
    from typing import Any

_DASHED: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

PLATFORM: Final = UUID(int=0)
"""The chain of events that belong to no tenant, such as a change to the provider catalogue."""


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562 section 5.7)."""
    return uuid_utils.compat.uuid7()


def parse_id(value: Any) -> UUID | None:
    """The UUID that `value` spells, or None. Total: never raises on a stranger's input."""
    text = str(value)
    # Only the dashed form: 32 hexadecimal digits may be somebody's slug.
    if not _DASHED.fullmatch(text):
        return None
    return UUID(text)
