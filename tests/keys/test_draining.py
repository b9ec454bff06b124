"""The second half of a rotation: who still uses the old version, its rehearsal, its return and its end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from byok_portal.boundary.jobs import run as run_job
from byok_portal.boundary.models import Job
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, InvalidInput, Refused
from keys import selectors, usage
from keys.models import Key, KeyVersion
from keys.services import draining, rotation, uses
from keys.states import Delivery, VersionState
from keys.usage import Standing
from tests.keys.test_use import caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import Cast, Credential, World


class Rotating:
    """A key with one consumer that has a grant, ready to be rotated."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cast: Cast = world.tenant()
        self.account = world.name("user")
        self.key: Key = world.key(self.cast, token=world.bao_token(self.account))
        self.credential: Credential = world.consumer(self.cast)
        world.grant(self.cast, self.key, self.credential)

    def rotate(self, *, hours: int = 24) -> None:
        with self.world.bound(self.cast):
            rotation.rotate(
                actor=self.cast.actor,
                key_id=self.key.id,
                plaintext=Secret(self.world.bao_token(self.account).token),
                drain_hours=hours,
                accept_excess=True,
                note="Accepted for this test",
            )

    def use(self, version: int | None = None, credential: Credential | None = None) -> Any:
        asking = credential or self.credential
        with self.world.bound(self.cast):
            return uses.use(
                actor=caller(self.cast, asking),
                token_id=asking.token_id,
                key_reference=str(self.key.id),
                scope="secrets:read",
                purpose="Nightly report",
                delivery=Delivery.LEASE,
                version=version,
            ).decision

    def change(self, operation: Callable[..., KeyVersion], **values: Any) -> KeyVersion:
        with self.world.bound(self.cast):
            return operation(actor=self.cast.actor, key_id=self.key.id, number=values.pop("number", 1), **values)

    def version(self, number: int) -> KeyVersion:
        with self.world.inside(self.cast):
            return selectors.list_versions(self.key.id).get(number=number)

    def read_log(self) -> None:
        self.world.sequence()
        call_command("readers", "--once")

    def standings(self) -> dict[str, Standing]:
        self.read_log()
        with self.world.inside(self.cast):
            return {user.name: user.standing for user in usage.list_users(self.version_row(1))}

    def version_row(self, number: int) -> KeyVersion:
        return selectors.list_versions(self.key.id).get(number=number)


@pytest.fixture
def rotating(world: World) -> Rotating:
    """In the middle of a rotation: version 1 drains, version 2 is current."""
    rotating = Rotating(world)
    rotating.rotate()
    return rotating


def test_it_shows_who_still_uses_the_old_version_and_who_has_moved(rotating: Rotating) -> None:
    name = rotating.credential.consumer.name
    other = rotating.world.consumer(rotating.cast)
    rotating.world.grant(rotating.cast, rotating.key, other)
    assert rotating.use(version=1).allowed
    assert rotating.use(version=1, credential=other).allowed
    assert rotating.standings() == {name: Standing.STILL, other.consumer.name: Standing.STILL}
    assert rotating.use().version == 2
    assert rotating.standings() == {name: Standing.MOVED, other.consumer.name: Standing.STILL}


def test_a_consumer_that_has_not_called_since_is_called_silent(world: World) -> None:
    rotating = Rotating(world)
    assert rotating.use().version == 1
    rotating.rotate()
    assert rotating.standings() == {rotating.credential.consumer.name: Standing.SILENT}
    assert rotating.change(draining.finish).state == VersionState.REVOKED


def test_a_version_in_use_is_not_ended_without_a_reason(rotating: Rotating) -> None:
    assert rotating.use(version=1).allowed
    rotating.read_log()
    with pytest.raises(Refused, match=rotating.credential.consumer.name) as refusal:
        rotating.change(draining.finish)
    assert (refusal.value.code, refusal.value.field) == ("version_in_use", "force")
    with pytest.raises(InvalidInput):
        rotating.change(draining.finish, force=True)
    assert rotating.version(1).state == VersionState.SUPERSEDED
    assert rotating.change(draining.finish, force=True, note="The batch job is gone").state == VersionState.REVOKED
    assert rotating.use(version=1).code == "no_usable_version"


