"""A real portal per process and a real Chromium. Whoever a test lets in is checked for faults when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.chromium import launch
from tests.browser.people import Person, enter
from tests.portal import Portal, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.world import World


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        started = launch(driver)
        yield started
        started.close()


@pytest.fixture(scope="package")
def portal(browser: Browser, world_setup: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    with running(tmp_path_factory.mktemp("portal")) as started:
        yield started


@pytest.fixture
def arrive(browser: Browser, portal: Portal) -> Iterator[Callable[..., Person]]:
    """Lets people in: `arrive()`, `arrive(user)`, `arrive(java_script_enabled=False)`."""
    people: list[Person] = []

    def let_in(user: Any = None, **options: Any) -> Person:
        people.append(enter(browser, portal.url, user, **options))
        return people[-1]

    yield let_in
    for person in people:
        person.leave()
    assert [fault for person in people for fault in person.watch.faults] == []
