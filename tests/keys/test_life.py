"""Random lives of a key: whatever people do and however the clock jumps, the invariants hold in the database."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import PortalError
from keys import recertification, tasks
from keys.models import Grant, HandOver, Incident, IncidentTask, Key, KeyVersion
from keys.services import (
    campaigns,
    confirming,
    draining,
    exposing,
    grants,
    incidents,
    leaving,
    lifecycle,
    offboarding,
    ownership,
    policies,
    rotation,
    uses,
)
from keys.states import VERSION_TRANSITIONS, Delivery, GrantState, KeyState, VersionState
from tenants.models import Membership
from tests.keys.test_endings import work
from tests.keys.test_ownership import join
from tests.keys.test_use import caller

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    import psycopg

    from tests.world import World

REAL_NOW = timezone.now
USABLE = {VersionState.ACTIVE, VersionState.SUSPENDED, VersionState.SUPERSEDED}
ENDINGS: list[Callable[..., Any]] = [lifecycle.revoke, exposing.compromise]
RARELY = st.sampled_from([True, False, False, False])
ENDED = {KeyState.REVOKED, KeyState.COMPROMISED}


class Clock:
    """Django's clock, ahead by what was jumped."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> Any:
        return REAL_NOW() + self.ahead


class Life(RuleBasedStateMachine):
    """One key of one tenant with two consumers. An operation that is refused must leave everything as it was."""

    world: World
    admin: psycopg.Connection
    clock: Clock

    @initialize()
    def begin(self) -> None:
        self.clock.ahead = timedelta()
        self.cast = self.world.tenant()
        self.account = self.world.name("user")
        self.people = [join(self.world, self.cast) for _ in range(2)]
        token = self.world.bao_token(self.account)
        owner = str(self.people[0].pk)
        self.key = self.world.key(self.cast, token=token, owner=owner)
        self.credential = self.world.consumer(self.cast)
        self.world.grant(self.cast, self.key, self.credential)
        self.before = self.states()
        self.run_id: UUID | None = None
        self.has_worked = False

    def rows(self) -> Any:
        """All that the operations write, but for the record."""
        with self.world.inside(self.cast):
            written = (Key, KeyVersion, Grant, HandOver, Membership, Incident, IncidentTask)
            return [list(model.objects.order_by("id").values()) for model in written]

    def states(self) -> dict[int, str]:
        with self.world.inside(self.cast):
            return dict(KeyVersion.objects.filter(key_id=self.key.id).values_list("number", "state"))

    def recorded(self) -> int:
        query = "SELECT (SELECT count(*) FROM audit_inbox WHERE tenant_id = %(t)s) + coalesce((SELECT tseq FROM audit_tenanthead WHERE tenant_id = %(t)s), 0)"  # noqa: E501  # one statement
        row = self.admin.execute(query, {"t": self.cast.id}).fetchone()
        assert row is not None
        return int(row[0])

    def attempt(self, operation: Callable[..., Any], **values: Any) -> None:
        rows, recorded = self.rows(), self.recorded()
        try:
            with self.world.bound(self.cast):
                operation(actor=self.cast.actor, **values)
        except PortalError:
            assert self.rows() == rows, "a refused operation left something behind"
        else:
            assert self.recorded() > recorded, "no record, no action"

    @rule(hours=st.sampled_from([0, 1, 48]))
    def rotate(self, hours: int) -> None:
        token = Secret(self.world.bao_token(self.account).token)
        more = {"accept_excess": True, "note": "Test"}
        self.attempt(rotation.rotate, key_id=self.key.id, plaintext=token, drain_hours=hours, **more)

    @rule(number=st.integers(1, 3), force=st.booleans())
    def finish(self, number: int, *, force: bool) -> None:
        self.attempt(draining.finish, key_id=self.key.id, number=number, force=force, note="Test")

    @rule(number=st.integers(1, 3))
    def roll_back(self, number: int) -> None:
        self.attempt(draining.roll_back, key_id=self.key.id, number=number, note="Test")

    @rule(number=st.integers(1, 3), minutes=st.sampled_from([1, 60]))
    def brownout(self, number: int, minutes: int) -> None:
        self.attempt(draining.brownout, key_id=self.key.id, number=number, minutes=minutes)

    @rule(change=st.sampled_from([lifecycle.suspend, lifecycle.resume]))
    def hold(self, change: Callable[..., Any]) -> None:
        self.attempt(change, key_id=self.key.id)

    @precondition(lambda self: self.clock.ahead > timedelta(days=2))
    @rule(change=st.sampled_from(ENDINGS))
    def end(self, change: Callable[..., Any]) -> None:
        self.attempt(change, key_id=self.key.id, reason="key_compromise")

    @rule(change=st.sampled_from([incidents.dismiss, incidents.confirm, None]))
    def suspect(self, change: Callable[..., Any] | None) -> None:
        if change is None:
            self.attempt(exposing.quarantine, key_id=self.key.id)
            return
        with self.world.inside(self.cast):
            found = Incident.objects.filter(key_id=self.key.id).order_by("-created_at").first()
        if found is not None:
            self.attempt(change, incident_id=found.id, note="Test")

    @rule(days=st.sampled_from([1, 40]))
    def grant(self, days: int) -> None:
        draft = grants.GrantDraft(
            consumer=str(self.credential.consumer.id),
            scopes=("secrets:read",),
            deliveries=("decision", "lease"),
            days=days,
            reason="Test",
        )
        self.attempt(grants.create, key_id=self.key.id, draft=draft)

    @rule(
        rules=st.sampled_from(
            [
                {},
                {"rotation_days": 20, "overdue": "suspend", "grace_days": 5},
                {"max_lifetime_days": 30},
                {"recertify_days": 10, "overdue": "suspend", "grace_days": 0},
            ]
        )
    )
    def policy(self, rules: dict[str, Any]) -> None:
        self.attempt(policies.set_tenant, rules=rules)

    @rule(who=st.integers(0, 1))
    def leave(self, who: int) -> None:
        with self.world.inside(self.cast):
            member = Membership.objects.get(user_id=self.people[who].pk).id
        self.attempt(ownership.remove_member, membership_id=member)

    @rule()
    def start_a_campaign(self) -> None:
        due_on = self.clock.now().date() + timedelta(days=2)
        self.attempt(campaigns.start, name="Review", due_on=due_on, consequence="suspend")

    @rule(answer=st.sampled_from(["confirmed", "confirmed", "change_needed", "not_mine"]))
    def answer(self, answer: str) -> None:
        with self.world.inside(self.cast):
            seen = recertification.digest_of(recertification.facts_of(Key.objects.get(id=self.key.id)))
        self.attempt(confirming.answer, key_id=self.key.id, answer=answer, seen=seen, note="Test")

    @rule()
    def hand_over(self) -> None:
        owner, backup = str(self.cast.owner.pk), str(self.cast.backup.pk)
        self.attempt(ownership.hand_over, key_id=self.key.id, owner=owner, backup_owner=backup)

    @rule(sure=RARELY)
    def end_consumer(self, *, sure: bool) -> None:
        if sure:
            consumer = self.credential.consumer.id
            self.attempt(leaving.end_consumer, consumer_id=consumer, reason="cessation_of_operation")

    @rule(sure=RARELY)
    def offboard(self, *, sure: bool) -> None:
        if sure and self.run_id is None:
            staff = self.world.staff_actor()
            with self.world.bound(self.cast):
                run = offboarding.start(actor=staff, reason="contract_ended", confirmation=self.cast.slug)
            self.run_id = run.id

    @precondition(lambda self: self.run_id is not None)
    @rule()
    def let_a_worker_end_it(self) -> None:
        assert self.run_id is not None
        work(self.world, self.cast, self.run_id)
        self.has_worked = True

    @rule(hours=st.sampled_from([1, 50, 24 * 21]))
    def jump(self, hours: int) -> None:
        self.clock.ahead += timedelta(hours=hours)

    @rule()
    def let_the_clock_write(self) -> None:
        tasks.keep_time()

    @rule(version=st.sampled_from([None, 1, 2]))
    def use(self, version: int | None) -> None:
        with self.world.bound(self.cast):
            answer = uses.use(
                actor=caller(self.cast, self.credential),
                token_id=self.credential.token_id,
                key_reference=str(self.key.id),
                scope="secrets:read",
                purpose="test",
                delivery=Delivery.DECISION,
                version=version,
            )
        with self.world.inside(self.cast):
            key = Key.objects.get(id=self.key.id)
            used = KeyVersion.objects.filter(key_id=key.id, number=answer.decision.version or 0).first()
        if answer.decision.allowed:
            now = self.clock.now()
            assert self.run_id is None, "an offboarding has started"
            assert key.state == KeyState.ACTIVE
            assert key.suspends_at is None or key.suspends_at > now
            assert used is not None
            assert used.exposure == "none", "what strangers may know is not used"
            assert used.state in {VersionState.ACTIVE, VersionState.SUPERSEDED}
            assert used.state == VersionState.ACTIVE or (used.drain_until is not None and used.drain_until > now)
            assert used.expires_at is None or used.expires_at > now

    @invariant()
    def at_most_one_is_current_and_two_are_usable(self) -> None:
        states = list(self.states().values())
        assert sum(state in {VersionState.ACTIVE, VersionState.SUSPENDED} for state in states) <= 1
        assert sum(state in USABLE for state in states) <= 2

    @invariant()
    def states_move_as_the_table_says(self) -> None:
        now = self.states()
        for number, state in now.items():
            was = self.before.get(number, state)
            assert was == state or _reaches(VersionState(was), VersionState(state)), (number, was, state)
        self.before = now

    @invariant()
    def a_key_that_lives_has_an_active_owner(self) -> None:
        with self.world.inside(self.cast):
            key = Key.objects.get(id=self.key.id)
            active = Membership.objects.filter(user_id=key.owner_id, is_active=True).exists()
            waiting = HandOver.objects.filter(key_id=key.id, state="open").exists()
        assert key.state in ENDED or active
        assert key.state in ENDED or key.backup_owner_id is not None or waiting

    @invariant()
    def what_has_ended_here_is_not_called_dead_there(self) -> None:
        with self.world.inside(self.cast):
            key = Key.objects.get(id=self.key.id)
            versions = list(KeyVersion.objects.filter(key_id=key.id))
            live = Grant.objects.filter(key_id=key.id, state=GrantState.ACTIVE).exists()
        confirmed = [version for version in versions if version.upstream_status == "revoked_confirmed"]
        assert self.has_worked or not confirmed, "no worker has run"
        assert key.state not in ENDED or not (live or {version.state for version in versions} & USABLE)


def _reaches(start: VersionState, end: VersionState) -> bool:
    """One step, or several in a single operation of the clock."""
    seen, edge = {start}, {start}
    while edge:
        edge = {after for state in edge for after in VERSION_TRANSITIONS[state]} - seen
        seen |= edge
    return end in seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", clock.now)
    return clock


def test_every_life_keeps_the_invariants(world: World, admin_connection: psycopg.Connection, clock: Clock) -> None:
    attributes = {"world": world, "admin": admin_connection, "clock": clock}
    machine = type("OneLife", (Life,), attributes)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