def test_a_brownout_refuses_the_old_version_names_who_broke_and_ends_by_itself(rotating: Rotating) -> None:
    assert rotating.use(version=1).allowed
    rotating.change(draining.brownout, minutes=5)
    refused = rotating.use(version=1)
    assert (refused.allowed, refused.code) == (False, "version_brownout")
    assert rotating.use().version == 2, "the current version is not touched"
    rotating.world.sequence()
    with rotating.world.inside(rotating.cast):
        found = usage.list_refused(rotating.version_row(1))
    assert [(each.name, each.times) for each in found] == [(rotating.credential.consumer.name, 1)]
    with rotating.world.inside(rotating.cast):
        now = timezone.now()
        KeyVersion.objects.filter(key_id=rotating.key.id, number=1).update(dark_from=now - timedelta(1), dark_until=now)
    assert rotating.use(version=1).allowed, "no job had to run"


def test_a_brownout_is_ended_early_and_a_planned_one_called_off(rotating: Rotating) -> None:
    rotating.change(draining.brownout, minutes=60)
    with pytest.raises(Conflict, match="set already"):
        rotating.change(draining.brownout, minutes=5)
    ended = rotating.change(draining.end_brownout)
    assert ended.dark_from is not None, "what it refused is still known"
    assert rotating.use(version=1).allowed
    with pytest.raises(Conflict, match="No brownout"):
        rotating.change(draining.end_brownout)
    planned = rotating.change(draining.brownout, minutes=5, starts_at=timezone.now() + timedelta(hours=1))
    assert rotating.use(version=1).allowed
    assert planned.dark_from is not None
    assert rotating.change(draining.end_brownout).dark_from is None


def test_a_brownout_lies_inside_the_drain(rotating: Rotating) -> None:
    late = timezone.now() + timedelta(hours=23, minutes=58)
    with pytest.raises(InvalidInput) as refusal:
        rotating.change(draining.brownout, minutes=5, starts_at=late)
    assert (refusal.value.code, refusal.value.field) == ("outside_drain", "starts_at")
    with pytest.raises(InvalidInput):
        rotating.change(draining.brownout, minutes=61)
    with pytest.raises(Conflict, match="does not drain"):
        rotating.change(draining.brownout, minutes=5, number=2)


def test_a_rotation_is_rolled_back_before_the_drain_ends(rotating: Rotating) -> None:
    back = rotating.change(draining.roll_back, note="The new token lacks a path")
    assert (back.number, back.state, back.drain_until) == (1, VersionState.ACTIVE, None)
    assert rotating.version(2).state == VersionState.REVOKED
    assert rotating.use().version == 1
    assert rotating.use(version=2).code == "no_usable_version"
    with rotating.world.inside(rotating.cast):
        kinds = {(job.kind, job.subject_id) for job in Job.objects.filter(tenant_id=rotating.cast.id)}
    assert ("key.revoke_upstream", rotating.version(2).id) in kinds


def test_what_is_over_is_not_rolled_back(rotating: Rotating) -> None:
    with rotating.world.inside(rotating.cast):
        KeyVersion.objects.filter(key_id=rotating.key.id, number=1).update(drain_until=timezone.now())
    with pytest.raises(Conflict, match="is over"):
        rotating.change(draining.roll_back, note="Too late")
    assert rotating.version(2).state == VersionState.ACTIVE


def test_the_clock_of_a_rotation_that_was_rolled_back_does_not_end_the_next_one_early(rotating: Rotating) -> None:
    rotating.change(draining.roll_back, note="Once more")
    rotating.rotate(hours=48)
    old = rotating.version(1)
    with rotating.world.inside(rotating.cast):
        job = Job.objects.get(kind="key.finish_drain", subject_id=old.id)
        Job.objects.filter(id=job.id).update(run_after=timezone.now())
    assert run_job(str(rotating.cast.id), str(job.id)) == "retry"
    assert rotating.version(1).state == VersionState.SUPERSEDED
    with rotating.world.inside(rotating.cast):
        job.refresh_from_db()
    assert job.run_after > timezone.now() + timedelta(hours=47)
