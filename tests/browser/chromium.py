"""Finds the Chromium that the browser tests drive. Never downloads one: `.ci/chromium` does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.portal import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

FLAGS = [
    "--no-sandbox",  # the only way as root, which containers are
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    places = (os.environ.get("CHROMIUM", ""), "/usr/bin/chromium", str(ROOT / ".local/chromium/chromium"))
    return next((place for place in places if place and Path(place).is_file()), None)


def launch(driver: Playwright) -> Browser:
    """A browser. Without one CI fails, and a developer's run skips."""
    path = find_chromium()
    if path is None:
        text = "No Chromium: set CHROMIUM, or run .ci/chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return driver.chromium.launch(executable_path=path, args=FLAGS)
