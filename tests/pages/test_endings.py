from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from keys.models import Key
from tenants.models import Consumer, Offboarding, OffboardingStep, Project, Tenant
from tests.keys.test_endings import work
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from tests.world import World


def test_a_project_from_its_form_to_its_end_in_a_browser(world: World) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    browser = sign_in(cast.owner)
    assert "No project yet" in text_of(browser.get(at("keys:projects", cast)))
    day = (timezone.now() + timedelta(days=30)).date().isoformat()
    create = at("keys:project-create", cast)
    assert browser.post(create, {"name": "Trial", "purpose": "", "ends_on": day}).status_code == 422
    past = browser.post(create, {"name": "Trial", "purpose": "A trial", "ends_on": "2020-01-01"})
    assert (past.status_code, "must be after today" in text_of(past)) == (422, True)
    assert browser.post(create, {"name": "Trial", "purpose": "A trial", "ends_on": day}).status_code == 302
    with world.inside(cast):
        made = Project.objects.get()
    assert browser.post(at("keys:key-project", cast, key.slug), {"project": str(made.id)}).status_code == 302
    consumer = at("keys:consumer-project", cast, credential.consumer.slug)
    assert browser.post(consumer, {"project": str(made.id)}).status_code == 302
    assert browser.post(consumer, {"project": "0" * 8}).status_code == 422
    page = text_of(browser.get(at("keys:project", cast, made.slug)))
    assert key.name in page
    assert credential.consumer.name in page
    assert (
        browser.post(
            at("keys:project-change", cast, made.slug), {"name": "Winter trial", "purpose": "Longer", "ends_on": ""}
        ).status_code
        == 302
    )

    end = at("keys:project-offboard", cast, made.slug)
    shown = browser.get(end)
    words = text_of(shown)
    for said in ("Point of no return", credential.consumer.name, "OpenBao", "Type trial", "never become active"):
        assert said in words, said
    digest = shown.context["form"].initial["digest"]
    asked = {"reason": "cessation_of_operation", "note": "Ticket 7", "confirmation": "trial", "digest": digest}
    wrong = browser.post(end, {**asked, "confirmation": "Trial"})
    assert (wrong.status_code, "must repeat the project" in text_of(wrong)) == (422, True)
    changed = browser.post(end, {**asked, "digest": "0" * 64})
    assert (changed.status_code, "has changed since" in text_of(changed)) == (409, True)
    assert f'value="{digest}"' in changed.content.decode(), "the form carries the plan of now"
    with world.inside(cast):
        assert not Offboarding.objects.exists()
    started = browser.post(end, asked)
    with world.inside(cast):
        run = Offboarding.objects.get()
    assert started["Location"] == at("keys:run", cast, run.id)
    running = browser.get(started["Location"])
    assert 'http-equiv="refresh"' in running.content.decode()
    assert f"Revoke {key.name} here" in text_of(running)
    work(world, cast, run.id)
    over = browser.get(started["Location"])
    assert over.context["run"]["percent"] == 100
    assert "refresh" not in over.content.decode().split("<body")[0]
    with world.inside(cast):
        assert Key.objects.get(id=key.id).state == "revoked"
        assert Consumer.objects.get(id=credential.consumer.id).state == "ended"


def test_what_is_left_to_people_is_settled_with_a_note(world: World) -> None:
    cast = world.tenant()
    browser, auditor = sign_in(cast.owner), sign_in(cast.auditor)
    consumer = world.consumer(cast).consumer
    end = at("keys:consumer-end", cast, consumer.slug)
    digest = browser.get(end).context["form"].initial["digest"]
    asked = {"reason": "dormant", "note": "", "confirmation": consumer.slug, "digest": digest}
    page = browser.post(end, asked)["Location"]
    with world.inside(cast):
        run = Offboarding.objects.get()
        last = OffboardingStep.objects.get(kind="close")
        OffboardingStep.objects.create(
            offboarding=run,
            position=last.position + 1,
            kind="replace_token",
            subject_id=run.id,
            label="Replace a token",
            instruction="Issue another one first.",
            state="residual",
        )
    settle = at("keys:residual-settle", cast, run.id, last.position + 1)
    assert settle in browser.get(page).content.decode()
    assert settle not in auditor.get(page).content.decode()
    assert auditor.post(settle, {"note": "mine"}).status_code == 403
    assert "Issue another one first." in text_of(browser.get(settle))
    assert browser.post(settle, {"note": ""}).status_code == 422
    assert browser.post(settle, {"note": "Replaced on Monday"}).status_code == 302
    assert browser.post(settle, {"note": "Twice"}).status_code == 409
    assert "Replaced on Monday" in text_of(browser.get(page))


def test_owners_agree_that_last_days_end_things_and_take_it_back(world: World) -> None:
    cast = world.tenant()
    browser, address = sign_in(cast.owner), at("tenants:automatic-end", cast)
    page = browser.get(address)
    assert "day after the contract ends" in text_of(page)
    assert 'name="agreed" value="on"' in page.content.decode()
    assert browser.post(address, {"agreed": "on"}).status_code == 302
    with world.inside(cast):
        assert Tenant.objects.get(id=cast.id).ends_automatically
    refused = browser.post(address, {"agreed": "on"})
    assert refused.status_code == 409
    assert 'name="agreed" value="off"' in refused.content.decode(), "what it offers fits what it says"
    assert "Take the agreement back" in text_of(browser.get(address))
    assert browser.post(address, {"agreed": "off"}).status_code == 302
    assert browser.post(address, {"agreed": "off"}).status_code == 409, "a second click turns nothing back"
    for unclear in ({}, {"agreed": "perhaps"}):
        assert browser.post(address, unclear).status_code == 422
    with world.inside(cast):
        assert not Tenant.objects.get(id=cast.id).ends_automatically
    plan = browser.get(at("keys:tenant-plan", cast))
    assert (plan.status_code, '<form class="card"' in plan.content.decode()) == (200, False)
