"""The same forms in a browser that runs no script at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from keys.models import Key
from tests.browser.people import let_sign_in
from tests.browser.walking import NAME, button, fill_registration, link, revoke, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.people import Person
    from tests.world import World

pytestmark = pytest.mark.browser


def test_a_key_is_registered_and_revoked_without_javascript(world: World, arrive: Callable[..., Person]) -> None:
    cast, token = world.tenant(), world.bao_token()
    let_sign_in(cast.owner)
    owner = arrive(java_script_enabled=False)
    page = owner.page
    sign_in(owner, cast)
    page.get_by_role("main").get_by_role("link", name="Register key").first.click()
    page.get_by_role("link", name=re.compile("OpenBao")).click()
    fill_registration(page, cast, endpoint=world.bao_server.address, secret=token.token)
    ticked = page.locator("input[name=scope]:checked")
    while ticked.count():
        ticked.first.uncheck()
    page.get_by_role("radio", name=re.compile("^Reader with listing")).check(force=True)
    button(page, "Register key").click()
    page.wait_for_url("**/keys/nightly-reports/")
    expect(page.get_by_role("region", name="Scopes")).to_contain_text("secrets:list")
    link(page, "Activate").click()
    if page.get_by_label("I accept that the credential can do more than was chosen").count():
        page.get_by_label("I accept that the credential can do more than was chosen").check()
        page.get_by_label("Reason").fill("The default policy is part of every token")
    button(page, "Activate").click()
    revoke(owner)
    expect(page.get_by_role("status")).to_contain_text("is revoked here")
    with world.inside(cast):
        key = Key.objects.get(name=NAME)
    assert (key.state, sorted(key.scopes)) == (
        "revoked",
        ["metadata:read", "secrets:list", "secrets:read", "token:self"],
    )
