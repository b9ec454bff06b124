"""Every icon that a template or a page names is in the set that is installed: a missing one would be a failed page."""

from __future__ import annotations

import re
from typing import Final

import pytest
from lucide.templatetags.lucide import lucide

from tests.portal import ROOT

_TAG: Final = re.compile(r'{%-?\s*icon\s+"([^"]+)"|icon(?:_name)?="([a-z0-9-]+)"')
_WORD: Final = re.compile(r'"?icon(?:_name)?"?\s*(?::|=)\s*"([a-z0-9-]+)"')
APPS: Final = ("byok_portal", "tenants", "keys", "audit")


def named_icons() -> set[str]:
    """Icons that are written out in templates and in code."""
    found = {
        name
        for path in (ROOT / "templates").rglob("*.html")
        for match in _TAG.findall(path.read_text())
        for name in match
    }
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            found |= set(_WORD.findall(path.read_text()))
    return found - {""}


def test_many_icons_are_found() -> None:
    assert {"triangle-alert", "check", "ban", "folder"} <= named_icons()


@pytest.mark.parametrize("name", sorted(named_icons()))
def test_the_icon_is_there(name: str) -> None:
    assert str(lucide(name)).startswith("<svg")
