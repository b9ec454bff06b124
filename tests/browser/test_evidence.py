"""The signed log in a real browser: verifying, exporting, erasing, and entries that are not signed or numbered yet."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Download, expect

from audit.models import Entry
from tests.browser.reviewing import find_faults
from tests.browser.walking import button, link
from tests.pages.browser import at
from tests.pages.test_evidence import number_without_signing
from tests.portal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    import psycopg

    from tests.browser.people import Person
    from tests.portal import Portal
    from tests.world import Cast, World

pytestmark = pytest.mark.browser
SAID = ".verify-said"
STANDS_STILL = "UPDATE audit_logstate SET beat_at = now() - interval '1 hour',"
BREAK_LEAF = "leaf.textContent = leaf.textContent.replace('allowed', 'alloweD')"
BREAK_PROOF = "box.dataset.proof = box.dataset.proof.replace(/.{10}(?=\\n$)/, 'AAAAAAAAAA')"
BREAK_PATH = "box.dataset.proof = box.dataset.proof.replace(/\\n[^ \\n]{43}=\\n/, m => '\\n' + 'B'.repeat(43) + '=\\n')"


def last_event(world: World, cast: Cast) -> UUID:
    with world.inside(cast):
        return Entry.objects.filter(tenant_id=cast.id).latest("tseq").event_id


def wait_signed(person: Person, address: str) -> None:
    """Until a checkpoint covers the entry; the page itself reloads less often."""

    def is_signed() -> bool:
        person.go(address)
        return person.page.locator("svg.proof-path").count() == 1

    wait_until(is_signed, seconds=30, every=0.5)


@pytest.fixture
def signed(world: World, arrive: Callable[..., Person]) -> tuple[Person, Cast, str]:
    """An owner on the page of an entry that a checkpoint covers."""
    cast = world.tenant()
    world.consumer(cast)
    world.sequence()
    owner, address = arrive(cast.owner), at("audit:detail", cast, last_event(world, cast))
    wait_signed(owner, address)
    return owner, cast, address


def test_the_proof_verifies_in_the_browser_and_no_changed_byte_does(signed: tuple[Person, Cast, str]) -> None:
    owner, _, address = signed
    page = owner.page
    button(page, "Verify in my browser").click()
    expect(page.locator(SAID)).to_contain_text("Verified in this browser")
    expect(page.locator(SAID)).to_have_class(re.compile(r"\b(ok|warn)\b"))
    assert find_faults(page, "audit_verified") == []
    broken = {BREAK_LEAF: "another root", BREAK_PROOF: "signature", BREAK_PATH: "another root"}
    for change, why in broken.items():
        owner.go(address)
        page.evaluate(f"() => {{ const box = document.querySelector('[data-verify]'); {change}; }}")
        button(page, "Verify in my browser").click()
        expect(page.locator(SAID)).to_contain_text("Not verified")
        expect(page.locator(SAID)).to_contain_text(why)
        expect(page.locator(SAID)).to_have_class(re.compile(r"\bbad\b"))
    assert find_faults(page, "audit_not_verified") == []


def lines_of(download: Download) -> int:
    with zipfile.ZipFile(io.BytesIO(Path(download.path()).read_bytes())) as archive:
        return len(archive.read("entries.jsonl").splitlines())


@pytest.mark.parametrize("scripted", [True, False])
def test_an_export_is_saved_and_recorded(
    world: World, signed: tuple[Person, Cast, str], arrive: Callable[..., Person], *, scripted: bool
) -> None:
    _, cast, _ = signed
    auditor = arrive(cast.auditor, java_script_enabled=scripted)
    auditor.go(at("audit:export", cast))
    page = auditor.page
    with page.expect_download() as coming:
        button(page, "Download the export (.zip)").click()
    assert lines_of(coming.value) > 0
    assert coming.value.suggested_filename.endswith(".zip")
    if scripted:
        expect(page.get_by_text("The export is complete")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
        assert find_faults(page, "audit_export_done") == []
    auditor.go(f"{at('audit:list', cast)}?action=audit.exported")
    wait_until(lambda: page.reload() and page.locator("table.records tbody tr").count() == 1, seconds=20)


def test_an_export_that_breaks_off_is_not_saved(signed: tuple[Person, Cast, str]) -> None:
    owner, cast, _ = signed
    owner.go(at("audit:export", cast))
    page, saved = owner.page, list[Download]()
    page.on("download", lambda download: saved.append(download))  # noqa: PLW0108  # a built-in takes no listener mark
    headers = {"Content-Type": "application/zip", "X-Export-Entries": "10"}
    page.route("**/audit/export/", lambda route: route.fulfill(headers=headers, body=b"one\ntwo\nthree\n"))
    button(page, "Download the export (.zip)").click()
    expect(page.get_by_text("The export broke off before its end")).to_be_visible()
    expect(page.get_by_text("3 of 10 entries")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "30")
    assert find_faults(page, "audit_export_broken") == []
    assert saved == []


@pytest.mark.parametrize("scripted", [True, False])
def test_personal_data_is_erased_by_whoever_types_the_number(
    world: World, signed: tuple[Person, Cast, str], arrive: Callable[..., Person], *, scripted: bool
) -> None:
    _, cast, address = signed
    owner = arrive(cast.owner, java_script_enabled=scripted)
    owner.go(address)
    page = owner.page
    link(page, "Erase personal data").click()
    page.get_by_label("Reason").select_option("requested_by_person")
    page.get_by_label("Type the number of the entry to confirm").fill("0")
    with owner.watch.expecting(422):
        button(page, "Erase").click()
        expect(page.get_by_role("main")).to_contain_text("This is not what is to be typed.")
    number = page.locator("#id_confirm_name_helptext, .hint").last.inner_text()
    page.get_by_label("Type the number of the entry to confirm").fill(number)
    button(page, "Erase").click()
    expect(page.get_by_role("status").first).to_contain_text("The personal data beside 1 event was erased. Audit-Id:")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Entry", timeout=20_000)
    expect(page.get_by_role("main")).to_contain_text("audit.personal_data_erased")
    owner.go(address)
    expect(page.get_by_role("main")).to_contain_text("Erased on")
    page.get_by_role("link", name=re.compile("records it")).click()
    expect(page.get_by_role("main")).to_contain_text("audit.personal_data_erased")


def test_what_is_not_numbered_or_not_signed_says_so(
    world: World, portal: Portal, arrive: Callable[..., Person], admin_connection: psycopg.Connection
) -> None:
    from tests.audit.recordings import act  # noqa: PLC0415  # settings must be ready

    portal.processes["sequencer"].terminate()
    portal.processes.pop("sequencer").wait(15)
    try:
        cast = world.tenant()
        owner, event = arrive(cast.owner), act(cast)
        owner.go(at("audit:list", cast))
        expect(owner.page.get_by_role("main")).to_contain_text("Nothing recorded yet")
        assert find_faults(owner.page, "audit_empty") == []
        owner.go(at("audit:detail", cast, event))
        expect(owner.page.get_by_role("heading", level=1)).to_have_text("Recorded, not numbered yet")
        assert find_faults(owner.page, "audit_waiting") == []
        number_without_signing()
        expect(owner.page.get_by_role("main")).to_contain_text("Proof pending", timeout=20_000)
        assert find_faults(owner.page, "audit_pending") == []
        owner.go(at("audit:export", cast))
        expect(owner.page.get_by_role("main")).to_contain_text("Nothing is signed yet")
        assert find_faults(owner.page, "audit_export_nothing") == []
        admin_connection.execute(f"{STANDS_STILL} fault = 'the root differs from the pin', fault_at = now()")
        staff = arrive(world.staff())
        staff.go("/staff/audit/logstate/")
        expect(staff.page.get_by_role("alert")).to_contain_text("No checkpoint is signed")
        assert find_faults(staff.page, "staff_log_trouble") == []
    finally:
        admin_connection.execute("UPDATE audit_logstate SET fault = '', fault_at = NULL, beat_at = now()")
        portal.start("sequencer")
