"""A tenant in the middle of real life: keys in every state, uses allowed and denied, people, an ended tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone

from audit.models import Entry
from audit.services import erasure
from byok_portal.boundary import actors, binding
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.secrets import Secret
from keys import recertification
from keys.models import Key
from keys.services import campaigns, confirming, draining, drills, exposing, incidents, lifecycle, offboarding, rotation
from keys.services.projects import assign_key
from tenants.models import Membership
from tenants.selectors import get_tenant
from tenants.services import consumers, members, projects
from tests.browser.calling import call
from tests.portal import wait_until

if TYPE_CHECKING:
    from tenants.models import User
    from tests.portal import Portal
    from tests.world import Cast, Credential, World

WRITER_POLICY = """
path "secret/data/reports/*" { capabilities = ["create", "read", "update"] }
"""
LONG = "Quarterly revenue reconciliation for the Europe, Middle East and Africa region"


@dataclass(frozen=True, slots=True)
class Scenery:
    """Who and what the pages are about."""

    cast: Cast
    beginner: Cast
    staff: User
    places: dict[str, str]
    """Addresses without their last slash, by what is there; a key by its state."""


def build(world: World, portal: Portal) -> Scenery:
    """Make it all through operations and the API, and wait until the record is numbered."""
    cast = world.tenant("acme-robotics")
    name_people(cast)
    credential = world.consumer(cast)
    slugs = make_keys(world, cast, credential)
    event_id = use_keys(portal, cast, credential, slugs)
    rehearse(world, portal, cast, credential, slugs["rotating"])
    incident_id = expose(world, portal, cast, credential)
    erased = use_keys(portal, cast, credential, slugs)
    with world.bound(cast):
        erasure_id = erasure.erase(
            actor=cast.actor, kind="event", subject_id=UUID(erased), reason="requested_by_person", note="Ticket 4711"
        ).audit_id
    with world.bound(cast):
        names = ("warehouse-forecasting-agent-for-seasonal-demand-of-the-northern-region", "Invoice matching")
        for name, kind in zip(names, ("agent", "vendor"), strict=True):
            consumers.register(actor=cast.actor, name=name, kind=kind, environment="production")
        invited = members.invite(actor=cast.actor, email=f"new-{cast.slug}@partner.example", role="custodian")
    ended, beginner = world.tenant("globex"), world.tenant("initech")
    join(world, cast.owner, ended)
    world.key(ended)
    staff = world.staff_actor()
    with world.bound(ended):
        offboarding.start(actor=staff, reason="contract_ended", confirmation=ended.slug)
    wait_until(lambda: state_of(world, ended) == "offboarded", seconds=40)
    home = f"/t/{cast.slug}"
    places = {name: f"{home}/keys/{slug}" for name, slug in slugs.items()}
    places |= {"acme": home, "initech": f"/t/{beginner.slug}", "globex": f"/t/{ended.slug}", "acme_id": str(cast.id)}
    places |= rehearse_ends(world, cast)
    places["incident"] = f"{home}/incidents/{incident_id}"
    places["project"] = f"{home}/projects/{make_project(world, cast, slugs['active'])}"
    places["consumer"] = f"{home}/consumers/{credential.consumer.slug}"
    places["entry"], places["event_id"], places["backup_id"] = f"{home}/audit/{event_id}", event_id, str(cast.backup.pk)
    places["erased"], places["erasure"] = f"{home}/audit/{erased}", f"{home}/audit/{erasure_id}"
    places["entry_idx"] = wait_numbered(world, cast, erasure_id)
    places["invitation_id"] = str(invited.invitation.id)
    with world.inside(cast):
        places["member_id"] = str(Membership.objects.get(user_id=cast.backup.pk).id)
    places["invitation"] = f"/invitations/{invited.plaintext.reveal_text()}"
    return Scenery(
        cast=cast,
        beginner=beginner,
        staff=world.staff(),
        places=places,
    )


def rehearse_ends(world: World, cast: Cast) -> dict[str, str]:
    """A campaign in which something was answered, and a drill that a real worker runs over HTTP."""
    due_on = timezone.now().date() + timedelta(days=9)
    canary = world.key(cast, name="Canary", token=world.bao_robot())
    with world.bound(cast):
        campaign = campaigns.start(actor=cast.actor, name="Yearly review", due_on=due_on, consequence="suspend")
        drills.set_canary(actor=cast.actor, key_id=canary.id, is_canary=True)
        drills.schedule(actor=cast.actor, kind="revocation", every="quarterly", first_on=due_on)
        drill = drills.start(actor=cast.actor, kind="rotation", key_id=canary.id, target_ms=60_000)
    with world.inside(cast):
        digest = recertification.digest_of(recertification.facts_of(canary))
    with world.bound(cast):
        confirming.answer(actor=cast.actor, key_id=canary.id, answer="confirmed", seen=digest)
        later = campaigns.start(actor=cast.actor, name="Second look", due_on=due_on)
    wait_until(lambda: drill_of(world, cast, drill.id) == "passed", seconds=40)
    home = f"/t/{cast.slug}"
    return {
        "campaign": f"{home}/campaigns/{campaign.id}",
        "second": f"{home}/campaigns/{later.id}",
        "drill": f"{home}/drills/{drill.id}",
    }


def drill_of(world: World, cast: Cast, drill_id: UUID) -> str:
    """The state of a drill now."""
    with world.inside(cast):
        return str(drills.get(drill_id).state)


def make_project(world: World, cast: Cast, key_slug: str) -> str:
    """A project that holds one key in use."""
    with world.inside(cast):
        key_id = Key.objects.get(slug=key_slug).id
    with world.bound(cast):
        made = projects.create(actor=cast.actor, name="Winter trial of the forecast", purpose="Whether it pays off")
        assign_key(actor=cast.actor, key_id=key_id, project=made.slug)
    return str(made.slug)


def wait_numbered(world: World, cast: Cast, event_id: UUID) -> str:
    """The position in the log of an event, as soon as it has one."""

    def found() -> list[int]:
        with world.inside(cast):
            return list(Entry.objects.filter(event_id=event_id).values_list("idx", flat=True))

    wait_until(found, seconds=20)
    return str(found()[0])


def make_keys(world: World, cast: Cast, credential: Credential) -> dict[str, str]:
    """A key in each state, by what it is here for."""
    user = world.name("reader")
    first, second = world.bao_token(user), world.bao_token(user)
    world.bao.write_policy("report-writer", WRITER_POLICY)
    writer = world.bao_robot(policies=("report-writer", "report-robot"))
    soon = timezone.now().date() + timedelta(days=6)
    made = {
        "revoked": world.key(cast, name="Old importer"),
        "suspended": world.key(cast, name="Ledger sync", scopes=("secrets:read", "secrets:list"), ends_on=soon),
        "rotating": world.key(cast, name="Billing export", token=first),
        "long": world.key(cast, name=LONG, token=writer, scopes=("secrets:read", "secrets:write")),
        "pending": world.key(cast, name="Warehouse feed", activate=False, environment="staging"),
        "active": world.key(cast, name="Nightly reports"),
    }
    for name in ("active", "rotating", "suspended", "long"):
        world.grant(cast, made[name], credential, networks=("127.0.0.1/32",))
    with world.bound(cast):
        lifecycle.suspend(actor=cast.actor, key_id=made["suspended"].id, note="Looking into a denied burst")
        lifecycle.revoke(actor=cast.actor, key_id=made["revoked"].id, reason="superseded", note="")
        rotation.rotate(
            actor=cast.actor,
            key_id=made["rotating"].id,
            plaintext=Secret(second.token),
            drain_hours=24,
            accept_excess=True,
            note="Yearly rotation",
        )
    return {name: key.slug for name, key in made.items()}


def use_keys(portal: Portal, cast: Cast, credential: Credential, slugs: dict[str, str]) -> str:
    """Uses, allowed and denied. Returns the audit id of the last one."""
    for name in ("active", "active", "active", "rotating", "suspended"):
        call(portal, cast, slugs[name], credential, scope="secrets:read")
    denied = call(portal, cast, slugs["active"], credential, scope="secrets:write")
    return denied.audit_id


def rehearse(world: World, portal: Portal, cast: Cast, credential: Credential, slug: str) -> None:
    """A consumer that still uses the old version of a rotation, and a brownout that has named it."""
    call(portal, cast, slug, credential, scope="secrets:read", version=1)
    with world.inside(cast):
        key_id = Key.objects.get(slug=slug).id
    with world.bound(cast):
        draining.brownout(actor=cast.actor, key_id=key_id, number=1, minutes=60)
    call(portal, cast, slug, credential, scope="secrets:read", version=1)


def expose(world: World, portal: Portal, cast: Cast, credential: Credential) -> UUID:
    """A key that was used, and then found in public."""
    key = world.key(cast, name="Data lake import")
    world.grant(cast, key, credential, networks=("127.0.0.1/32",))
    for scope in ("secrets:read", "secrets:write"):
        call(portal, cast, key.slug, credential, scope=scope)
    with world.bound(cast):
        found = exposing.compromise(
            actor=cast.actor,
            key_id=key.id,
            reason="leak_report",
            note="Found in a public repository",
            suspected_since=key.created_at,
        )
        incidents.add_note(actor=cast.actor, incident_id=found.id, note="The repository is private again")
    return found.id


def name_people(cast: Cast) -> None:
    """People have names in real life; one has none."""
    for user, name in ((cast.owner, "Tenant owner"), (cast.backup, "Backup owner")):
        user.name = name
        user.save(update_fields=["name"])


def join(world: World, user: User, cast: Cast) -> None:
    """Make a person a member of a second tenant."""
    with world.bound(cast):
        issued = members.invite(actor=cast.actor, email=user.email, role="auditor")
        actor = actors.invitee(user.pk, tenant_id=cast.id, label=user.email, origin=Origin())
        members.accept(actor=actor, plaintext=issued.plaintext, password=Secret(""), name="")


def state_of(world: World, cast: Cast) -> Any:
    """The tenant's state now."""
    with binding.bind_tenant(cast.id), binding.reading():
        return get_tenant().state
