"""What drills may be wanted by whom, on which keys and when; one tenant's trouble is not another's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from byok_portal.boundary import actors
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.permissions import Permission
from keys import drill_results, tasks
from keys.models import Campaign, CampaignItem, Drill, DrillSchedule, Grant
from keys.probes import Answered
from keys.services import campaigns, drilling, drills, grants
from keys.states import DrillState, KeyState
from tests.keys.test_campaigns import Asking
from tests.keys.test_drills import Rehearsing, origin, refusal, rehearsing  # noqa: F401  # fixtures
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from django.conf import LazySettings

    from byok_portal.boundary.actors import Actor
    from keys.models import Key
    from tests.world import Cast, World


def token(cast: Cast, *scopes: Permission) -> Actor:
    """A consumer's token with these scopes."""
    return actors.consumer(new_id(), tenant_id=cast.id, scopes=frozenset(scopes), label="robot", origin=Origin())


def test_a_token_that_may_only_run_drills_ends_and_rotates_no_key_by_one(rehearsing: Rehearsing) -> None:  # noqa: F811
    cast, key_id = rehearsing.cast, rehearsing.key.id
    plain, robot = rehearsing.world.key(cast), token(cast, Permission.DRILL_RUN)
    calls = [
        lambda: drills.set_canary(actor=robot, key_id=plain.id, is_canary=True),
        lambda: drills.start(actor=robot, kind="revocation", key_id=key_id),
        lambda: drills.start(actor=robot, kind="rotation", key_id=key_id),
        lambda: drills.schedule(actor=robot, kind="revocation", every="monthly"),
        lambda: drills.schedule(actor=robot, kind="rotation", every="monthly"),
    ]
    with rehearsing.world.bound(cast):
        assert {refusal(call) for call in calls} == {"permission_denied"}
    with rehearsing.world.inside(cast):
        assert not Drill.objects.exists()
        assert not DrillSchedule.objects.exists()
    may_revoke = token(cast, Permission.DRILL_RUN, Permission.KEY_REVOKE)
    with rehearsing.world.bound(cast):
        drills.start(actor=robot, kind="offboarding", key_id=key_id)
        drills.schedule(actor=may_revoke, kind="revocation", every="monthly")
        assert refusal(lambda: drills.set_canary(actor=may_revoke, key_id=plain.id, is_canary=True)) == (
            "permission_denied"
        )


def test_a_key_that_somebody_may_use_or_did_use_becomes_no_canary(world: World) -> None:
    asking = Asking(world)

    def flag(key: Key) -> Any:
        with world.bound(asking.cast):
            return drills.set_canary(actor=asking.cast.actor, key_id=key.id, is_canary=True)

    assert refusal(lambda: flag(asking.key)) == "key_in_use"
    assert asking.use().allowed
    asking.read_log()
    with world.inside(asking.cast):
        grant = Grant.objects.get(key_id=asking.key.id)
    with world.bound(asking.cast):
        grants.end(actor=asking.cast.actor, key_id=asking.key.id, grant_id=grant.id, reason="hold")
    assert refusal(lambda: flag(asking.key)) == "key_in_use"
    assert not asking.now.is_canary
    assert flag(world.key(asking.cast)).is_canary


def test_a_key_that_only_a_drill_used_is_flagged_again(rehearsing: Rehearsing) -> None:  # noqa: F811
    key = rehearsing.key = rehearsing.world.key(rehearsing.cast)
    for is_canary in (True, False, True):
        with rehearsing.world.bound(rehearsing.cast):
            drills.set_canary(actor=rehearsing.cast.actor, key_id=key.id, is_canary=is_canary)
        if is_canary:
            rehearsing.start("offboarding")
            assert rehearsing.work() == ["done"]
            rehearsing.read_log()
    assert rehearsing.now.is_canary


def test_sending_the_canary_page_twice_or_without_what_it_offered_undoes_nothing(
    rehearsing: Rehearsing,  # noqa: F811
) -> None:
    cast, key = rehearsing.cast, rehearsing.world.key(rehearsing.cast)
    browser, url = sign_in(cast.owner), at("keys:canary", cast, key.slug)
    assert 'name="is_canary" value="on"' in browser.get(url).content.decode()
    assert browser.post(url).status_code == 422
    assert browser.post(url, {"is_canary": "maybe"}).status_code == 422
    rehearsing.key = key
    stored = [rehearsing.now.is_canary]
    assert [browser.post(url, {"is_canary": "on"}).status_code for _ in range(2)] == [302, 409]
    stored.append(rehearsing.now.is_canary)
    assert 'name="is_canary" value="off"' in browser.get(url).content.decode()
    assert browser.post(url, {"is_canary": "off"}).status_code == 302
    assert [*stored, rehearsing.now.is_canary] == [False, True, False]
    assert "Canary flag" in text_of(browser.get(url))


def test_a_day_that_was_served_is_not_served_again_by_a_new_schedule(rehearsing: Rehearsing) -> None:  # noqa: F811
    world, cast, today = rehearsing.world, rehearsing.cast, timezone.now().date()
    with world.bound(cast):
        drills.schedule(actor=cast.actor, kind="offboarding", every="monthly")
    tasks.drill()
    assert rehearsing.drill().due_on == today
    with world.bound(cast):
        row = drills.schedule(actor=cast.actor, kind="offboarding", every="quarterly")
    assert row.next_on == drills.add_months(today, 3)
    tasks.drill()
    with world.inside(cast):
        assert Drill.objects.count() == 1
        DrillSchedule.objects.update(next_on=today)  # as it once was stored
    other = Rehearsing(world)
    with world.bound(other.cast):
        drills.schedule(actor=other.cast.actor, kind="offboarding", every="monthly")
    with world.inside(cast):
        DrillSchedule.objects.update(next_on=today)
    tasks.drill()
    assert other.drill().due_on == today, "what cannot be started for one tenant stops nobody else's"
    with world.inside(cast):
        assert Drill.objects.count() == 1
        DrillSchedule.objects.update(is_active=False)


