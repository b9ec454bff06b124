"""Reminders of deadlines: on which days, to whom, once each, whatever the clock and the other sweep do."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail as django_mail
from django.db import connection, connections
from django.utils import timezone

from byok_portal.boundary import actors, binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.errors import Conflict
from keys import deadlines, reminders, tasks
from keys.models import CampaignItem, Grant, Key, KeyVersion, Proof
from keys.reminders import NOTHING_SAID, Deadline, audience_of, find_next_look, find_stage
from keys.services import campaigns, lifecycle
from keys.services import reminders as service
from tenants.models import Membership, Notice, Reminder, Tenant
from tenants.services import mails
from tests.canary import forms_of
from tests.tenants.mailing import html_of, inbox, post

if TYPE_CHECKING:
    from uuid import UUID

    from tests.world import Cast, World

TODAY = date(2031, 3, 1)
DAYS = (30, 14, 7, 1)


class Waiting:
    """A tenant with one key whose only near deadline is its end, some days after `TODAY`."""

    def __init__(self, world: World, *, days: int) -> None:
        self.world = world
        self.cast: Cast = world.tenant()
        self.token = world.bao_token()
        self.key: Key = world.key(self.cast, token=self.token)
        self.set_deadlines(days=days)

    def set_deadlines(self, *, days: int) -> None:
        """All keys end then, and nothing else is near."""
        far = datetime.combine(TODAY + timedelta(days=900), time.min, tzinfo=UTC)
        with self.world.inside(self.cast):
            Key.objects.update(ends_on=TODAY + timedelta(days=days), rotation_due_at=None)
            KeyVersion.objects.update(expires_at=None)
            Grant.objects.update(expires_at=far)
        # A proof is never changed by the portal.
        Proof.objects.db_manager("owner").filter(tenant_id=self.cast.id).update(expires_at=far)

    def sweep(self, day: date = TODAY) -> int:
        """What the worker does for this tenant when the day's clock calls."""
        names = deadlines.list_due(day, 100_000).get(self.cast.id, [])
        return tasks.remind_tenant(self.cast.id, day, names)

    def said_to(self, person: UUID) -> list[str]:
        return [notice.kind for notice in reversed(inbox(self.cast, person))]

    @property
    def everybody(self) -> tuple[list[str], list[str]]:
        return self.said_to(self.cast.owner.pk), self.said_to(self.cast.backup.pk)


def staff_notices(tenant_id: UUID) -> list[Notice]:
    with binding.bind_tenant(PLATFORM), binding.reading():
        return [each for each in Notice.objects.all() if each.facts.get("tenant_id") == str(tenant_id)]


@pytest.mark.parametrize(
    ("left", "stage"),
    [
        (31, None),
        (30, 30),
        (29, 30),
        (15, 30),
        (14, 14),
        (5, 7),
        (1, 1),
        (0, 1),
        (-1, -1),
        (-2, -1),
        (-3, -3),
        (-90, -3),
    ],
)
def test_the_nearest_stage_counts_however_many_were_jumped_over(left: int, stage: int | None) -> None:
    assert find_stage(Deadline.KEY_END, left=left, days=DAYS) == stage


def test_a_grant_that_has_ended_is_not_spoken_of() -> None:
    assert find_stage(Deadline.GRANT_END, left=-5, days=DAYS) == 1
    assert find_next_look(Deadline.GRANT_END, due_on=TODAY, stage=1, days=DAYS) is None


@pytest.mark.parametrize("stage", [NOTHING_SAID, 30, 14, 7, 1, -1])
def test_the_next_look_is_the_first_day_with_something_new_to_say(stage: int) -> None:
    look = find_next_look(Deadline.PROOF, due_on=TODAY, stage=stage, days=DAYS)
    assert look is not None
    then = find_stage(Deadline.PROOF, left=(TODAY - look).days, days=DAYS)
    before = find_stage(Deadline.PROOF, left=(TODAY - look).days + 1, days=DAYS)
    assert then is not None
    assert then < stage
    assert before is None or before >= stage
    assert find_next_look(Deadline.PROOF, due_on=TODAY, stage=-3, days=DAYS) is None


def test_an_escalation_that_was_jumped_over_leaves_nobody_out() -> None:
    assert audience_of(7, said=30) == reminders.Audience(key_owners=True, tenant_owners=False, staff=False)
    assert audience_of(-1, said=1) == reminders.Audience(key_owners=True, tenant_owners=True, staff=False)
    assert audience_of(-3, said=-1) == reminders.Audience(key_owners=False, tenant_owners=False, staff=True)
    assert audience_of(-3, said=7) == reminders.Audience(key_owners=True, tenant_owners=True, staff=True)


def test_day_by_day_each_stage_is_said_once(world: World) -> None:
    waiting = Waiting(world, days=33)
    told = [33 - day for day in range(33 + 6) for _ in range(2) if waiting.sweep(TODAY + timedelta(days=day))]
    assert told == [30, 14, 7, 1, -1, -3]
    expected = ["key.ends_soon"] * 4 + ["key.end_passed"]
    assert waiting.everybody == (expected, expected)
    assert len(staff_notices(waiting.cast.id)) >= 1


