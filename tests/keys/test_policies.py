"""Policies: stricter is allowed and laxer is not, every layer counts at once, and what was set stays as it was."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import ProgrammingError, connections
from django.utils import timezone

from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.errors import Conflict, Forbidden, InvalidInput, InvalidInputs, NotFound, Refused
from keys import rulebook
from keys.models import Grant, PolicyEdition
from keys.policies import Overdue
from keys.services import lifecycle, policies
from tests.keys.ageing import Ageing, entries, floor_taken_away, set_floor, stranger

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.world import World


@pytest.fixture
def ageing(world: World) -> Ageing:
    return Ageing(world)


@pytest.fixture
def _no_floor(admin_connection: psycopg.Connection) -> Iterator[None]:
    with floor_taken_away(admin_connection):
        yield


@pytest.mark.usefixtures("_no_floor")
def test_a_tenant_may_be_stricter_than_the_platform_and_never_laxer(ageing: Ageing) -> None:
    set_floor(ageing.world, rotation_days=90, overdue="block_grants")
    with pytest.raises(InvalidInput) as refusal:
        ageing.ask(rotation_days=91)
    assert (refusal.value.field, refusal.value.code) == ("rotation_days", "laxer")
    assert "at most 90" in refusal.value.detail
    with pytest.raises(InvalidInputs) as several:
        ageing.ask(rotation_days=120, overdue="notify")
    assert [problem.field for problem in several.value.problems] == ["rotation_days", "overdue"]
    assert ageing.ask(rotation_days=60).number == 1
    found = ageing.policy()
    assert (found.rotation_days, found.overdue) == (60, Overdue.BLOCK_GRANTS)


@pytest.mark.usefixtures("_no_floor")
def test_a_key_may_be_stricter_than_its_tenant_and_never_laxer(ageing: Ageing) -> None:
    set_floor(ageing.world, max_drain_hours=48)
    ageing.ask(rotation_days=60)
    for rules, field in (({"rotation_days": 61}, "rotation_days"), ({"max_drain_hours": 49}, "max_drain_hours")):
        with pytest.raises(InvalidInput) as refusal:
            ageing.ask_key(**rules)
        assert (refusal.value.field, refusal.value.code) == (field, "laxer")
    ageing.ask_key(rotation_days=30)
    assert (ageing.policy().rotation_days, ageing.policy().max_drain_hours) == (30, 48)


@pytest.mark.usefixtures("_no_floor")
def test_when_the_platform_tightens_later_everything_follows_at_once(ageing: Ageing) -> None:
    ageing.ask(rotation_days=180, proof_days=60)
    set_floor(ageing.world, rotation_days=90)
    assert (ageing.policy().rotation_days, ageing.policy().proof_days) == (90, 60)
    with ageing.world.inside(ageing.cast):
        assert PolicyEdition.objects.get().rules == {"rotation_days": 180, "proof_days": 60}


def test_an_edition_is_dated_numbered_recorded_and_never_changed(ageing: Ageing) -> None:
    first = ageing.ask(rotation_days=90, note="After the audit")
    start = timezone.now() + timedelta(days=10)
    second = ageing.ask(rotation_days=60, reminder_days=[7, 30], starts_at=start)
    assert (first.number, second.number, second.starts_at) == (1, 2, start)
    assert ageing.policy().rotation_days == 90
    with ageing.world.inside(ageing.cast):
        assert rulebook.read_book().policy(at=start).rotation_days == 60
    found = [entry for entry in entries(ageing.world, ageing.cast.id) if entry.action == "policy.changed"]
    details = [entry.body["detail"] for entry in found]
    assert [each["rotation_days"] for each in details] == [90, 60]
    assert (details[1]["number"], details[1]["reminder_days"]) == (2, [30, 7])
    assert "note" not in str(details)
    with pytest.raises(ProgrammingError, match="permission denied"), ageing.world.inside(ageing.cast):
        PolicyEdition.objects.update(number=9)
    with pytest.raises(ProgrammingError, match="permission denied"), ageing.world.inside(ageing.cast):
        PolicyEdition.objects.all().delete()


def test_a_new_edition_calls_off_what_was_scheduled(ageing: Ageing) -> None:
    start = timezone.now() + timedelta(days=10)
    ageing.ask(rotation_days=30, starts_at=start)
    ageing.ask(rotation_days=90)
    with ageing.world.inside(ageing.cast):
        assert rulebook.read_book().policy(at=start + timedelta(days=1)).rotation_days == 90


def test_a_policy_starts_neither_in_the_past_nor_in_years(ageing: Ageing) -> None:
    for days, code in ((-1, "starts_in_past"), (400, "starts_too_far")):
        with pytest.raises(InvalidInput) as refusal:
            ageing.ask(rotation_days=90, starts_at=timezone.now() + timedelta(days=days))
        assert (refusal.value.field, refusal.value.code) == ("starts_at", code)


def test_who_looked_at_an_older_edition_does_not_overwrite_a_newer_one(ageing: Ageing) -> None:
    ageing.ask(rotation_days=90, replaces=0)
    with pytest.raises(Conflict) as conflict:
        ageing.ask(rotation_days=60, replaces=0)
    assert conflict.value.code == "policy_changed"
    assert ageing.policy().rotation_days == 90


def at_once(ageing: Ageing, *calls: dict[str, Any]) -> list[str]:
    """Set policies on connections of their own, all at the same moment; what each came to."""
    barrier, answers = threading.Barrier(len(calls)), []

    def run(values: dict[str, Any]) -> None:
        try:
            barrier.wait(10)
            answers.append(str(ageing.ask(**values).number))
        except Conflict as conflict:
            answers.append(conflict.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[values]) for values in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return sorted(answers)


def test_of_two_that_set_a_policy_at_once_one_wins_and_the_other_is_told(ageing: Ageing) -> None:
    looked = [{"rotation_days": days, "replaces": 0} for days in (90, 60)]
    assert at_once(ageing, *looked) == ["1", "policy_changed"]
    assert at_once(ageing, {"rotation_days": 50}, {"rotation_days": 40}) == ["2", "3"], "or both, in an order"


def test_another_tenants_key_is_no_key_and_its_policy_is_not_seen(ageing: Ageing) -> None:
    ageing.ask(rotation_days=30)
    ageing.ask_key(rotation_days=20)
    other = stranger(ageing.world)
    with ageing.world.bound(other), pytest.raises(NotFound):
        policies.set_key(actor=other.actor, key_id=ageing.key.id, rules={"rotation_days": 9})
    with ageing.world.bound(other), pytest.raises(Forbidden):
        policies.set_tenant(actor=ageing.cast.actor, rules={})
    with ageing.world.inside(other):
        book = rulebook.read_book(None)
    assert (book.tenant, dict(book.keys)) == ((), {})
    assert ageing.policy().rotation_days == 20


def test_only_staff_set_the_floor_and_the_web_servers_login_cannot(ageing: Ageing) -> None:
    with ageing.world.bound(ageing.cast), pytest.raises(Forbidden):
        policies.set_platform(actor=ageing.cast.actor, rules={"rotation_days": 999})
    with ageing.world.inside(ageing.cast), connections["default"].cursor() as cursor, pytest.raises(ProgrammingError):
        cursor.execute("INSERT INTO keys_platformpolicy DEFAULT VALUES")


@pytest.mark.usefixtures("_no_floor")
def test_the_floor_is_recorded_in_the_platforms_chain(ageing: Ageing) -> None:
    row = set_floor(ageing.world, rotation_days=90)
    last = [each for each in entries(ageing.world, PLATFORM) if each.action == "platform.policy_changed"][-1]
    assert (last.body["detail"]["number"], last.body["detail"]["rotation_days"]) == (row.number, 90)


def test_an_ended_key_takes_no_policy(ageing: Ageing) -> None:
    with ageing.world.bound(ageing.cast):
        lifecycle.revoke(actor=ageing.cast.actor, key_id=ageing.key.id, reason="superseded")
    with pytest.raises(Conflict):
        ageing.ask_key(rotation_days=9)


def test_a_drain_longer_than_the_policy_allows_is_refused_while_it_is_planned(ageing: Ageing) -> None:
    ageing.ask(max_drain_hours=4)
    with pytest.raises(InvalidInput) as refusal:
        ageing.rotate(hours=5)
    assert (refusal.value.field, refusal.value.code) == ("drain_hours", "exceeds_drain")
    ageing.rotate(hours=4)


def test_a_plan_whose_old_version_would_outlive_its_lifetime_is_refused(ageing: Ageing) -> None:
    ageing.ask(max_lifetime_days=30)
    ageing.age(29)
    with pytest.raises(InvalidInput) as refusal:
        ageing.rotate(hours=25)
    assert (refusal.value.field, refusal.value.code) == ("drain_hours", "exceeds_lifetime")
    assert ageing.version(1).state == "active"
    ageing.rotate(hours=23)
    assert ageing.version(1).state == "superseded"


def test_a_lifetime_that_is_only_scheduled_bounds_a_plan_too(ageing: Ageing) -> None:
    ageing.age(50)
    ageing.ask(max_lifetime_days=30, starts_at=timezone.now() + timedelta(hours=10))
    with pytest.raises(InvalidInput) as refusal:
        ageing.rotate(hours=12)
    assert refusal.value.code == "exceeds_lifetime"
    ageing.rotate(hours=9)


def test_a_version_that_is_too_old_already_is_replaced_without_overlap(ageing: Ageing) -> None:
    ageing.ask(max_lifetime_days=30)
    ageing.age(31)
    with pytest.raises(InvalidInput):
        ageing.rotate(hours=1)
    ageing.rotate(hours=0)
    assert (ageing.version(1).state, ageing.version(2).state) == ("revoked", "active")


def test_an_overdue_key_gets_no_new_grant_once_the_policy_says_so(ageing: Ageing) -> None:
    ageing.ask(rotation_days=90)
    ageing.age(91)
    ageing.world.grant(ageing.cast, ageing.key, ageing.world.consumer(ageing.cast))
    ageing.ask(rotation_days=90, overdue="block_grants")
    other = ageing.world.consumer(ageing.cast)
    with pytest.raises(Refused) as refusal:
        ageing.world.grant(ageing.cast, ageing.key, other)
    assert refusal.value.code == "key_overdue"
    denial = [each for each in entries(ageing.world, ageing.cast.id) if each.action == "grant.create"][-1]
    assert (denial.outcome, denial.body["detail"]["code"]) == ("denied", "key_overdue")
    assert ageing.use().allowed, "grants that are there go on"
    ageing.rotate(hours=1)
    ageing.world.grant(ageing.cast, ageing.key, other)
    with ageing.world.inside(ageing.cast):
        assert Grant.objects.filter(key_id=ageing.key.id).count() == 3


def test_a_proof_counts_for_as_long_as_the_policy_says_also_when_that_came_later(ageing: Ageing) -> None:
    waiting = ageing.world.key(ageing.cast, activate=False)
    ageing.ask(proof_days=5)
    fresh = ageing.world.key(ageing.cast, activate=False)
    with ageing.world.inside(ageing.cast):
        policy = rulebook.policy_of(waiting)
        ends = [
            rulebook.proof_ends_at(proof, policy) - proof.created_at
            for proof in (find_proof(waiting.id), find_proof(fresh.id))
        ]
        stored = find_proof(fresh.id)
    assert ends[0] == timedelta(days=5)
    assert timedelta(days=4, hours=23) < ends[1] <= timedelta(days=5)
    assert stored.expires_at < timezone.now() + timedelta(days=5, seconds=1)


def find_proof(key_id: Any) -> Any:
    from keys.selectors import find_proof as find  # noqa: PLC0415  # settings must be ready

    return find(key_id)


def test_reminder_days_are_those_of_the_policy_and_have_a_default(ageing: Ageing) -> None:
    with ageing.world.inside(ageing.cast):
        assert policies.reminder_days_of(ageing.key) == (30, 14, 7, 1)
    ageing.ask(reminder_days=[60, 5])
    ageing.ask_key(reminder_days=[60, 5, 2])
    with ageing.world.inside(ageing.cast):
        assert policies.reminder_days_of(ageing.key) == (60, 5, 2)
