from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from audit import selectors, usage
from audit.chain import verify_chain
from audit.models import Entry
from tests.pages.browser import at, in_days, sign_in, text_of

if TYPE_CHECKING:
    from tests.world import Cast, World


@pytest.fixture
def busy(world: World) -> Cast:
    """A tenant with more entries than a page holds."""
    from tenants.services import consumers  # noqa: PLC0415  # settings must be ready

    cast = world.tenant()
    with world.bound(cast):
        for number in range(60):
            consumers.register(actor=cast.actor, name=f"Worker {number}", kind="service", environment="production")
    world.sequence()
    return cast


def test_pages_of_the_log_go_back_and_forth_without_a_gap(world: World, busy: Cast) -> None:
    browser, address = sign_in(busy.owner), at("audit:list", busy)
    first = browser.get(address)
    numbers = [row["number"] for row in first.context["rows"]]
    assert numbers == sorted(numbers, reverse=True)
    assert first.context["pager"]["newer_url"] == ""
    second = browser.get(address + first.context["pager"]["older_url"])
    older = [row["number"] for row in second.context["rows"]]
    assert older[0] == numbers[-1] - 1
    assert older[-1] == 1
    assert second.context["pager"]["older_url"] == ""
    back = browser.get(address + second.context["pager"]["newer_url"])
    assert [row["number"] for row in back.context["rows"]] == numbers


def test_filters_narrow_the_log_and_stay_while_paging(world: World, busy: Cast) -> None:
    browser, address = sign_in(busy.owner), at("audit:list", busy)
    registered = browser.get(address, {"action": "consumer.registered"})
    assert {row["action"] for row in registered.context["rows"]} == {"consumer.registered"}
    assert "action=consumer.registered" in registered.context["pager"]["older_url"]
    today, tomorrow = str(in_days(0)), str(in_days(1))
    assert browser.get(address, {"from": today, "to": today}).context["rows"]
    assert browser.get(address, {"from": tomorrow}).context["rows"] == []
    assert browser.get(address, {"to": str(in_days(-1))}).context["rows"] == []
    assert browser.get(address, {"outcome": "denied"}).context["rows"] == []
    staff = browser.get(address, {"actor_kind": "staff"})
    assert {row["actor_label"] for row in staff.context["rows"]} == {"Platform staff"}
    assert "@platform.example" not in staff.content.decode()


@pytest.mark.parametrize(
    "query",
    [
        "action=nope",
        "outcome=x",
        "actor_kind=god",
        "key=%00",
        "consumer=1",
        "from=yesterday",
        "to=2026-99-99",
    ],
)
def test_a_bad_filter_is_named_and_shows_nothing(world: World, query: str) -> None:
    cast = world.tenant()
    world.sequence()
    answer = sign_in(cast.owner).get(f"{at('audit:list', cast)}?{query}")
    assert answer.status_code == 422
    assert answer.context["rows"] == []
    assert len(answer.context["errors"]) == 1


@pytest.mark.parametrize("query", ["older_than=x", "older_than=" + "9" * 40, "newer_than=-1", "newer_than=²"])
def test_odd_paging_is_ignored(world: World, query: str) -> None:
    cast = world.tenant()
    world.sequence()
    assert sign_in(cast.owner).get(f"{at('audit:list', cast)}?{query}").context["rows"]


def test_an_entry_shows_the_bytes_that_are_hashed(world: World) -> None:
    cast = world.tenant()
    world.sequence()
    with world.inside(cast):
        entries = list(Entry.objects.filter(tenant_id=cast.id).order_by("tseq"))
    verify_chain([entry.leaf.encode() for entry in entries], cast.id)
    browser = sign_in(cast.auditor)
    page = browser.get(at("audit:detail", cast, entries[-1].event_id))
    assert page.context["leaf"] == entries[-1].leaf
    assert page.context["older_url"].endswith(f"{entries[-2].event_id}/")
    assert page.context["newer_url"] == ""
    assert page.context["previous_hash"] == browser.get(page.context["older_url"]).context["hash"]
    assert str(entries[-1].event_id) in text_of(page)


def test_a_moment_is_found_by_its_number(world: World, busy: Cast) -> None:
    with world.inside(busy):
        entries = list(Entry.objects.filter(tenant_id=busy.id).order_by("tseq"))
        for entry in (entries[0], entries[31], entries[-1]):
            assert selectors.find_number(entry.occurred_at) == entry.tseq
        assert selectors.find_number(timezone.now()) == len(entries) + 1


def test_a_tenant_without_uses_has_no_points(world: World) -> None:
    cast = world.tenant()
    with world.inside(cast):
        counted = usage.count_uses()
        assert selectors.find_number(timezone.now()) == 1
    assert (counted.whole.total, counted.by_target) == (0, {})
