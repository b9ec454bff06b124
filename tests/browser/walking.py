"""Ways through the pages that several tests walk: in, to a key and to its end."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.utils import timezone
from playwright.sync_api import expect

from tests.world import PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.people import Person
    from tests.world import Cast

NAME: Final = "Nightly reports"


def sign_in(person: Person, cast: Cast) -> None:
    """Ask for the tenant, be sent to the door, come back to where one wanted to go."""
    page = person.page
    person.go(f"/t/{cast.slug}/")
    expect(page).to_have_url(re.compile(rf"/accounts/login/\?next=/t/{cast.slug}/$"))
    page.get_by_label("E-mail").or_(page.get_by_label("Email")).first.click()
    page.keyboard.type(cast.owner.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/t/{cast.slug}/")


def button(page: Page, name: str) -> Locator:
    """A button of the page itself, not of the frame around it."""
    return page.get_by_role("main").get_by_role("button", name=name, exact=True)


def link(page: Page, name: str) -> Locator:
    return page.get_by_role("main").get_by_role("link", name=name, exact=True)


def fill_registration(page: Page, cast: Cast, *, endpoint: str, secret: str) -> None:
    """The first and the third part of the form."""
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("Endpoint").fill(endpoint)
    page.get_by_label(re.compile("^Mount")).fill("secret")
    page.get_by_label(re.compile("^Path prefix")).fill("reports/")
    page.get_by_label("Secret", exact=True).fill(secret)
    page.get_by_label("Purpose").fill("Nightly report")
    page.get_by_label("Owner", exact=True).select_option(str(cast.owner.pk))
    page.get_by_label("Backup owner").select_option(str(cast.backup.pk))
    page.get_by_label("Ends on").fill(str(timezone.now().date() + timedelta(days=90)))


def revoke(owner: Person) -> None:
    """From the menu; a wrong name is refused, the right one is not."""
    page = owner.page
    page.get_by_role("main").locator("summary", has_text="Actions").click()
    page.get_by_role("link", name="Revoke", exact=True).click()
    page.get_by_label("Reason").select_option("cessation_of_operation")
    confirm = page.locator("input[name=confirm_name]")
    confirm.fill("nightly")
    with owner.watch.expecting(422):
        button(page, "Revoke").click()
        expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Reason").select_option("cessation_of_operation")
    confirm.fill(NAME)
    button(page, "Revoke").click()
    page.wait_for_url("**/keys/nightly-reports/")
