"""Erasing personal data from the pages, and what an entry says of its personal data afterwards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from audit import sealing
from audit.models import Entry
from byok_portal.boundary.identifiers import new_id
from keys.services import custody
from keys.services.audit_seal import AuditSealer
from tests.audit.recordings import act, opened
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from django.test import Client

    from tests.world import Cast, World

FILLED = {"reason": "requested_by_person", "note": "Ticket 4711"}


@pytest.fixture
def acted(world: World) -> tuple[Cast, Entry]:
    """A tenant with one numbered event of the owner's."""
    cast = world.tenant()
    event = act(cast, note="call the night desk")
    world.sequence()
    with world.inside(cast):
        return cast, Entry.objects.get(event_id=event)


def address_of(cast: Cast, kind: str, subject: object) -> str:
    return f"{at('audit:erase', cast)}?kind={kind}&id={subject}"


def fact_of(browser: Client, cast: Cast, event: UUID) -> Any:
    """What the page of an entry says of its personal data; None while it shows it."""
    facts = dict(browser.get(at("audit:detail", cast, event)).context["facts"])
    return facts.get("Personal data")


def test_an_entry_is_erased_after_its_number_was_typed(world: World, acted: tuple[Cast, Entry]) -> None:
    cast, entry = acted
    browser = sign_in(cast.owner)
    page = browser.get(at("audit:detail", cast, entry.event_id))
    assert page.context["erase_url"] == address_of(cast, "event", entry.event_id)
    assert "call the night desk" in text_of(page)
    wrong = browser.post(page.context["erase_url"], {**FILLED, "confirm_name": str(entry.tseq + 1)})
    assert (wrong.status_code, list(wrong.context["form"].errors)) == (422, ["confirm_name"])
    assert opened(cast, entry.event_id)
    done = browser.post(page.context["erase_url"], {**FILLED, "confirm_name": str(entry.tseq)})
    assert done["Location"] == at("audit:detail", cast, done["Audit-Id"])
    assert opened(cast, entry.event_id) == {}
    assert "Recorded, not numbered yet" in text_of(browser.get(done["Location"]))
    world.sequence()
    said = text_of(browser.get(done["Location"]))
    assert "Requested by person" in said
    assert "Ticket 4711" in said


def test_the_entry_then_says_when_and_by_whom_it_was_erased(world: World, acted: tuple[Cast, Entry]) -> None:
    cast, entry = acted
    browser = sign_in(cast.owner)
    form = {**FILLED, "confirm_name": str(entry.tseq)}
    done = browser.post(address_of(cast, "event", entry.event_id), form)
    assert "erased a moment ago" in fact_of(browser, cast, entry.event_id)
    world.sequence()
    said = str(fact_of(browser, cast, entry.event_id))
    assert re.match(rf"Erased on \d+ \w+ \d+, .* by {re.escape(str(cast.owner))};", said)
    assert f'href="{at("audit:detail", cast, done["Audit-Id"])}"' in said
    assert browser.get(at("audit:detail", cast, entry.event_id)).context["erase_url"] == ""


def test_a_persons_data_is_erased_after_their_name_was_typed(world: World, acted: tuple[Cast, Entry]) -> None:
    cast, entry = acted
    browser, address = sign_in(cast.owner), address_of(cast, "person", cast.owner.pk)
    page = browser.get(address)
    assert str(cast.owner) in page.context["title"]
    assert "The account or consumer itself stays" in text_of(page)
    assert browser.post(address, {**FILLED, "confirm_name": "somebody"}).status_code == 422
    assert browser.post(address, {**FILLED, "confirm_name": f" {cast.owner} "}).status_code == 302
    assert opened(cast, entry.event_id) == {}
    world.sequence()
    said = str(fact_of(browser, cast, entry.event_id))
    assert said.startswith("Erased on")


def test_whose_data_is_chosen_from_the_people_and_consumers_of_the_tenant(world: World) -> None:
    cast, other = world.tenant(), world.tenant()
    credential = world.consumer(cast)
    page = sign_in(cast.owner).get(at("audit:erase", cast))
    people = {value for value, _ in page.context["person_options"]}
    assert {str(cast.owner.pk), str(cast.auditor.pk)} <= people
    assert str(other.owner.pk) not in people
    assert (str(credential.consumer.id), credential.consumer.name) in page.context["consumer_options"]


