"""The pages of the second half of a rotation, as an owner walks through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.keys.test_draining import Rotating
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from django.test import Client

    from tests.world import World


def visit(browser: Client, rotating: Rotating, page: str, **data: str) -> str:
    """Post the form of a page about version 1 and read where it leads."""
    address = at(f"keys:{page}", rotating.cast, rotating.key.slug, 1)
    assert browser.get(address).status_code == 200
    return text_of(browser.post(address, data, follow=True))


def test_an_owner_rehearses_the_end_sees_who_breaks_and_ends_it_all_the_same(world: World) -> None:
    rotating = Rotating(world)
    rotating.rotate()
    browser, name = sign_in(rotating.cast.owner), rotating.credential.consumer.name
    assert rotating.use(version=1).allowed
    rotating.read_log()
    detail = text_of(browser.get(at("keys:detail", rotating.cast, rotating.key.slug)))
    assert "Version 1 drains" in detail
    assert "still uses it" in detail
    assert "A brownout is set" in visit(browser, rotating, "brownout", delay="0", minutes="5")
    assert not rotating.use(version=1).allowed
    world.sequence()
    shown = visit(browser, rotating, "end-brownout")
    assert f"{name} was refused once" in shown
    refusal = visit(browser, rotating, "finish-rotation")
    assert f"Still used by {name}" in refusal
    assert "End it although it is in use" in refusal
    done = visit(browser, rotating, "finish-rotation", force="on", note="The job moves tomorrow")
    assert "Version 1 is revoked here" in done
    assert "Version 1 drains" not in done


def test_an_owner_rolls_a_rotation_back(world: World) -> None:
    rotating = Rotating(world)
    rotating.rotate()
    browser = sign_in(rotating.cast.owner)
    without = visit(browser, rotating, "roll-back")
    assert "This field is required" in without
    done = visit(browser, rotating, "roll-back", note="The new one lacks a path")
    assert "is current again" in done
    assert rotating.use().version == 1
