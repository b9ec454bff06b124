"""The jobs page: what workers did and gave up, and trying it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from byok_portal.boundary import jobs
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.models import Job, JobState
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from tests.world import Cast, World


def give_up(world: World, cast: Cast) -> Job:
    with world.inside(cast):
        row = jobs.enqueue("key.revoke_upstream", subject_id=new_id())
        Job.objects.filter(id=row.id).update(
            state=JobState.DEAD, attempts=12, last_error="upstream_not_confirmed", finished_at=timezone.now()
        )
    return row


def test_an_owner_sees_what_was_given_up_and_tries_it_again(world: World) -> None:
    cast = world.tenant()
    row, browser = give_up(world, cast), sign_in(cast.owner)
    shown = text_of(browser.get(at("tenants:jobs", cast), {"state": "dead"}))
    assert "Revoke a credential at its provider" in shown
    assert "upstream_not_confirmed" in shown
    assert "12 / 12" in shown
    asked = text_of(browser.get(at("tenants:job-retry", cast, row.id)))
    assert "Given up after 12 attempts" in asked
    done = text_of(browser.post(at("tenants:job-retry", cast, row.id), follow=True))
    assert "Queued again" in done
    with world.inside(cast):
        found = Job.objects.get(id=row.id)
    assert (found.state, found.max_attempts) == (JobState.QUEUED, 24)
    refused = browser.post(at("tenants:job-retry", cast, row.id))
    assert (refused.status_code, "only a dead letter" in text_of(refused)) == (409, True)


def test_an_auditor_sees_jobs_and_retries_none(world: World) -> None:
    cast = world.tenant()
    row, browser = give_up(world, cast), sign_in(cast.auditor)
    shown = browser.get(at("tenants:jobs", cast))
    assert "Try again" not in text_of(shown)
    assert browser.post(at("tenants:job-retry", cast, row.id)).status_code == 403


def test_another_tenants_job_is_not_found(world: World) -> None:
    cast, other = world.tenant(), world.tenant("globex")
    row = give_up(world, other)
    browser = sign_in(cast.owner)
    assert browser.get(at("tenants:job-retry", cast, row.id)).status_code == 404
    assert "Revoke upstream" not in text_of(browser.get(at("tenants:jobs", cast)))


def test_no_jobs_is_said_so(world: World) -> None:
    cast = world.tenant()
    assert "No jobs here" in text_of(sign_in(cast.owner).get(at("tenants:jobs", cast), {"state": "running"}))
