"""Staff read the record and the jobs of every tenant, and retry dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from audit import words
from audit.models import Entry
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.models import Job
from tests.staff.door import address, enter

if TYPE_CHECKING:
    from tests.world import Cast, World


def dead_job(world: World, cast: Cast) -> Job:
    with world.inside(cast):
        return Job.objects.create(
            tenant_id=cast.id,
            kind="version.revoke_upstream",
            subject_id=new_id(),
            state="dead",
            attempts=12,
            run_after=timezone.now(),
            last_error="upstream_unavailable",
        )


def test_entries_are_filtered_by_tenant_action_and_outcome_without_a_count(world: World) -> None:
    client, cast = enter(world), world.tenant()
    world.tenant("globex")
    world.sequence()
    url = address("audit_entry_changelist")
    with CaptureQueriesContext(connections["staff"]) as queries:
        response = client.get(url, {"tenant": cast.slug})
    rows = response.context["cl"].result_list
    assert {row.tenant_id for row in rows} == {cast.id}
    assert [row.tseq for row in rows] == sorted((row.tseq for row in rows), reverse=True)
    assert [
        query["sql"] for query in queries if "COUNT(" in query["sql"].upper() and "audit_entry" in query["sql"]
    ] == []
    one = client.get(url, {"tenant": str(cast.id), "action_name": "tenant.opened", "outcome": "allowed"})
    assert [row.action for row in one.context["cl"].result_list] == ["tenant.opened"]
    assert [row.tenant_id for row in one.context["cl"].result_list] == [cast.id]
    assert client.get(url, {"tenant": cast.slug, "outcome": "failed"}).context["cl"].result_list == []
    some = client.get(url, {"tenant": str(cast.id), "action_name": "member."})
    assert {row.action for row in some.context["cl"].result_list} == {"member.invited", "member.joined"}
    assert client.get(url, {"tenant": cast.slug, "actor_kind": "worker"}).context["cl"].result_list == []
    assert client.get(url, {"tenant": "no-such"}).context["cl"].result_list == []
    assert client.get(url, {"tenant": "nul\0"}).status_code == 200


def test_an_entry_is_found_by_its_audit_id_and_shows_its_leaf_as_hashed(world: World) -> None:
    client, cast = enter(world), world.tenant()
    world.sequence()
    entry = Entry.objects.using("staff").filter(tenant_id=cast.id).order_by("tseq")[0]
    found = client.get(address("audit_entry_changelist"), {"q": str(entry.event_id)})
    assert [row.pk for row in found.context["cl"].result_list] == [entry.pk]
    page = client.get(address("audit_entry_change", entry.pk)).content.decode()
    assert escape(entry.leaf) in page
    assert cast.owner.email not in page
    assert client.post(address("audit_entry_change", entry.pk), {"action": "x"}).status_code == 403


def test_later_pages_of_the_record_are_reached(world: World) -> None:
    client, cast = enter(world), world.tenant()
    world.key(cast)
    for _ in range(5):
        world.consumer(cast)
    world.sequence()
    from django.contrib import admin  # noqa: PLC0415  # the app registry must be ready

    door = type(admin.site._registry[Entry])
    usual, door.list_per_page = door.list_per_page, 4
    try:
        pages = [client.get(address("audit_entry_changelist"), {"tenant": cast.slug, "p": p}) for p in (1, 2, 3)]
        everything = client.get(address("audit_entry_changelist"), {"tenant": cast.slug, "all": ""})
    finally:
        door.list_per_page = usual
    numbers = [row.tseq for page in pages for row in page.context["cl"].result_list]
    assert numbers == list(range(numbers[0], numbers[0] - 12, -1))
    assert len(everything.context["cl"].result_list) == 4


def test_a_dead_letter_gets_fresh_attempts_and_an_entry(world: World) -> None:
    client, cast = enter(world), world.tenant()
    job = dead_job(world, cast)
    url, chosen = (
        address("boundary_job_changelist"),
        {"action": "retry", "_selected_action": str(job.id), "index": "0"},
    )
    listed = client.get(url, {"tenant": cast.slug}).content.decode()
    assert "upstream_unavailable" in listed
    assert cast.slug in listed
    response = client.post(url, chosen)
    with world.inside(cast):
        stored = Job.objects.get(id=job.id)
    assert (stored.state, stored.max_attempts) == ("queued", 24)
    world.sequence()
    entry = Entry.objects.using("staff").get(tenant_id=cast.id, leaf__contains=words.target_is(job.id))
    assert (entry.action, str(entry.event_id)) == ("job.retried", response["Audit-Id"])
    again = client.post(url, chosen, follow=True).content.decode()
    assert "only a dead letter is retried" in again


def test_a_dead_letter_with_a_successor_is_left_alone(world: World) -> None:
    client, cast = enter(world), world.tenant()
    job = dead_job(world, cast)
    with world.inside(cast):
        Job.objects.create(
            tenant_id=cast.id,
            kind=job.kind,
            subject_id=job.subject_id,
            state="queued",
            run_after=timezone.now(),
        )
    chosen = {"action": "retry", "_selected_action": str(job.id), "index": "0"}
    answer = client.post(address("boundary_job_changelist"), chosen, follow=True).content.decode()
    assert "A newer job does this work already." in answer
    with world.inside(cast):
        assert Job.objects.get(id=job.id).state == "dead"
