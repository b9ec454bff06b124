"""An exposure from the key's page to a closed incident and its report, as people walk through it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from keys.models import Incident
from keys.states import IncidentState, KeyState
from tests.keys.test_incidents import Exposed
from tests.pages.browser import at, sign_in, text_of
from tests.ui.markup import Markup

if TYPE_CHECKING:
    from tests.world import World


def test_two_clicks_from_the_key_end_it_and_open_its_incident(world: World) -> None:
    exposed = Exposed(world)
    browser = sign_in(exposed.cast.owner)
    page = browser.get(at("keys:detail", exposed.cast, exposed.key.slug))
    link = at("keys:compromise", exposed.cast, exposed.key.slug)
    assert page.content.decode().count(f'href="{link}"') == 1, "beside the menu, not inside it"
    form = browser.get(link)
    assert "Quarantine instead" in text_of(form)
    # What a browser sends when nothing is filled in.
    done = browser.post(link, {"reason": "key_compromise", "note": "", "suspected_since": ""}, follow=True)
    assert exposed.key_state() == KeyState.COMPROMISED
    shown = text_of(done)
    assert "Exposure of" in shown
    assert "Make sure that version 1 is dead at OpenBao" in shown
    assert f"Replace the credential in {exposed.credential.consumer.name}" in shown
    with world.inside(exposed.cast):
        incident = Incident.objects.get(key_id=exposed.key.id)
    assert done.redirect_chain[-1][0] == at("keys:incident", exposed.cast, incident.id)
    key_page = text_of(browser.get(at("keys:detail", exposed.cast, exposed.key.slug)))
    assert "Open the incident" in key_page


def test_the_same_form_quarantines_and_a_false_alarm_leads_back(world: World) -> None:
    exposed = Exposed(world)
    browser = sign_in(exposed.cast.owner)
    address = at("keys:quarantine", exposed.cast, exposed.key.slug)
    markup = Markup(browser.get(at("keys:compromise", exposed.cast, exposed.key.slug)).content.decode())
    assert address in markup.values("formaction")
    answer = browser.post(address, {"note": "Odd calls", "suspected_since": "2026-02-30T10:00"})
    assert answer.status_code == 422
    done = browser.post(address, {"note": "Odd calls"}, follow=True)
    assert "The key is in quarantine." in text_of(done)
    key_page = browser.get(at("keys:detail", exposed.cast, exposed.key.slug)).content.decode()
    assert at("keys:resume", exposed.cast, exposed.key.slug) not in key_page
    assert at("keys:rotate", exposed.cast, exposed.key.slug) in key_page
    with world.inside(exposed.cast):
        incident = Incident.objects.get(key_id=exposed.key.id)
    dismiss = at("keys:incident-dismiss", exposed.cast, incident.id)
    assert browser.post(dismiss, {"note": ""}).status_code == 422
    back = text_of(browser.post(dismiss, {"note": "Our own scanner"}, follow=True))
    assert "A false alarm." in back
    assert exposed.key_state() == KeyState.ACTIVE


def test_tasks_are_settled_with_a_button_and_the_incident_is_moved_on(world: World) -> None:
    exposed = Exposed(world)
    incident = exposed.compromise()
    browser = sign_in(exposed.cast.owner)
    page = at("keys:incident", exposed.cast, incident.id)
    assert 'class="count alert"' in browser.get(page).content.decode(), "the navigation counts what is at work"
    move = at("keys:incident-move", exposed.cast, incident.id)
    refused = browser.post(move, {"state": "closed", "note": ""})
    assert refused.status_code == 422
    assert "tasks are open" in text_of(refused)
    with world.inside(exposed.cast):
        tasks = list(incident.tasks.order_by("position"))
    lazy = browser.post(at("keys:incident-task", exposed.cast, incident.id, tasks[0].id), {"state": "not_needed"})
    assert lazy.status_code == 422
    for task in tasks:
        address = at("keys:incident-task", exposed.cast, incident.id, task.id)
        assert browser.post(address, {"state": "done"}).status_code == 302
    assert browser.post(move, {"state": "closed"}).status_code == 302
    with world.inside(exposed.cast):
        assert Incident.objects.get(id=incident.id).state == IncidentState.CLOSED
    listed = text_of(browser.get(at("keys:incidents", exposed.cast)))
    assert "No incident is at work" in listed
    assert exposed.key.name in text_of(browser.get(at("keys:incidents", exposed.cast) + "?show=all"))


def test_timeline_notes_and_addresses_are_for_those_who_read_the_log(world: World) -> None:
    exposed = Exposed(world)
    exposed.use()
    incident = exposed.compromise(suspected_since=exposed.key.created_at)
    browser = sign_in(exposed.cast.owner)
    browser.post(at("keys:incident-note", exposed.cast, incident.id), {"note": "Seen on a paste site"})
    world.sequence()
    page = at("keys:incident", exposed.cast, incident.id)
    owner = text_of(browser.get(page))
    assert "Declared compromised, ended at once" in owner
    assert "Seen on a paste site" in owner
    assert "127.0.0.1" in owner
    from tests.pages.test_pages import CUSTODIAN, join  # noqa: PLC0415  # a module with a stage of its own

    custodian = sign_in(join(world, exposed.cast, CUSTODIAN))
    theirs = text_of(custodian.get(page))
    assert "Seen by whoever may read the audit log" in theirs
    assert "Seen on a paste site" not in theirs
    assert "127.0.0.1" not in theirs
    assert custodian.get(at("keys:incident-report", exposed.cast, incident.id)).status_code == 403
    assert custodian.get(at("keys:incident-report-json", exposed.cast, incident.id)).status_code == 403


def test_the_report_is_one_statement_as_a_page_and_as_a_file(world: World) -> None:
    exposed = Exposed(world)
    incident = exposed.compromise(note=f"Told by {exposed.cast.owner.email}")
    world.sequence()
    browser = sign_in(exposed.cast.auditor)
    page = text_of(browser.get(at("keys:incident-report", exposed.cast, incident.id)))
    answer = browser.get(at("keys:incident-report-json", exposed.cast, incident.id))
    statement = json.loads(answer.content)
    assert answer["Content-Disposition"] == f'attachment; filename="incident-{incident.id}.json"'
    assert exposed.cast.owner.email not in page.partition("Exposure of")[2]
    assert "Told by" not in page, "an issued report cannot be erased, so it quotes nobody"
    for step in statement["timeline"]:
        assert step["action"] in page
    assert statement["incident"]["id"] in page