def test_a_scheduled_drill_acts_with_the_rights_of_who_set_it(rehearsing: Rehearsing) -> None:  # noqa: F811
    robot = token(rehearsing.cast, Permission.DRILL_RUN, Permission.KEY_REVOKE)
    with rehearsing.world.bound(rehearsing.cast):
        drills.schedule(actor=robot, kind="revocation", every="monthly")
    tasks.drill()
    assert rehearsing.drill().started_by_id == robot.id
    assert rehearsing.work() == ["retry"]
    assert (rehearsing.drill().state, rehearsing.now.state) == (DrillState.CONFIRMING, KeyState.REVOKED)


def test_an_offboarding_is_measured_at_each_web_process_by_its_name(
    rehearsing: Rehearsing,  # noqa: F811
    origin: str,  # noqa: F811
    settings: LazySettings,
) -> None:
    settings.DRILL_ORIGINS = [origin]
    rehearsing.start("offboarding")
    assert rehearsing.work() == ["done"]
    drill = rehearsing.drill()
    assert (drill.state, drill.code) == (DrillState.PASSED, ""), drill.results
    (row,) = [row for row in drill.results if row["place"] == origin]
    assert (bool(row["process"]), row["refused"], row["code"]) == (True, 5, "unauthenticated")


class Turns:
    """A place whose processes answer in turn, as far as they are there."""

    place = "web"

    def __init__(self, *processes: str) -> None:
        self.processes, self.asked = processes, 0

    def ask(self, version: int | None = None) -> Answered:
        process = self.processes[min(self.asked, len(self.processes) - 1)]
        self.asked += 1
        return Answered(self.place, process, allowed=False, code="key_revoked", began=11.0, ended=11.0)


@pytest.mark.parametrize(
    ("turns", "asked", "code"),
    [(("a", "a", "b"), 3, ""), (("a",), drilling.CHASE, drill_results.NOT_MEASURED)],
)
def test_uses_go_on_until_each_process_that_answered_before_has_had_its_turn(
    turns: tuple[str, ...], asked: int, code: str
) -> None:
    place = Turns(*turns)
    before = [("before", Answered("web", name, allowed=True, code="allowed", began=1, ended=1)) for name in "ab"]
    run = drilling.Run.__new__(drilling.Run)
    run.answers, run.askers = before, [place]
    run.chase(10.0)
    assert place.asked == asked
    rows, verdict = drill_results.measure(run.answers, ended=10.0, target_ms=1000)
    assert verdict == code
    assert {row["process"]: row["code"] for row in rows}["b"] == (code or "key_revoked")


def due(asking: Asking) -> Asking:
    """A policy wants its confirmation within some days."""
    asking.age(400)
    asking.ask(recertify_days=20, overdue="notify")
    with asking.world.inside(asking.cast):
        type(asking.key).objects.filter(id=asking.key.id).update(recertify_due_at=timezone.now() + timedelta(days=5))
    return asking


@pytest.mark.parametrize("ending", ["closed", "cancelled"])
def test_an_ended_campaign_by_policy_does_not_begin_the_next(world: World, ending: str) -> None:
    asking = due(Asking(world))
    tasks.recertify_now()
    assert asking.campaign().by_policy
    with world.inside(asking.cast):
        Campaign.objects.update(state=ending, ended_at=timezone.now())
        listed = campaigns.list_unasked_tenants()
    assert asking.cast.id not in listed
    tasks.recertify_now()
    with world.bound(asking.cast):
        assert refusal(lambda: campaigns.start_by_policy(actor=actors.worker(new_id()))) == "nothing_due"
    assert asking.campaign().state == ending, "one, not two"
    with world.inside(asking.cast):
        CampaignItem.objects.update(due_at=timezone.now() - timedelta(days=15))  # it was asked for an earlier date
    tasks.recertify_now()
    with world.inside(asking.cast):
        assert Campaign.objects.count() == 2


def test_a_persons_campaign_that_was_called_off_asked_for_nothing(world: World) -> None:
    asking = due(Asking(world))
    asking.start(days=300)
    with world.inside(asking.cast):
        Campaign.objects.update(state="cancelled", ended_at=timezone.now())
    tasks.recertify_now()
    with world.inside(asking.cast):
        assert Campaign.objects.filter(by_policy=True).count() == 1


@pytest.fixture
def broken(world: World, admin_connection: psycopg.Connection) -> Iterator[Asking]:
    """A tenant for which no campaign can be written."""
    asking = due(Asking(world))
    rule = f"CHECK (tenant_id <> '{asking.cast.id}') NOT VALID"
    admin_connection.execute(f"ALTER TABLE keys_campaign ADD CONSTRAINT broken {rule}")
    yield asking
    admin_connection.execute("ALTER TABLE keys_campaign DROP CONSTRAINT broken")


def test_a_tenant_that_cannot_be_asked_keeps_no_other_unasked(broken: Asking) -> None:
    others = [due(Asking(broken.world)) for _ in range(2)]
    tasks.recertify_now()
    assert all(other.campaign().by_policy for other in others)
    with broken.world.inside(broken.cast):
        assert not Campaign.objects.exists()


def test_tenants_to_be_asked_come_in_no_order_that_hides_some_for_ever(world: World) -> None:
    for _ in range(3):
        due(Asking(world))
    assert len({tuple(campaigns.list_unasked_tenants(1)) for _ in range(40)}) > 1
