"""Takes e-mail addresses out of what goes into a document that nobody can erase from.

Used for certificates and incident reports. It never looks anything up, and never fails on a JSON value.
"""

from __future__ import annotations

import re
from typing import Any, Final

_ADDRESS: Final = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+")
HIDDEN: Final = "[address removed]"


def scrub(value: Any) -> Any:
    """The same value without anything that looks like an address: names and notes are people's own words."""
    if isinstance(value, str):
        return _ADDRESS.sub(HIDDEN, value)
    if isinstance(value, list):
        return [scrub(each) for each in value]
    if isinstance(value, dict):
        return {scrub(name): scrub(each) for name, each in value.items()}
    return value
