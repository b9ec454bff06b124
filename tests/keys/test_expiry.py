"""Grants, credentials and keys whose time is over: refused at once, written once, and followed by others."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from byok_portal.boundary.models import Job
from byok_portal.errors import Conflict
from keys import tasks
from keys.decision import Code
from keys.models import Grant, Key, KeyVersion
from keys.states import GrantState, VersionState
from tests.keys.ageing import Ageing

if TYPE_CHECKING:
    from tests.world import World


@pytest.fixture
def ageing(world: World) -> Ageing:
    return Ageing(world)


def test_a_grant_whose_time_is_over_is_marked_once_and_makes_room(ageing: Ageing) -> None:
    end = timezone.now() - timedelta(minutes=1)
    with ageing.world.inside(ageing.cast):
        Grant.objects.update(starts_at=end - timedelta(days=1), expires_at=end)
    assert ageing.use().code == Code.GRANT_EXPIRED
    tasks.keep_time()
    tasks.keep_time()
    with ageing.world.inside(ageing.cast):
        grant = Grant.objects.get()
    assert (grant.state, grant.ended_at) == (GrantState.EXPIRED, end)
    assert ageing.use().code == Code.GRANT_EXPIRED
    assert ageing.actions("grant.expired") == ["grant.expired"]
    ageing.world.grant(ageing.cast, ageing.key, ageing.credential)
    assert ageing.use().allowed


def test_a_grant_that_has_lapsed_is_followed_by_another_with_no_job_having_run(ageing: Ageing) -> None:
    end = timezone.now() - timedelta(minutes=1)
    with ageing.world.inside(ageing.cast):
        Grant.objects.update(starts_at=end - timedelta(days=1), expires_at=end)
    ageing.world.grant(ageing.cast, ageing.key, ageing.credential)
    assert ageing.use().allowed
    assert ageing.actions("grant.expired", "grant.created") == ["grant.created", "grant.expired", "grant.created"]


def test_a_version_whose_time_is_over_is_marked_once_ended_upstream_and_can_be_followed(ageing: Ageing) -> None:
    with ageing.world.inside(ageing.cast):
        KeyVersion.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    assert ageing.use().code == Code.KEY_EXPIRED
    tasks.keep_time()
    tasks.keep_time()
    assert ageing.version(1).state == VersionState.EXPIRED
    assert ageing.use().code == Code.KEY_EXPIRED
    assert ageing.actions("key.expired") == ["key.expired"]
    with ageing.world.inside(ageing.cast):
        assert Job.objects.filter(kind="key.revoke_upstream", subject_id=ageing.version(1).id).count() == 1
    ageing.rotate(hours=24)
    assert ageing.use().version == 2
    assert ageing.version(1).state == VersionState.EXPIRED


def test_the_end_date_of_a_key_ends_its_version_and_no_other_follows(ageing: Ageing) -> None:
    with ageing.world.inside(ageing.cast):
        Key.objects.update(ends_on=timezone.now().date() - timedelta(days=1))
    tasks.keep_time()
    assert ageing.version(1).state == VersionState.EXPIRED
    assert ageing.use().code == Code.KEY_EXPIRED
    with pytest.raises(Conflict) as conflict:
        ageing.rotate()
    assert conflict.value.code == "key_expired"
