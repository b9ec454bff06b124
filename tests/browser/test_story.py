"""The owner's way through the portal as a person walks it: mouse, keyboard, and what stands on the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.calling import call
from tests.browser.people import let_sign_in
from tests.browser.walking import button, fill_registration, link, revoke, sign_in
from tests.portal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.people import Person
    from tests.portal import Portal
    from tests.world import Cast, World

pytestmark = pytest.mark.browser


def choose_scopes(page: Page) -> None:
    """A preset first, then single scopes; the summary follows each."""
    summary = page.get_by_role("complementary", name="Access summary")
    scopes = page.locator("#id_scope")
    page.get_by_role("radio", name=re.compile("^Writer")).check(force=True)
    expect(summary).to_contain_text("High exposure")
    expect(scopes.get_by_label(re.compile("^Write secrets"))).to_be_checked()
    page.get_by_role("radio", name=re.compile("^Reader with listing")).check(force=True)
    expect(summary).to_contain_text("Medium exposure")
    expect(scopes.get_by_label(re.compile("^Write secrets"))).not_to_be_checked()
    for name in ("List secret names", "Read metadata", "Read secrets"):
        untick = scopes.get_by_label(re.compile(f"^{name}"))
        if untick.count() and untick.is_checked():
            untick.focus()
            page.keyboard.press("Space")
            expect(untick).not_to_be_checked()
    expect(summary).to_contain_text("Low exposure")
    scopes.get_by_text("Read secrets", exact=False).first.click()
    expect(summary).to_contain_text("Medium exposure")
    expect(summary).to_contain_text("Read secrets under the chosen path")


def test_an_owner_brings_a_key_watches_its_uses_rotates_and_ends_it(  # noqa: PLR0915  # one story, told in order
    world: World, portal: Portal, arrive: Callable[..., Person]
) -> None:
    cast, user = world.tenant(), world.name("reader")
    let_sign_in(cast.owner)
    first, second = world.bao_token(user), world.bao_token(user)
    credential = world.consumer(cast)
    consumer = credential.consumer.name
    owner = arrive()
    page = owner.page

    # In, and a key from the first empty page.
    sign_in(owner, cast)
    expect(page.get_by_role("heading", name="Register your first key")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Register key").first.click()
    page.get_by_role("link", name=re.compile("OpenBao")).click()
    fill_registration(page, cast, endpoint=world.bao_server.address, secret=first.token)
    choose_scopes(page)
    reveal = page.get_by_role("button", name="Show or hide what you typed")
    reveal.click()
    expect(page.get_by_label("Secret", exact=True)).to_have_attribute("type", "text")
    reveal.click()
    button(page, "Register key").click()

    # Proven: the account and what the credential can do beyond the choice. The secret is nowhere.
    page.wait_for_url("**/keys/nightly-reports/")
    proof = page.get_by_role("region", name="Proof of control")
    expect(proof).to_contain_text(first.accessor)
    expect(proof).to_contain_text("Chosen and present.")
    expect(proof).to_contain_text("Refused here; a thief could use it directly.")
    assert first.token not in page.content()
    asked = {"scope": "secrets:read"}
    assert call(portal, cast, "nightly-reports", credential, **asked).status == 404

    # Activated, with the reason why so much is accepted.
    link(page, "Activate").click()
    page.get_by_label("I accept that the credential can do more than was chosen").check()
    page.get_by_label("Reason").fill("The reader policy also lists")
    button(page, "Activate").click()
    expect(page.get_by_role("status")).to_contain_text("is active")

    # One consumer, one scope, thirty days, one network.
    link(page, "Grant").click()
    page.get_by_label("Consumer", exact=True).select_option(label=consumer)
    page.get_by_label(re.compile("^Read secrets")).check()
    page.get_by_label(re.compile("^Decision")).check()
    page.get_by_label(re.compile("^Ends after")).fill("30")
    page.get_by_label(re.compile("^Networks")).fill("127.0.0.1/32")
    page.get_by_label("Reason").fill("Nightly report")
    button(page, "Grant use").click()
    expect(page.get_by_role("region", name="Grants")).to_contain_text(consumer)
    expect(page.get_by_role("region", name="Grants")).to_contain_text("127.0.0.1/32")

    # Used: allowed, and denied for its scope.
    allowed = call(portal, cast, "nightly-reports", credential, **asked)
    assert (allowed.status, allowed.document["version"]) == (200, 1)
    denied = call(portal, cast, "nightly-reports", credential, scope="secrets:write")
    assert (denied.status, denied.document["code"]) == (403, "scope_not_granted")
    see_uses(owner, cast, consumer, denied.audit_id)

    # Rotated to another token of the same account; the old one drains.
    owner.go(f"/t/{cast.slug}/keys/nightly-reports/")
    link(page, "Rotate").click()
    page.get_by_label("New secret").fill(second.token)
    page.get_by_label(re.compile("^1 hour")).check()
    page.get_by_label("I accept that the new credential can do more than was chosen").check()
    page.get_by_label(re.compile("^Note")).fill("Yearly rotation")
    button(page, "Rotate").click()
    versions = page.get_by_role("region", name="Versions")
    expect(versions).to_contain_text("Draining")
    assert call(portal, cast, "nightly-reports", credential, **asked).document["version"] == 2
    assert call(portal, cast, "nightly-reports", credential, **asked, version=1).document["version"] == 1

    # Revoked: refused at once. What OpenBao confirms is said only when a worker has seen it.
    portal.kill("worker")
    revoke(owner)
    versions = page.get_by_role("region", name="Versions")
    expect(versions).to_contain_text("waiting for confirmation")
    refused = call(portal, cast, "nightly-reports", credential, **asked)
    assert (refused.status, refused.document["code"]) == (403, "key_revoked")
    page.reload()
    expect(versions).not_to_contain_text("confirmed dead")
    assert world.bao.find_accessor(second.accessor) is not None
    portal.start("worker")
    wait_until(lambda: confirmations(page) == 2, seconds=80, every=0.5)
    assert world.bao.find_accessor(first.accessor) is None
    assert world.bao.find_accessor(second.accessor) is None

    # Out, and the door is closed behind.
    page.get_by_role("button", name="Sign out").first.click()
    owner.go(f"/t/{cast.slug}/")
    expect(page).to_have_url(re.compile("/accounts/login/"))
    for secret in (first.token, second.token):
        assert secret not in page.content()


def see_uses(owner: Person, cast: Cast, consumer: str, audit_id: str) -> None:
    """Find the uses in the audit log with its filter, and open the denied one."""
    page = owner.page
    owner.go(f"/t/{cast.slug}/audit/")
    page.get_by_label("Action").select_option("key.used")
    button(page, "Filter").click()

    def numbered() -> bool:
        page.reload()
        return page.get_by_role("row").filter(has_text="scope_not_granted").count() == 1

    wait_until(numbered, seconds=15, every=0.3)
    rows: Any = page.get_by_role("row")
    for row, words in (
        (rows.filter(has_text="scope_not_granted"), ("Denied", consumer, "secrets:write", "127.0.0.1")),
        (rows.filter(has_text="secrets:read").first, ("Allowed", consumer, "127.0.0.1/32")),
    ):
        for word in words:
            expect(row).to_contain_text(word)
    rows.filter(has_text="scope_not_granted").get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(f"/audit/{audit_id}/"))
    expect(page.get_by_role("region", name="What was recorded")).to_contain_text(audit_id)
    expect(page.get_by_role("region", name="Canonical leaf")).to_contain_text('"action":"key.used"')


def confirmations(page: Page) -> int:
    page.goto(page.url)
    text = page.get_by_role("region", name="Versions").inner_text()
    return text.lower().count("confirmed dead at")