@pytest.mark.parametrize("kind", ["person", "consumer", "event", "tenant", ""])
@pytest.mark.parametrize("word", ["nobody", "%00", "", None])
def test_an_id_that_the_record_does_not_know_is_refused(world: World, kind: str, word: str | None) -> None:
    cast = world.tenant()
    world.sequence()
    browser, address = sign_in(cast.owner), address_of(cast, kind, new_id() if word is None else word)
    assert browser.get(address).status_code == (422 if word != "" else 200)
    assert browser.post(address, {**FILLED, "confirm_name": "x"}).status_code == 422


def test_a_stranger_is_not_named(world: World) -> None:
    cast, other = world.tenant(), world.tenant()
    world.sequence()
    answer = sign_in(cast.owner).get(address_of(cast, "person", other.owner.pk))
    assert answer.status_code == 422
    assert str(other.owner) not in answer.content.decode()


def test_staff_who_acted_here_are_not_named_to_the_tenant(world: World) -> None:
    cast = world.tenant()
    world.sequence()
    with world.inside(cast):
        staff = next(entry.actor_id for entry in Entry.objects.all() if entry.actor_kind == "staff")
    answer = sign_in(cast.owner).get(address_of(cast, "person", staff))
    assert answer.status_code == 422
    assert "@platform.example" not in answer.content.decode()


def test_only_who_may_erase_finds_the_way_there(world: World, acted: tuple[Cast, Entry]) -> None:
    cast, entry = acted
    browser, address = sign_in(cast.auditor), address_of(cast, "event", entry.event_id)
    assert browser.get(at("audit:list", cast)).context["erase_url"] == ""
    assert browser.get(at("audit:detail", cast, entry.event_id)).context["erase_url"] == ""
    assert browser.get(address).status_code == 403
    refused = browser.post(address, {**FILLED, "confirm_name": str(entry.tseq)})
    assert refused.status_code == 403
    assert opened(cast, entry.event_id)


def test_an_event_without_a_number_has_a_page_and_can_be_erased(world: World) -> None:
    cast = world.tenant()
    event, browser = act(cast), sign_in(cast.owner)
    page = browser.get(at("audit:detail", cast, event))
    assert page.templates[0].name == "audit/waiting.html"
    assert str(event) in text_of(page)
    done = browser.post(page.context["erase_url"], {**FILLED, "confirm_name": str(event)})
    assert done.status_code == 302
    assert opened(cast, event) == {}
    stranger = world.tenant()
    assert sign_in(stranger.owner).get(at("audit:detail", stranger, act(cast))).status_code == 404


def test_an_event_that_never_got_its_number_is_named_and_can_be_erased(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = world.tenant()
    event, browser = act(cast), sign_in(cast.owner)
    monkeypatch.setattr("audit.proofs.PATIENCE_MS", -1000)
    page = browser.get(at("audit:detail", cast, event))
    assert page.status_code == 500
    assert "Recorded, but not in the log" in text_of(page)
    assert browser.post(page.context["erase_url"], {**FILLED, "confirm_name": str(event)}).status_code == 302
    assert opened(cast, event) == {}


@pytest.fixture
def no_key_file(settings: Any) -> Iterator[None]:
    """As in a process that was started without one."""
    settings.KEY_FILE = ""
    custody.local_wrapper.cache_clear()
    sealing.install(AuditSealer())
    yield
    custody.local_wrapper.cache_clear()
    sealing.install(AuditSealer())


def test_what_cannot_be_opened_here_is_not_called_erased(acted: tuple[Cast, Entry], no_key_file: None) -> None:
    cast, entry = acted
    said = fact_of(sign_in(cast.owner), cast, entry.event_id)
    assert said == "Sealed. It cannot be opened here: this process has no key file."


def test_what_could_not_be_sealed_is_not_called_erased(world: World, no_key_file: None) -> None:
    cast = world.tenant()
    event = act(cast)
    world.sequence()
    assert fact_of(sign_in(cast.owner), cast, event).startswith("None is kept")


def test_after_the_keys_were_shredded_the_entry_says_since_when(world: World, acted: tuple[Cast, Entry]) -> None:
    cast, entry = acted
    with world.inside(cast):
        custody.shred()
    said = fact_of(sign_in(cast.owner), cast, entry.event_id)
    assert re.fullmatch(r"Erased on \d+ \w+ \d+, .*, when the tenant's keys were shredded\.", said)
