"""Staff start the end of a tenant in two steps and watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byok_portal.boundary import jobs
from byok_portal.boundary.models import Job
from keys.models import Key
from tenants.models import Offboarding, OffboardingStep, Tenant
from tenants.services import projects
from tests.staff.door import address, enter, errors_of

if TYPE_CHECKING:
    from django.test import Client

    from tests.world import World

URL = "tenants_offboarding_add"


def review(client: Client, values: dict[str, str]) -> str:
    """The digest of the plan that the review shows."""
    return str(client.post(address(URL), values).context["form"].initial["digest"])


def test_the_review_counts_what_ends_and_changes_nothing(world: World) -> None:
    client, cast = enter(world), world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    chosen = client.get(f"{address(URL)}?tenant={cast.id}")
    assert f'<option value="{cast.id}" selected>' in chosen.content.decode()
    response = client.post(address(URL), {"tenant": str(cast.id), "reason": "contract_ended", "note": "Ticket 7"})
    facts = dict(response.context["facts"])
    assert (facts["Keys to revoke"], facts["Credentials to revoke at providers"], facts["Grants to end"]) == (
        1,
        1,
        1,
    )
    assert facts["Consumers to end"] == "1, with 1 live tokens"
    assert "point of no return" in response.content.decode()
    with world.inside(cast):
        assert Tenant.objects.get(id=cast.id).state == "active"
        assert not Offboarding.objects.exists()


def test_only_the_typed_slug_starts_it(world: World) -> None:
    client, cast = enter(world), world.tenant()
    values = {"tenant": str(cast.id), "reason": "contract_ended", "note": "Ticket 7"}
    values["digest"] = review(client, values)
    for typed in ("", "yes", cast.slug.upper()):
        response = client.post(address(URL), {**values, "confirmation": typed})
        assert errors_of(response) == {"confirmation": ["Confirmation must repeat the tenant's slug."]}
    with world.inside(cast):
        assert Tenant.objects.get(id=cast.id).state == "active"
    with world.bound(cast):
        projects.create(actor=cast.actor, name="Not material", purpose="It holds nothing")
    world.consumer(cast)
    stale = client.post(address(URL), {**values, "confirmation": cast.slug})
    assert "changed since the plan was shown" in str(errors_of(stale))
    values["digest"] = review(client, values)
    started = client.post(address(URL), {**values, "confirmation": cast.slug})
    with world.inside(cast):
        run = Offboarding.objects.get()
        assert Tenant.objects.get(id=cast.id).state == "offboarding"
    assert started["Location"] == address("tenants_offboarding_change", run.id)
    assert started["Audit-Id"]
    assert (run.reason, run.note) == ("contract_ended", "Ticket 7")
    again = client.post(address(URL), {**values, "confirmation": cast.slug})
    assert list(errors_of(again)) == ["tenant"]


def test_the_progress_page_refreshes_while_it_runs_and_names_every_step(world: World) -> None:
    client, cast = enter(world), world.tenant()
    key = world.key(cast)
    values = {"tenant": str(cast.id), "reason": "contract_ended", "note": ""}
    values["digest"] = review(client, values)
    page = client.post(address(URL), {**values, "confirmation": cast.slug})["Location"]
    running = client.get(page).content.decode()
    assert 'data-refresh="3"' in running
    assert f"Revoke {key.name} here" in running
    with world.inside(cast):
        job = Job.objects.get(tenant_id=cast.id, kind="tenant.offboard")
    assert jobs.run(str(cast.id), str(job.id)) == "done"
    over = client.get(page)
    html = over.content.decode()
    assert "data-refresh" not in html
    assert over.context["progress"].percent == 100
    with world.inside(cast):
        assert Tenant.objects.get(id=cast.id).state == "offboarded"
        assert Key.objects.get(id=key.id).state == "revoked"
        notes = list(OffboardingStep.objects.values_list("note", flat=True))
    from django.utils.html import escape  # noqa: PLC0415  # beside its use

    assert [note for note in notes if escape(note) not in html] == []
    tenant = client.get(address("tenants_tenant_change", cast.id)).content.decode()
    assert "Start offboarding" not in tenant
