"""Every page, in both colour schemes and at four widths: no broken rule of axe, nothing wider than the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import scenery
from tests.browser.people import Person, enter
from tests.browser.reviewing import find_faults
from tests.browser.scenes import SCENES
from tests.portal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.browser.scenery import Scenery
    from tests.portal import Portal
    from tests.world import World

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def stage(world_setup: World, portal: Portal) -> Scenery:
    return scenery.build(world_setup, portal)


@pytest.fixture(scope="module")
def people(browser: Browser, portal: Portal, stage: Scenery) -> Iterator[dict[str, Person]]:
    users: dict[str, Any] = {
        "nobody": None,
        "owner": stage.cast.owner,
        "beginner": stage.beginner.owner,
        "staff": stage.staff,
    }
    present = {who: enter(browser, portal.url, user) for who, user in users.items()}
    seen = present["owner"]
    wait_until(lambda: is_recorded(seen, stage), seconds=20)
    yield present
    for person in present.values():
        person.leave()


def is_recorded(person: Person, stage: Scenery) -> bool:
    """Whether the last use has its number."""
    with person.watch.expecting(404):
        answer = person.page.goto(f"{person.watch.origin}{stage.places['entry']}/")
    return answer is not None and answer.status == 200


@pytest.mark.parametrize("name", SCENES)
def test_no_rule_is_broken(name: str, people: dict[str, Person], stage: Scenery) -> None:
    scene = SCENES[name]
    person = people[scene.who]
    person.watch.faults.clear()
    with person.watch.expecting(scene.status):
        person.go(scene.path.format_map(stage.places))
        if scene.act is not None:
            scene.act(person)
        faults = find_faults(person.page, name)
    assert faults == []
    person.watch.check()
