"""Policies as an owner meets them: the page, the form, the overdue key with its way out, the API, the staff door."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.utils import timezone

from keys import tasks
from keys.models import PlatformPolicy
from tests.keys.ageing import Ageing, floor_taken_away, set_floor
from tests.pages.browser import at, in_days, sign_in, text_of
from tests.staff.door import address, enter, errors_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.world import World

STRICT = {"rotation_days": "90", "overdue": "suspend", "grace_days": "10"}


@pytest.fixture
def ageing(world: World) -> Ageing:
    return Ageing(world)


@pytest.fixture
def _no_floor(admin_connection: psycopg.Connection) -> Iterator[None]:
    with floor_taken_away(admin_connection):
        yield


@pytest.mark.usefixtures("_no_floor")
def test_the_page_shows_each_layer_what_is_in_force_and_who_set_it(ageing: Ageing) -> None:
    set_floor(ageing.world, rotation_days=180)
    browser, page = sign_in(ageing.cast.owner), at("keys:policy", ageing.cast)
    assert "the layers above hold" in text_of(browser.get(page))
    data = {"rotation_days": "120", "reminder_days": "60, 7", "note": "After the audit", "replaces": "0"}
    answer = browser.post(at("keys:policy-set", ageing.cast), data, follow=True)
    shown = text_of(answer)
    assert "The policy is set." in shown
    assert answer.context["columns"] == ["Platform", "Tenant", "In force"]
    rows = {row["label"]: row["values"] for row in answer.context["rows"]}
    assert rows["Rotate every"] == ["180 days", "120 days", "120 days"]
    assert rows["Reminders before a date"] == ["", "60, 7 days", "60, 7 days"]
    assert "After the audit" in shown
    assert ageing.cast.owner.email in shown
    auditor = sign_in(ageing.cast.auditor).get(page)
    assert "120 days" in text_of(auditor)
    assert at("keys:policy-set", ageing.cast) not in auditor.content.decode()


@pytest.mark.usefixtures("_no_floor")
def test_a_laxer_policy_is_shown_with_its_field_and_rule(ageing: Ageing) -> None:
    set_floor(ageing.world, rotation_days=90, overdue="block_grants")
    browser, form = sign_in(ageing.cast.owner), at("keys:policy-set", ageing.cast)
    assert "can only be stricter: Rotate every: 90 days" in text_of(browser.get(form))
    answer = browser.post(form, {"rotation_days": "91", "overdue": "notify"})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {"rotation_days", "overdue"}
    assert "at most 90, as the policy above it says" in text_of(answer)


def test_what_nobody_says_anything_about_is_shown_as_it_holds(ageing: Ageing) -> None:
    ageing.ask(overdue="suspend")
    page = sign_in(ageing.cast.owner).get(at("keys:policy", ageing.cast))
    in_force = {row["label"]: row["values"][-1] for row in page.context["rows"]}
    assert in_force["Grace before it is suspended"] == "30 days"
    assert in_force["Reminders before a date"] == "30, 14, 7, 1 days"
    assert in_force["Longest drain after a rotation"] == "720 hours"
    assert in_force["Rotate every"] == ""


def test_a_form_that_was_open_too_long_does_not_overwrite(ageing: Ageing) -> None:
    browser, form = sign_in(ageing.cast.owner), at("keys:policy-set", ageing.cast)
    opened = browser.get(form).context["form"]
    assert opened["replaces"].value() == 0
    ageing.ask(rotation_days=60)
    answer = browser.post(form, {"rotation_days": "30", "replaces": "0"})
    assert (answer.status_code, ageing.policy().rotation_days) == (409, 60)
    assert "set meanwhile" in text_of(answer)
    assert browser.get(form).context["form"]["rotation_days"].value() == 60


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reminder_days", "soon"),
        ("reminder_days", "\u0663"),
        ("rotation_days", "0"),
        ("rotation_days", "x"),
        ("overdue", "explode"),
        ("starts_on", "yesterday"),
        ("starts_on", str(in_days(-3))),
        ("starts_on", str(in_days(900))),
    ],
)
def test_odd_values_are_errors_of_their_field(ageing: Ageing, field: str, value: str) -> None:
    answer = sign_in(ageing.cast.owner).post(at("keys:policy-set", ageing.cast), {field: value})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {field}


def test_a_policy_that_would_suspend_keys_at_once_asks_first(ageing: Ageing) -> None:
    ageing.age(200)
    browser, form = sign_in(ageing.cast.owner), at("keys:policy-set", ageing.cast)
    asked = browser.post(form, STRICT)
    assert (asked.status_code, set(asked.context["form"].errors)) == (422, {"accept_suspensions"})
    assert "1 of the keys" in text_of(asked)
    assert ageing.use().allowed
    browser.post(form, {**STRICT, "accept_suspensions": "on"})
    assert ageing.use().code == "key_suspended"


@pytest.mark.usefixtures("_no_floor")
def test_a_scheduled_policy_is_shown_with_its_date(ageing: Ageing) -> None:
    browser, data = sign_in(ageing.cast.owner), {"rotation_days": "30", "starts_on": str(in_days(20))}
    answer = browser.post(at("keys:policy-set", ageing.cast), data, follow=True)
    assert [each["layer"] for each in answer.context["scheduled"]] == ["Tenant"]
    assert answer.context["history"][0]["status_label"] == "Scheduled"
    again = browser.post(at("keys:policy-set", ageing.cast), {"rotation_days": "90", "replaces": "1"}, follow=True)
    assert again.context["scheduled"] == []
    assert [each["status_label"] for each in again.context["history"]] == ["In force", "Replaced"]


def test_the_page_of_a_key_shows_when_it_is_due_and_leads_to_its_policy(ageing: Ageing) -> None:
    browser = sign_in(ageing.cast.owner)
    data = {"rotation_days": "20", "replaces": "0"}
    answer = browser.post(at("keys:key-policy-set", ageing.cast, ageing.key.slug), data, follow=True)
    assert answer.context["columns"] == ["Platform", "Tenant", "Key", "In force"]
    detail = browser.get(at("keys:detail", ageing.cast, ageing.key.slug))
    assert "rotation due by its policy" in text_of(detail)
    assert detail.context["due"]["css"] == "soon"
    assert at("keys:key-policy", ageing.cast, ageing.key.slug) in detail.content.decode()
    assert "overdue" not in text_of(detail)


def test_an_overdue_key_says_what_follows_and_offers_the_way_out(ageing: Ageing) -> None:
    ageing.age(95)
    ageing.ask(rotation_days=90, overdue="suspend", grace_days=10)
    browser, page = sign_in(ageing.cast.owner), at("keys:detail", ageing.cast, ageing.key.slug)
    rotate = at("keys:rotate", ageing.cast, ageing.key.slug)
    notice = browser.get(page).context["notices"][0]
    assert (notice["level"], notice["url"]) == ("bad", rotate)
    assert "New grants are refused." in notice["text"]
    assert "It is suspended in" in notice["text"]
    listed = browser.get(at("keys:list", ageing.cast), {"tab": "attention"})
    (row,) = listed.context["rows"]
    assert (row["due"]["css"], row["due"]["label"][:13]) == ("overdue", "Overdue since")
    reader = sign_in(ageing.cast.auditor).get(page).context["notices"][0]
    assert "url" not in reader, "only who may rotate is sent there"


@pytest.mark.parametrize("written", [True, False])
def test_a_suspended_overdue_key_is_rotated_from_its_page(ageing: Ageing, *, written: bool) -> None:
    ageing.age(101)
    ageing.ask(rotation_days=90, overdue="suspend", grace_days=10)
    if written:
        tasks.keep_time()
    browser, page = sign_in(ageing.cast.owner), at("keys:detail", ageing.cast, ageing.key.slug)
    shown = browser.get(page)
    assert shown.context["status"] == "suspended"
    assert "Every use is refused since" in text_of(shown)
    assert shown.context["primary"]["name"] == "rotate"
    secret = ageing.world.bao_token(ageing.account).token
    data = {"secret": secret, "drain": "1", "accept_excess": "on", "note": "Accepted for this test"}
    answer = browser.post(shown.context["primary"]["url"], data, follow=True)
    assert "Version 2" in text_of(answer)
    assert answer.context["status"] == "rotating"
    assert "bad" not in {notice["level"] for notice in answer.context["notices"]}
    assert ageing.use().allowed


def test_resuming_an_overdue_key_says_what_to_do(ageing: Ageing) -> None:
    ageing.age(101)
    ageing.ask(rotation_days=90, overdue="suspend", grace_days=10)
    tasks.keep_time()
    answer = sign_in(ageing.cast.owner).post(at("keys:resume", ageing.cast, ageing.key.slug), {"note": ""})
    assert answer.status_code == 422
    assert "Rotate it: that makes it active again." in text_of(answer)


def test_the_rotate_page_says_which_drains_the_policy_refuses(ageing: Ageing) -> None:
    ageing.ask(max_drain_hours=24, max_lifetime_days=30)
    ageing.age(29.5)
    page = sign_in(ageing.cast.owner).get(at("keys:rotate", ageing.cast, ageing.key.slug))
    refused = {each["value"]: each["disabled_reason"] for each in page.context["drains"]}
    assert (refused["0"], refused["1"]) == ("", "")
    assert "outlive its maximum lifetime" in refused["24"]
    assert "at most 24" in refused["168"]


def call(ageing: Ageing, method: str, path: str, body: Any = None, *, scopes: tuple[str, ...]) -> Any:
    credential = ageing.world.consumer(ageing.cast, scopes=scopes)
    client = Client(headers=credential.headers)
    content = "" if body is None else json.dumps(body)
    return client.generic(
        method, f"/api/v1/tenants/{ageing.cast.slug}/{path}", content, content_type="application/json"
    )


SETS = ("key:read", "policy:set")


def test_the_api_sets_and_shows_a_policy(ageing: Ageing) -> None:
    start = (timezone.now() + timedelta(days=5)).isoformat()
    first = call(ageing, "PUT", "policy/", {"rules": {"rotation_days": 90}, "replaces": 0}, scopes=SETS)
    assert (first.status_code, first.json()["number"], "Audit-Id" in first) == (200, 1, True)
    body = {"rules": {"rotation_days": 60, "overdue": "suspend"}, "starts_at": start, "note": "Stricter"}
    second = call(ageing, "PUT", "policy/", body, scopes=SETS).json()
    assert (second["number"], second["in_force"], second["key"]) == (2, {"rotation_days": 90}, None)
    assert [each["rules"] for each in second["editions"]] == [
        {"overdue": "suspend", "rotation_days": 60},
        {"rotation_days": 90},
    ]
    own = {"rules": {"rotation_days": 30, "reminder_days": [5]}}
    key = call(ageing, "PUT", f"keys/{ageing.key.id}/policy/", own, scopes=SETS).json()
    assert (key["tenant"], key["key"]) == ({"rotation_days": 90}, {"rotation_days": 30, "reminder_days": [5]})
    assert key["in_force"] == {"rotation_days": 30, "reminder_days": [5]}
    read = call(ageing, "GET", f"keys/{ageing.key.slug}/policy/", scopes=("key:read",))
    assert read.json() == key
    shown = call(ageing, "GET", f"keys/{ageing.key.slug}/", scopes=("key:read",)).json()
    assert shown["rotation_due_at"] is not None


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"rules": {"rotation": 9}}, "rules", "unknown_field"),
        ({"rules": {"rotation_days": "9"}}, "rotation_days", "out_of_range"),
        ({"rules": []}, "rules", "not_an_object"),
        ({}, "rules", "required"),
        ({"rules": {}, "starts_at": "2020-01-01T00:00:00Z"}, "starts_at", "starts_in_past"),
    ],
)
def test_the_api_names_what_is_wrong(ageing: Ageing, body: Any, field: str, code: str) -> None:
    answer = call(ageing, "PUT", "policy/", body, scopes=SETS)
    assert answer.status_code in {400, 422}
    problem = answer.json()
    found = [(each["field"], each["code"]) for each in problem.get("errors", [])] or [(field, problem["code"])]
    assert (field, code) in found


def test_a_token_without_the_scope_sets_nothing(ageing: Ageing) -> None:
    answer = call(ageing, "PUT", "policy/", {"rules": {"rotation_days": 9}}, scopes=("key:read",))
    assert (answer.status_code, ageing.policy().rotation_days) == (403, None)


@pytest.mark.usefixtures("_no_floor")
def test_staff_set_the_floor_in_their_own_door(ageing: Ageing) -> None:
    door = enter(ageing.world)
    add = address("keys_platformpolicy_add")
    broken = door.post(add, {"rotation_days": "90", "max_lifetime_days": "30"})
    assert "rotation_days" in errors_of(broken)
    answer = door.post(add, {**STRICT, "reminder_days": "30, 7", "note": "For everybody"})
    row = PlatformPolicy.objects.order_by("-number")[0]
    assert (answer.status_code, answer["Location"]) == (302, address("keys_platformpolicy_change", row.pk))
    assert row.rules == {"rotation_days": 90, "overdue": "suspend", "grace_days": 10, "reminder_days": [30, 7]}
    assert "Rotate every: 90 days" in text_of(door.get(address("keys_platformpolicy_changelist")))
    assert 'value="90"' in door.get(add).content.decode(), "the next edition starts from this one"
    ageing.ask(rotation_days=60)
    assert "Rotate every: 60 days" in text_of(door.get(address("keys_policyedition_changelist")))
    for page in (address("keys_platformpolicy_change", row.pk), address("keys_platformpolicy_history", row.pk)):
        assert door.get(page).status_code == 200