def test_a_clock_that_jumps_gives_one_reminder_and_one_that_goes_back_none(world: World) -> None:
    waiting = Waiting(world, days=40)
    assert waiting.sweep() == 0
    assert waiting.sweep(TODAY + timedelta(days=35)) == 1
    assert [waiting.sweep(TODAY + timedelta(days=day)) for day in (0, 12, 27, 34, 35, 38)] == [0] * 6
    assert waiting.sweep(TODAY + timedelta(days=39)) == 1
    assert waiting.everybody[0] == ["key.ends_soon"] * 2
    days_left = [notice.facts["days"] for notice in inbox(waiting.cast, waiting.cast.owner.pk)]
    assert days_left == [1, 5]


def test_a_clock_that_jumps_past_the_end_tells_everybody_at_once(world: World) -> None:
    waiting, staff = Waiting(world, days=5), world.staff()
    assert waiting.sweep(TODAY + timedelta(days=60)) == 1
    assert waiting.everybody == (["key.end_passed"], ["key.end_passed"])
    told = staff_notices(waiting.cast.id)
    assert staff.pk in {notice.recipient_id for notice in told}
    assert {notice.facts["count"] for notice in told} == {1}
    assert waiting.sweep(TODAY + timedelta(days=61)) == 0


def test_a_key_that_got_a_new_end_or_was_revoked_is_not_escalated(world: World) -> None:
    moved, revoked = Waiting(world, days=7), Waiting(world, days=7)
    assert (moved.sweep(), revoked.sweep()) == (1, 1)
    with world.inside(moved.cast):
        Key.objects.update(ends_on=TODAY + timedelta(days=20))
    with world.bound(revoked.cast):
        lifecycle.revoke(actor=revoked.cast.actor, key_id=revoked.key.id, reason="cessation_of_operation")
    assert revoked.sweep(TODAY + timedelta(days=9)) == 0
    assert moved.sweep(TODAY + timedelta(days=1)) == 1  # the new end is a deadline of its own
    assert moved.everybody[0] == ["key.ends_soon"] * 2


def test_two_sweeps_at_once_say_it_once(world: World) -> None:
    waiting, said = Waiting(world, days=7), []

    def sweep() -> None:
        said.append(waiting.sweep())
        connections.close_all()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(said) == 1
    assert waiting.everybody == (["key.ends_soon"], ["key.ends_soon"])
    connection.close()


def test_every_kind_of_deadline_is_found(world: World) -> None:
    waiting = Waiting(world, days=400)
    credential = world.consumer(waiting.cast)
    grant = world.grant(waiting.cast, waiting.key, credential)
    soon = datetime.combine(TODAY + timedelta(days=6), time(12), tzinfo=UTC)
    with world.inside(waiting.cast):
        Key.objects.update(ends_on=soon.date(), rotation_due_at=soon)
        KeyVersion.objects.update(expires_at=soon)
        Grant.objects.filter(id=grant.id).update(expires_at=soon)
        Tenant.objects.filter(id=waiting.cast.id).update(contract_ends_on=soon.date())
    Proof.objects.db_manager("owner").filter(tenant_id=waiting.cast.id).update(expires_at=soon)
    with world.bound(waiting.cast):
        later = timezone.now().date() + timedelta(days=9)
        campaigns.start(actor=waiting.cast.actor, name="Review", due_on=later)
    with world.inside(waiting.cast):
        CampaignItem.objects.update(due_on=soon.date())
    assert waiting.sweep() == len(set(Deadline) - {Deadline.PROJECT}), "a project has its own test"
    assert sorted(waiting.said_to(waiting.cast.owner.pk)) == [
        "campaign.asked",
        "key.confirmation_due",
        "key.credential_expires",
        "key.ends_soon",
        "key.grant_ends",
        "key.proof_expires",
        "key.rotation_due",
        "tenant.contract_ends",
    ]
    assert credential.consumer.name in [
        notice.facts["consumer"] for notice in inbox(waiting.cast, waiting.cast.owner.pk) if "consumer" in notice.facts
    ]
    with world.inside(waiting.cast):
        assert {row.stage for row in Reminder.objects.all()} == {7}


def test_a_credential_that_expired_is_escalated_until_another_one_is_current(world: World) -> None:
    waiting = Waiting(world, days=400)
    past = datetime.combine(TODAY - timedelta(days=1), time(12), tzinfo=UTC)
    with world.inside(waiting.cast):
        KeyVersion.objects.update(expires_at=past, state="expired")
    assert waiting.sweep() == 1
    assert waiting.everybody[1] == ["key.credential_expired"]


def test_owners_who_have_left_are_replaced_by_the_tenants_owners(world: World) -> None:
    waiting = Waiting(world, days=7)
    cast = waiting.cast
    auditor = cast.auditor.pk
    with world.inside(cast):
        Key.objects.update(owner_id=auditor)
        Membership.objects.filter(user_id__in=[auditor, cast.backup.pk]).update(is_active=False)
    assert waiting.sweep() == 1
    assert waiting.said_to(cast.owner.pk) == ["key.ends_soon"]
    assert waiting.said_to(auditor) == []


