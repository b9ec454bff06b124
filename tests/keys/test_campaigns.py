"""Recertification: owners say again what their keys are for, and no answer has a consequence, job or no job."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.utils import timezone

from byok_portal.errors import Conflict, InvalidInput, NotFound, Refused
from keys import posture, recertification, tasks
from keys.findings import Kind
from keys.models import Campaign, CampaignItem, Confirmation, Key
from keys.services import campaigns, confirming, lifecycle
from keys.states import CampaignState, ClockReason, ItemState, KeyState
from tests.keys.ageing import Ageing
from tests.keys.test_clocks import answer_at
from tests.keys.test_reminders import TODAY, Waiting
from tests.tenants.mailing import inbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from byok_portal.boundary.actors import Actor
    from tests.world import World

DAY = timedelta(days=1)


class Asking(Ageing):
    """A key in use whose owner is asked, while another owner of the tenant runs the campaign."""

    def start(self, *, days: int = 7, **values: Any) -> Campaign:
        due_on = timezone.now().date() + timedelta(days=days)
        with self.world.bound(self.cast):
            return campaigns.start(actor=self.cast.actor, name="Yearly review", due_on=due_on, **values)

    def answer(self, answer: str = "confirmed", *, who: Actor | None = None, seen: str = "", note: str = "why") -> Key:
        with self.world.inside(self.cast):
            digest = recertification.digest_of(recertification.facts_of(self.key))
        with self.world.bound(self.cast):
            return confirming.answer(
                actor=who or self.cast.actor, key_id=self.key.id, answer=answer, seen=seen or digest, note=note
            )

    def pass_day(self, days: int = 1) -> None:
        """Pretend that everything was due so long ago, and that nobody has suspended anything yet."""
        past = timezone.now() - timedelta(days=days)
        with self.world.inside(self.cast):
            CampaignItem.objects.update(due_at=past, due_on=past.date())
            Campaign.objects.update(due_on=past.date())
            Key.objects.filter(suspends_for=ClockReason.NOT_RECERTIFIED).update(suspends_at=past)

    def item(self) -> CampaignItem:
        with self.world.inside(self.cast):
            return CampaignItem.objects.get(key_id=self.key.id)

    def campaign(self) -> Campaign:
        with self.world.inside(self.cast):
            return Campaign.objects.get()

    @property
    def backup(self) -> Actor:
        return self.world.actor(self.cast, self.cast.backup, "owner")

    def found(self) -> set[Kind]:
        with self.world.inside(self.cast):
            return {row.finding.kind for row in posture.list_found(self.key.id)}


@pytest.fixture
def asking(world: World) -> Asking:
    return Asking(world)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises((Refused, Conflict, InvalidInput, NotFound)) as error:
        call()
    return error.value.code


def test_without_an_answer_uses_are_refused_from_the_day_after_with_no_job_having_run(asking: Asking) -> None:
    asking.start(consequence="suspend")
    end = datetime.combine(timezone.now().date() + 8 * DAY, time.min, tzinfo=UTC)
    assert (asking.now.suspends_at, asking.now.suspends_for) == (end, ClockReason.NOT_RECERTIFIED)
    assert answer_at(asking, end - timedelta(seconds=1)) == "allowed"
    assert answer_at(asking, end) == "key_suspended"
    asking.pass_day()
    assert Kind.NOT_RECERTIFIED in asking.found()
    assert not asking.use().allowed
    assert tasks.keep_time() >= 1
    assert (asking.now.state, asking.actions("key.suspended")) == (KeyState.SUSPENDED, ["key.suspended"])


def test_a_late_confirmation_of_the_backup_owner_lifts_the_suspension(asking: Asking) -> None:
    asking.start(consequence="suspend")
    asking.pass_day()
    tasks.keep_time()
    actor, key_id = asking.cast.actor, asking.key.id
    with asking.world.bound(asking.cast):
        assert refusal(lambda: lifecycle.resume(actor=actor, key_id=key_id)) == "key_not_recertified"
    asking.answer(who=asking.backup)
    assert (asking.now.state, asking.now.suspends_at, asking.now.suspends_for) == (KeyState.ACTIVE, None, "")
    assert asking.use().allowed
    assert asking.item().state == ItemState.CONFIRMED
    assert asking.campaign().state == CampaignState.CLOSED, "everything is confirmed, so nobody has to close it"
    assert asking.actions("key.resumed", "key.confirmed", "campaign.closed") == [
        "key.resumed",
        "key.confirmed",
        "campaign.closed",
    ]
    assert Kind.NOT_RECERTIFIED not in asking.found()


def test_a_confirmation_does_not_resume_what_a_person_suspended_or_what_is_overdue_too(asking: Asking) -> None:
    asking.start(consequence="suspend")
    with asking.world.bound(asking.cast):
        lifecycle.suspend(actor=asking.cast.actor, key_id=asking.key.id)
    asking.pass_day()
    asking.answer()
    assert asking.now.state == KeyState.SUSPENDED
    other = Asking(asking.world)
    other.start(consequence="suspend")
    other.pass_day(days=20)
    tasks.keep_time()
    other.age(101)
    other.ask(rotation_days=90, overdue="suspend", grace_days=10)
    other.answer()
    assert (other.now.state, other.now.suspends_for) == (KeyState.SUSPENDED, ClockReason.OVERDUE)


def test_only_who_answers_for_the_key_answers_and_only_for_what_was_seen(asking: Asking) -> None:
    asking.start()
    with asking.world.inside(asking.cast):
        Key.objects.filter(id=asking.key.id).update(owner_id=asking.cast.auditor.pk)
    assert refusal(asking.answer) == "not_yours"
    assert refusal(lambda: asking.answer(who=asking.backup, seen="0" * 64)) == "changed_meanwhile"
    assert refusal(lambda: asking.answer("change_needed", who=asking.backup, note="")) == "required"
    assert asking.item().state == ItemState.WAITING
    asking.answer("change_needed", who=asking.backup, note="It needs less")
    assert (asking.item().state, asking.item().answered_by_id) == (ItemState.CHANGE_NEEDED, asking.cast.backup.pk)
    with asking.world.inside(asking.cast):
        assert not Confirmation.objects.exists()


def test_asking_for_a_change_in_time_is_an_answer_and_disowning_is_not(asking: Asking) -> None:
    asking.start(consequence="suspend")
    asking.answer("change_needed")
    assert asking.now.suspends_at is None
    asking.answer("not_mine", note="The other team has it")
    assert asking.now.suspends_for == ClockReason.NOT_RECERTIFIED
    kinds = [notice.kind for notice in inbox(asking.cast, asking.cast.backup.pk)]
    assert {"campaign.asked", "key.disowned"} <= set(kinds)
    asking.pass_day()
    asking.answer("change_needed", note="Too late")
    assert asking.now.suspends_for == ClockReason.NOT_RECERTIFIED


def test_blocking_refuses_new_grants_and_leaves_uses_alone(asking: Asking) -> None:
    asking.start(consequence="block_grants")
    other = asking.world.consumer(asking.cast)
    asking.pass_day()
    assert asking.use().allowed
    assert refusal(lambda: asking.world.grant(asking.cast, asking.key, other)) == "key_not_recertified"
    asking.answer()
    asking.world.grant(asking.cast, asking.key, other)


def test_only_keys_that_have_not_changed_are_confirmed_together(asking: Asking) -> None:
    asking.start()
    asking.answer()
    asking.start()
    with asking.world.inside(asking.cast):
        digest = recertification.digest_of(recertification.facts_of(asking.key))

    def confirm() -> int:
        with asking.world.bound(asking.cast):
            return confirming.confirm_unchanged(actor=asking.cast.actor, seen={asking.key.id: digest})

    more = asking.world.consumer(asking.cast)
    grant = asking.world.grant(asking.cast, asking.key, more)
    assert refusal(confirm) == "changed"
    with asking.world.bound(asking.cast):
        from keys.services import grants  # noqa: PLC0415

        grants.end(actor=asking.cast.actor, key_id=asking.key.id, grant_id=grant.id, reason="hold")
    assert confirm() == 1
    with asking.world.inside(asking.cast):
        assert Confirmation.objects.filter(key_id=asking.key.id).count() == 2
    assert asking.actions("key.confirmed") == ["key.confirmed"] * 2


def test_who_has_not_answered_cannot_call_the_campaign_off(asking: Asking) -> None:
    campaign = asking.start(consequence="suspend")

    def cancel() -> Campaign:
        with asking.world.bound(asking.cast):
            return campaigns.cancel(actor=asking.cast.actor, campaign_id=campaign.id, note="Wrong keys")

    assert refusal(cancel) == "own_items"
    with asking.world.bound(asking.cast):
        assert refusal(lambda: campaigns.close(actor=asking.cast.actor, campaign_id=campaign.id)) == "not_over"
    third = asking.world.tenant("globex").owner
    with asking.world.inside(asking.cast):
        Key.objects.filter(id=asking.key.id).update(owner_id=third.pk, backup_owner_id=asking.cast.auditor.pk)
    assert cancel().state == CampaignState.CANCELLED
    assert asking.now.suspends_at is None
    assert refusal(cancel) == "campaign_state"


def test_another_tenants_campaign_and_key_are_not_found(asking: Asking) -> None:
    campaign, other = asking.start(), asking.world.tenant("globex")
    calls: list[Callable[[], object]] = [
        lambda: campaigns.close(actor=other.actor, campaign_id=campaign.id),
        lambda: campaigns.cancel(actor=other.actor, campaign_id=campaign.id, note="x"),
        lambda: confirming.answer(actor=other.actor, key_id=asking.key.id, answer="confirmed", seen="x"),
    ]
    with asking.world.bound(other):
        assert [refusal(call) for call in calls] == ["not_found"] * 3


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"days": 0}, "out_of_range"),
        ({"selection": "environment", "value": "staging"}, "nothing_selected"),
        ({"selection": "provider", "value": "openai"}, "unknown_choice"),
        ({"selection": "risk"}, "nothing_selected"),
        ({"consequence": "shout"}, "unknown_choice"),
    ],
)
def test_a_campaign_that_asks_nobody_is_refused(asking: Asking, values: dict[str, Any], code: str) -> None:
    assert refusal(lambda: asking.start(**values)) == code
    with asking.world.inside(asking.cast):
        assert not Campaign.objects.exists()


def test_a_policy_suspends_the_unconfirmed_and_asks_once_with_two_clocks(asking: Asking) -> None:
    asking.age(400)
    asking.ask(recertify_days=60, overdue="suspend", grace_days=10)
    due = asking.now.recertify_due_at
    assert due is not None
    assert due - timezone.now() > 59 * DAY, "nobody is late before anybody was asked"
    assert answer_at(asking, due + 10 * DAY) == "key_suspended"
    assert (asking.now.suspends_at, asking.now.suspends_for) == (due + 10 * DAY, ClockReason.NOT_RECERTIFIED)
    with asking.world.inside(asking.cast):
        Confirmation.objects.create(
            key_id=asking.key.id, confirmed_by_id=asking.cast.owner.pk, digest="0" * 64, facts={}
        )
    then = timezone.now() - 50 * DAY
    Confirmation.objects.db_manager("owner").filter(tenant_id=asking.cast.id).update(created_at=then)
    asking.ask(recertify_days=59, overdue="suspend", grace_days=10)
    soon = asking.now.recertify_due_at
    assert soon is not None
    assert soon - timezone.now() < 10 * DAY

    def look() -> None:
        tasks.recertify_now()
        connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    campaign = asking.campaign()
    assert (campaign.by_policy, asking.item().due_at) == (True, soon)
    asking.answer()
    assert asking.now.recertify_due_at is not None
    assert asking.now.recertify_due_at - timezone.now() > 58 * DAY
    tasks.recertify_now()
    assert asking.campaign().id == campaign.id, "not asked again before half of the time is over"


def test_reminders_before_and_after_the_day_escalate_until_it_is_confirmed(world: World) -> None:
    waiting = Waiting(world, days=400)
    cast = waiting.cast
    with world.bound(cast):
        campaigns.start(actor=cast.actor, name="Review", due_on=timezone.now().date() + DAY)
    with world.inside(cast):
        CampaignItem.objects.update(due_on=TODAY + 5 * DAY)
    assert [waiting.sweep(), waiting.sweep()] == [1, 0]
    assert waiting.sweep(TODAY + 6 * DAY) == 1
    expected = ["campaign.asked", "key.confirmation_due", "key.confirmation_overdue"]
    assert waiting.everybody == (expected, expected)
    with world.inside(cast):
        CampaignItem.objects.update(state="confirmed", answered_at=timezone.now())
    assert waiting.sweep(TODAY + 9 * DAY) == 0


def test_a_live_credential_outside_production_is_found_from_its_last_proof(asking: Asking) -> None:
    from keys.models import Proof  # noqa: PLC0415

    with asking.world.inside(asking.cast):
        Key.objects.filter(id=asking.key.id).update(environment="staging")
    assert Kind.LIVE_OUTSIDE_PRODUCTION not in asking.found()
    Proof.objects.db_manager("owner").filter(key_id=asking.key.id).update(evidence={"mode": "live"})
    assert Kind.LIVE_OUTSIDE_PRODUCTION in asking.found()
