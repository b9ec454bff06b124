"""The pages of recertification and of drills, as the people who use them walk through them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from keys.models import Campaign, CampaignItem, Drill, DrillSchedule
from keys.states import CampaignState, ItemState
from tests.keys.test_campaigns import Asking
from tests.keys.test_drills import Rehearsing
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from django.conf import LazySettings
    from django.test import Client

    from tests.world import World


def answer(browser: Client, asking: Asking, **data: str) -> str:
    """Post the form of the key as it is shown."""
    address = at("keys:recertify", asking.cast, asking.key.slug)
    shown = browser.get(address).content.decode()
    seen = re.search(r'name="seen" value="([0-9a-f]{64})"', shown)
    assert seen is not None, "the form says what was seen"
    return text_of(browser.post(address, {"seen": seen[1], **data}, follow=True))


def test_an_owner_starts_a_campaign_and_answers_without_javascript(world: World) -> None:
    asking = Asking(world)
    browser = sign_in(asking.cast.owner)
    assert asking.use().allowed
    world.sequence()
    form = {"name": "Yearly review", "choice": "all:", "consequence": "suspend"}
    wrong = browser.post(at("keys:campaign-start", asking.cast), {**form, "due_on": "2020-01-01"})
    assert wrong.status_code == 422
    assert "from tomorrow to a year ahead" in text_of(wrong)
    due = str(timezone.now().date() + timedelta(days=5))
    page = text_of(browser.post(at("keys:campaign-start", asking.cast), {**form, "due_on": due}, follow=True))
    assert "No answer yet" in page
    assert "0 / 1" in text_of(browser.get(at("keys:campaigns", asking.cast)))
    shown = text_of(browser.get(at("keys:recertify", asking.cast, asking.key.slug)))
    assert asking.credential.consumer.name in shown
    assert "just now" in shown, "when the consumer last used it"
    assert "Noted." in answer(browser, asking, answer="change_needed", note="Fewer scopes")
    assert "What you can do about it" in text_of(browser.get(at("keys:recertify", asking.cast, asking.key.slug)))
    done = answer(browser, asking, answer="confirmed", note="")
    assert "is confirmed" in done
    assert "Nothing to confirm" in done
    with world.inside(asking.cast):
        assert CampaignItem.objects.get().state == ItemState.CONFIRMED
        assert Campaign.objects.get().state == CampaignState.CLOSED


def test_keys_that_have_not_changed_are_ticked_and_confirmed_together(world: World) -> None:
    asking = Asking(world)
    browser = sign_in(asking.cast.owner)
    asking.start()
    page = browser.get(at("keys:my-keys", asking.cast))
    assert "Never confirmed" in text_of(page)
    assert 'type="checkbox"' not in page.content.decode()
    nothing = browser.post(at("keys:my-keys", asking.cast))
    assert nothing.status_code == 422
    asking.answer()
    asking.start()
    tick = re.search(r'name="key" value="([^"]+)"', browser.get(at("keys:my-keys", asking.cast)).content.decode())
    assert tick is not None
    forged = browser.post(at("keys:my-keys", asking.cast), {"key": tick[1][:-4] + "0000"})
    assert forged.status_code == 409
    done = text_of(browser.post(at("keys:my-keys", asking.cast), {"key": tick[1]}, follow=True))
    assert "1 key is confirmed" in done


def test_who_may_not_answer_is_told_who_may(world: World) -> None:
    asking = Asking(world)
    asking.start()
    other = world.tenant("globex").owner
    with world.inside(asking.cast):
        type(asking.key).objects.filter(id=asking.key.id).update(owner_id=other.pk)
    browser = sign_in(asking.cast.owner)
    address = at("keys:recertify", asking.cast, asking.key.slug)
    assert "Only its owner or backup owner can answer" in text_of(browser.get(address))
    assert browser.post(address, {"answer": "confirmed", "seen": "x"}).status_code == 422
    assert asking.actions("key.recertify") == ["key.recertify"], "the refusal is on record"


def test_the_key_says_that_nobody_has_confirmed_it_and_leads_to_the_answer(world: World) -> None:
    asking = Asking(world)
    asking.start(consequence="suspend")
    asking.pass_day()
    browser = sign_in(asking.cast.owner)
    page = browser.get(at("keys:detail", asking.cast, asking.key.slug))
    assert "No owner has confirmed it." in text_of(page)
    assert at("keys:recertify", asking.cast, asking.key.slug) in page.content.decode()
    assert "No owner has confirmed it" in text_of(browser.get(at("keys:findings", asking.cast)))


def test_an_owner_flags_a_canary_runs_a_drill_and_schedules_more(world: World, settings: LazySettings) -> None:
    settings.DRILL_ORIGINS = []
    rehearsing = Rehearsing(world)
    cast, browser = rehearsing.cast, sign_in(rehearsing.cast.owner)
    assert "This is a canary key" in text_of(browser.get(at("keys:detail", cast, rehearsing.key.slug)))
    assert browser.post(at("keys:drill-start", cast), {"kind": "offboarding", "target_ms": "1000"}).status_code == 422
    form = {"kind": "offboarding", "key": str(rehearsing.key.id), "target_ms": "5000"}
    assert "Waiting for a worker" in text_of(browser.post(at("keys:drill-start", cast), form, follow=True))
    assert rehearsing.work() == ["done"]
    with world.inside(cast):
        drill = Drill.objects.get()
    page = text_of(browser.get(at("keys:drill", cast, drill.id)))
    assert "Passed" in page
    assert "consumer_unknown" in page
    assert "consumer.ended" in page
    assert "Run a drill" in text_of(browser.get(at("tenants:jobs", cast)))
    browser.post(at("keys:drill-schedule", cast), {"kind": "revocation", "every": "quarterly", "first_on": ""})
    with world.inside(cast):
        assert DrillSchedule.objects.get().next_on == timezone.now().date()
    assert "Every quarter" in text_of(browser.get(at("keys:drills", cast)))
    browser.post(at("keys:canary", cast, rehearsing.key.slug), {"is_canary": "off"})
    assert not rehearsing.now.is_canary