@pytest.mark.parametrize("state", ["offboarding"])
def test_a_tenant_that_is_ending_is_not_reminded(world: World, state: str) -> None:
    waiting = Waiting(world, days=7)
    with world.inside(waiting.cast):
        Tenant.objects.filter(id=waiting.cast.id).update(state=state)
    assert waiting.cast.id not in deadlines.list_due(TODAY, 100_000)


def test_a_tenant_whose_policy_reminds_earlier_is_reminded_earlier(world: World) -> None:
    from keys.models import PolicyEdition  # noqa: PLC0415

    waiting = Waiting(world, days=80)
    assert waiting.sweep() == 0
    with world.inside(waiting.cast):
        PolicyEdition.objects.create(
            number=1,
            rules={"reminder_days": [60, 30, 14, 7, 1]},
            starts_at=timezone.now() - timedelta(days=1),
            set_by_id=waiting.cast.owner.pk,
        )
    assert waiting.sweep(TODAY + timedelta(days=20)) == 1
    assert waiting.sweep(TODAY + timedelta(days=21)) == 0
    assert waiting.sweep(TODAY + timedelta(days=50)) == 1


def test_a_policy_of_one_key_leaves_the_others_for_later_and_says_nothing_of_them(world: World) -> None:
    from keys.models import PolicyEdition  # noqa: PLC0415

    waiting = Waiting(world, days=50)
    other = world.key(waiting.cast)
    waiting.set_deadlines(days=50)
    with world.inside(waiting.cast):
        PolicyEdition.objects.create(
            key=other,
            number=1,
            rules={"reminder_days": [60, 30, 14, 7, 1]},
            starts_at=timezone.now() - timedelta(days=1),
            set_by_id=waiting.cast.owner.pk,
        )
    assert waiting.sweep() == 1
    with world.inside(waiting.cast):
        stages = dict(Reminder.objects.values_list("subject_id", "stage"))
        assert stages == {other.id: 60, waiting.key.id: NOTHING_SAID}
        assert service.look_again(TODAY) == 2
    assert waiting.sweep() == 0
    assert waiting.sweep(TODAY + timedelta(days=20)) == 2


def test_the_reminder_leaves_one_entry_and_a_digest_without_a_secret(world: World) -> None:
    waiting = Waiting(world, days=7)
    cast = waiting.cast
    assert waiting.sweep() == 1
    world.sequence()
    from audit.models import Entry  # noqa: PLC0415

    with world.inside(cast):
        entry = Entry.objects.filter(tenant_id=cast.id, leaf__contains="key.reminded").get()
    assert '"deadlines":1' in str(entry.leaf)
    assert post(cast, cast.owner.pk) == "done"
    (sent,) = django_mail.outbox
    text = sent.message().as_bytes() + str(sent.body).encode() + html_of(sent).encode()
    assert waiting.key.name.encode() in text
    assert [form for name, form in forms_of(waiting.token.token).items() if form in text] == []
    assert f"/t/{cast.slug}/keys/{waiting.key.slug}/".encode() in text


def test_the_sweep_is_an_operation_of_workers_alone(world: World) -> None:
    waiting = Waiting(world, days=400)
    with world.bound(waiting.cast), pytest.raises(Conflict):
        service.remind(actor=actors.worker(PLATFORM), day=TODAY, names=[])
    assert isinstance(mails.list_due(), list)


def test_a_failing_tenant_does_not_silence_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, fine = Waiting(world, days=7), Waiting(world, days=7)
    remind: Any = tasks._remind_some

    def some(tenant_id: UUID, day: date, names: Any) -> int:
        if tenant_id == broken.cast.id:
            raise RuntimeError
        return int(remind(tenant_id, day, names))

    monkeypatch.setattr(tasks, "_remind_some", some)
    found = deadlines.list_due(TODAY, 100_000)
    looks = iter([{cast.id: found[cast.id] for cast in (broken.cast, fine.cast)}, {}])
    monkeypatch.setattr(deadlines, "list_due", lambda *_: next(looks))
    assert tasks.remind_on(TODAY) == 1
    assert fine.everybody[0] == ["key.ends_soon"]


def test_the_sweep_takes_turns(world: World) -> None:
    from byok_portal.boundary.jobs import take_turn  # noqa: PLC0415
    from byok_portal.boundary.models import Pulse  # noqa: PLC0415

    name = world.name("turn")
    minute = timedelta(minutes=1)
    assert [take_turn(name, every=minute) for _ in range(3)] == [True, False, False]
    Pulse.objects.filter(name=name).update(beat_at=timezone.now() - 2 * minute)
    assert take_turn(name, every=minute)
    Pulse.objects.filter(name=name).update(beat_at=timezone.now() + timedelta(days=9))
    assert take_turn(name, every=minute)
