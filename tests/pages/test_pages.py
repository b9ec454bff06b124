from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit import words
from audit.models import Entry
from audit.services.recording import Target
from byok_portal.boundary import jobs, operations
from byok_portal.boundary.identifiers import new_id
from tests.pages.browser import BACKEND, at, sign_in, text_of
from tests.ui.markup import Markup
from tests.world import PASSWORD

if TYPE_CHECKING:
    from tenants.models import User
    from tests.world import Cast, World

OWNER, CUSTODIAN, APPROVER, AUDITOR = "owner", "custodian", "approver", "auditor"
EVERYONE = {OWNER, CUSTODIAN, APPROVER, AUDITOR}
PAGES: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "keys:home": (EVERYONE, ()),
    "keys:list": (EVERYONE, ()),
    "keys:detail": (EVERYONE, ("key",)),
    "keys:register": ({OWNER, CUSTODIAN}, ()),
    "keys:prove": ({OWNER, CUSTODIAN}, ("key",)),
    "keys:activate": ({OWNER, APPROVER}, ("key",)),
    "keys:suspend": ({OWNER, CUSTODIAN, APPROVER}, ("key",)),
    "keys:resume": ({OWNER}, ("key",)),
    "keys:revoke": ({OWNER}, ("key",)),
    "keys:compromise": ({OWNER}, ("key",)),
    "keys:quarantine": ({OWNER, CUSTODIAN, APPROVER}, ("key",)),
    "keys:incidents": (EVERYONE, ()),
    "keys:incident": (EVERYONE, ("incident",)),
    "keys:incident-report": ({OWNER, APPROVER, AUDITOR}, ("incident",)),
    "keys:incident-issue": ({OWNER, CUSTODIAN, APPROVER}, ("incident",)),
    "keys:incident-task": ({OWNER, CUSTODIAN, APPROVER}, ("incident", "task")),
    "keys:incident-note": ({OWNER, CUSTODIAN, APPROVER}, ("incident",)),
    "keys:incident-move": ({OWNER, CUSTODIAN, APPROVER}, ("incident",)),
    "keys:incident-since": ({OWNER, CUSTODIAN, APPROVER}, ("incident",)),
    "keys:incident-confirm": ({OWNER}, ("incident",)),
    "keys:incident-dismiss": ({OWNER}, ("incident",)),
    "keys:withdraw": ({OWNER, CUSTODIAN}, ("key",)),
    "keys:rotate": ({OWNER, CUSTODIAN}, ("key",)),
    "keys:rotate-assisted": ({OWNER, CUSTODIAN}, ("key",)),
    "keys:finish-rotation": ({OWNER, CUSTODIAN}, ("key", "version")),
    "keys:roll-back": ({OWNER, CUSTODIAN}, ("key", "version")),
    "keys:brownout": ({OWNER, CUSTODIAN}, ("key", "version")),
    "keys:end-brownout": ({OWNER, CUSTODIAN}, ("key", "version")),
    "keys:policy": (EVERYONE, ()),
    "keys:policy-set": ({OWNER}, ()),
    "keys:key-policy": (EVERYONE, ("key",)),
    "keys:key-policy-set": ({OWNER}, ("key",)),
    "keys:grant": ({OWNER, APPROVER}, ("key",)),
    "keys:grant-end": ({OWNER, APPROVER}, ("key", "grant")),
    "keys:consumer-end": ({OWNER}, ("consumer",)),
    "keys:findings": (EVERYONE, ()),
    "keys:finding-accept": ({OWNER}, ("key", "kind")),
    "keys:right-size": ({OWNER, APPROVER}, ("key",)),
    "keys:hand-over": ({OWNER}, ("key",)),
    "keys:campaigns": (EVERYONE, ()),
    "keys:campaign": (EVERYONE, ("campaign",)),
    "keys:campaign-start": ({OWNER}, ()),
    "keys:campaign-close": ({OWNER}, ("campaign",)),
    "keys:campaign-cancel": ({OWNER}, ("campaign",)),
    "keys:my-keys": ({OWNER, CUSTODIAN, APPROVER}, ()),
    "keys:recertify": ({OWNER, CUSTODIAN, APPROVER}, ("key",)),
    "keys:drills": (EVERYONE, ()),
    "keys:drill": (EVERYONE, ("drill",)),
    "keys:drill-start": ({OWNER}, ()),
    "keys:drill-schedule": ({OWNER}, ()),
    "keys:canary": ({OWNER}, ("key",)),
    "keys:member-role": ({OWNER}, ("member",)),
    "keys:member-remove": ({OWNER}, ("member",)),
    "keys:projects": (EVERYONE, ()),
    "keys:project": (EVERYONE, ("project",)),
    "keys:project-create": ({OWNER}, ()),
    "keys:project-change": ({OWNER}, ("project",)),
    "keys:project-offboard": ({OWNER}, ("project",)),
    "keys:key-project": ({OWNER}, ("key",)),
    "keys:consumer-project": ({OWNER}, ("consumer",)),
    "keys:tenant-plan": (EVERYONE, ()),
    "keys:run": (EVERYONE, ("run",)),
    "keys:residual-settle": ({OWNER}, ("run", "step")),
    "tenants:automatic-end": ({OWNER}, ()),
    "tenants:invitation-withdraw": ({OWNER}, ("invitation",)),
    "tenants:consumers": (EVERYONE, ()),
    "tenants:consumer": (EVERYONE, ("consumer",)),
    "tenants:consumer-register": ({OWNER}, ()),
    "tenants:token-issue": ({OWNER}, ("consumer",)),
    "tenants:token-revoke": ({OWNER}, ("consumer", "token")),
    "tenants:jobs": (EVERYONE, ()),
    "tenants:job-retry": ({OWNER}, ("job",)),
    "tenants:members": (EVERYONE, ()),
    "tenants:inbox": (EVERYONE, ()),
    "tenants:preferences": (EVERYONE, ()),
    "tenants:invite": ({OWNER}, ()),
    "audit:list": ({OWNER, APPROVER, AUDITOR}, ()),
    "audit:detail": ({OWNER, APPROVER, AUDITOR}, ("event",)),
    "audit:export": ({OWNER, APPROVER, AUDITOR}, ()),
    "audit:erase": ({OWNER}, ()),
    "audit:documents": ({OWNER, APPROVER, AUDITOR}, ()),
    "audit:document": ({OWNER, APPROVER, AUDITOR}, ("document",)),
}
MISSING = {
    "project": "no-such-project",
    "run": UUID(int=1),
    "step": 99,
    "key": "no-such-key",
    "version": 99,
    "grant": UUID(int=1),
    "consumer": "no-such-consumer",
    "token": UUID(int=1),
    "event": UUID(int=1),
    "document": UUID(int=1),
    "job": UUID(int=1),
    "incident": UUID(int=1),
    "campaign": UUID(int=1),
    "drill": UUID(int=1),
    "task": UUID(int=1),
    "kind": "no_backup_owner",
    "member": UUID(int=1),
    "invitation": UUID(int=1),
}


@dataclass(frozen=True)
class Stage:
    """A tenant in which every page has something to show, and a browser of each role."""

    cast: Cast
    browsers: dict[str, Client]
    arguments: dict[str, object]
    stranger: Client

    def address(self, name: str) -> str:
        return at(name, self.cast, *(self.arguments[part] for part in PAGES[name][1]))


@pytest.fixture(scope="module")
def stage(world_setup: World, django_db_blocker: Any) -> Stage:
    from audit.services import documents  # noqa: PLC0415  # settings must be ready
    from keys.services import campaigns, drills, exposing, leaving  # noqa: PLC0415  # settings must be ready
    from tenants.models import Membership  # noqa: PLC0415
    from tenants.selectors import list_runs  # noqa: PLC0415
    from tenants.services import consumers, members, projects  # noqa: PLC0415

    world = world_setup
    with django_db_blocker.unblock():
        cast = world.tenant()
        user = world.name("user")
        key = world.key(cast, token=world.bao_token(user))
        suspected = world.key(cast)
        credential = world.consumer(cast)
        grant = world.grant(cast, key, credential)
        world.sequence()
        with world.inside(cast):
            event = Entry.objects.filter(tenant_id=cast.id).order_by("-tseq").values_list("event_id", flat=True)[0]
        people = {OWNER: cast.owner, AUDITOR: cast.auditor}
        people |= {role: join(world, cast, role) for role in (CUSTODIAN, APPROVER)}
        with world.bound(cast):
            email = f"new@{cast.slug}.example"
            invitation = members.invite(actor=cast.actor, email=email, role=AUDITOR).invitation.id
            incident = exposing.quarantine(actor=cast.actor, key_id=suspected.id)
            due_on = timezone.now().date() + timedelta(days=9)
            campaign = campaigns.start(actor=cast.actor, name="Review", due_on=due_on)
            canary = drills.set_canary(actor=cast.actor, key_id=world.key(cast).id, is_canary=True)
            drill = drills.start(actor=cast.actor, kind="revocation", key_id=canary.id)
            with transaction.atomic():
                about = Target("tenant", cast.id)
                content: dict[str, Any] = {"kind": "report", "statement": {}, "events": [], "title": "Report"}
                document = documents.issue(actor=cast.actor, subject=about, **content).id
            project = projects.create(actor=cast.actor, name="Winter trial", purpose="A trial")
            leaver = consumers.register(actor=cast.actor, name="Leaver", kind="service", environment="staging")
            leaving.end_consumer(actor=cast.actor, consumer_id=leaver.id, reason="dormant")
        with world.inside(cast):
            run = list_runs()[0].id
            job = jobs.enqueue("key.revoke_upstream", subject_id=new_id()).id
            task = incident.tasks.order_by("position")[0].id
            member = Membership.objects.get(user_id=people[APPROVER].pk).id
        arguments: dict[str, object] = {
            "key": key.slug,
            "version": 1,
            "grant": grant.id,
            "consumer": credential.consumer.slug,
            "token": credential.token_id,
            "event": event,
            "document": document,
            "job": job,
            "project": project.slug,
            "run": run,
            "step": 1,
            "incident": incident.id,
            "campaign": campaign.id,
            "drill": drill.id,
            "task": task,
            "kind": "no_backup_owner",
            "member": member,
            "invitation": invitation,
        }
        stranger = sign_in(world.tenant("globex").owner)
        return Stage(cast, {role: sign_in(person) for role, person in people.items()}, arguments, stranger)


def join(world: World, cast: Cast, role: str) -> User:
    from tenants.services import members  # noqa: PLC0415  # settings must be ready

    with world.bound(cast):
        issued = members.invite(actor=cast.actor, email=f"{role}@{cast.slug}.example", role=role)
        return world._accept(cast.tenant, issued)


@pytest.mark.parametrize("role", sorted(EVERYONE))
@pytest.mark.parametrize("name", PAGES)
def test_each_page_opens_for_the_roles_that_may_and_for_no_other(
    world: World, stage: Stage, name: str, role: str
) -> None:
    answer = stage.browsers[role].get(stage.address(name))
    assert answer.status_code == (200 if role in PAGES[name][0] else 403)


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_well_formed_and_keeps_the_strict_policy(world: World, stage: Stage, name: str) -> None:
    answer = stage.browsers[OWNER].get(stage.address(name))
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer["Cache-Control"] == "no-store"
    markup = Markup(answer.content.decode())
    assert markup.faults == []
    assert markup.inline == []
    assert markup.values("style") == []
    assert [attribute for _, attrs in markup.tags for attribute in attrs if attribute.startswith("on")] == []
    assert [form for form in markup.forms if form["method"] == "post" and not form["token"]] == []


@pytest.mark.parametrize("name", PAGES)
def test_another_tenant_a_missing_one_and_a_missing_id_get_the_same_bytes(
    world: World, stage: Stage, name: str
) -> None:
    stranger = stage.stranger
    owner = stage.browsers[OWNER]
    missing = reverse(name, args=["no-such-tenant", *(stage.arguments[part] for part in PAGES[name][1])])
    answers = [stranger.get(stage.address(name)), owner.get(missing), stranger.post(stage.address(name))]
    if PAGES[name][1]:
        gone = at(name, stage.cast, *(MISSING[part] for part in PAGES[name][1]))
        answers += [owner.get(gone), owner.get(f"{stage.address('keys:home')}nowhere/")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({frozenset(answer.cookies) for answer in answers}) == 1


@pytest.mark.parametrize(
    "name",
    [name for name, (roles, _) in PAGES.items() if AUDITOR not in roles],
)
def test_a_forged_post_of_an_auditor_changes_nothing_and_is_recorded(world: World, stage: Stage, name: str) -> None:
    answer = stage.browsers[AUDITOR].post(stage.address(name))
    assert answer.status_code == 403
    world.sequence()
    wanted = {row.name for row in operations.REGISTRY.values() if row.page == name}
    with world.inside(stage.cast):
        own = Entry.objects.filter(tenant_id=stage.cast.id, leaf__contains=words.actor_is(stage.cast.auditor.pk))
        newest = own.order_by("-tseq")[0]
    assert (newest.action in wanted, newest.outcome) == (True, "denied")


def test_every_operation_with_a_page_here_is_in_the_table() -> None:
    pages = {str(row.page) for row in operations.REGISTRY.values() if isinstance(row.page, str)}
    # A person without a place yet has another test, and so has a file.
    elsewhere = {"tenants:invitation", "audit:save-csv", "audit:document-bundle"}
    assert {page for page in pages if not page.startswith("admin:")} - set(PAGES) == elsewhere


@pytest.mark.parametrize("role", sorted(EVERYONE))
def test_a_key_page_offers_only_what_the_role_may_do(world: World, stage: Stage, role: str) -> None:
    browser = stage.browsers[role]
    links = Markup(browser.get(stage.address("keys:detail")).content.decode()).values("href")
    inside = [link for link in links if link.startswith(f"/t/{stage.cast.slug}/")]
    assert {link: browser.get(link).status_code for link in set(inside)} == dict.fromkeys(inside, 200)


def test_nobody_sees_a_page_without_signing_in(world: World, stage: Stage) -> None:
    for name in PAGES:
        answer = Client().get(stage.address(name))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/")


def test_a_form_without_its_csrf_token_is_refused(world: World, stage: Stage) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(stage.cast.owner, backend=BACKEND)
    assert browser.post(stage.address("keys:suspend")).status_code == 403


def test_the_start_sends_a_person_to_the_only_tenant(world: World, stage: Stage) -> None:
    assert Client().get("/")["Location"].startswith("/accounts/login/")
    answer = stage.browsers[AUDITOR].get("/")
    assert answer["Location"] == at("keys:list", stage.cast)


def test_the_start_offers_every_tenant_of_a_person_and_none_to_a_stranger(world: World) -> None:
    cast, other = world.tenant(), world.tenant("globex")
    from tenants.services import members  # noqa: PLC0415  # settings must be ready

    with world.bound(other):
        issued = members.invite(actor=other.actor, email=cast.owner.email, role="auditor")
        world._accept(other.tenant, issued)
    page = text_of(sign_in(cast.owner).get("/"))
    assert cast.tenant.name in page
    assert other.tenant.name in page
    nobody = sign_in(world.staff()).get("/")
    assert nobody.status_code == 200
    assert "not a member of any tenant" in text_of(nobody)
    assert "/staff/" in nobody.content.decode()


def test_signing_in_with_the_form_leads_to_the_keys(world: World, stage: Stage) -> None:
    browser = Client()
    data = {"login": stage.cast.owner.email, "password": PASSWORD}
    answer = browser.post("/accounts/login/", data, follow=True)
    assert answer.redirect_chain[-1][0] == at("keys:list", stage.cast)


@pytest.mark.parametrize(
    "query",
    [
        "?older=x",
        "?newer=\x00",
        "?older=3f2b8c1e-9a4d-4c2f-8f53-0d1c2b3a4e5f",
        "?newer=3f2b8c1e-9a4d-4c2f-8f53-0d1c2b3a4e5f",
        "?q=%00%27",
        "?tab=nope",
        "?provider=%F0%9F%98%80",
        "?provider=" + "a" * 5000,
        "?q=" + "%25" * 300,
    ],
)
def test_odd_queries_of_the_key_list_are_harmless(world: World, stage: Stage, query: str) -> None:
    assert stage.browsers[OWNER].get(stage.address("keys:list") + query).status_code == 200


def test_the_key_list_finds_by_name_ending_and_tab(world: World, stage: Stage) -> None:
    browser, address = stage.browsers[OWNER], stage.address("keys:list")
    rows = browser.get(address).context["rows"]
    for query in ({"q": rows[0]["key"]["name"]}, {"q": rows[0]["key"]["hint"]}):
        assert len(browser.get(address, query).context["rows"]) == 1
    assert len(browser.get(address, {"provider": "openbao"}).context["rows"]) == len(rows)
    for query in ({"q": "nothing like it"}, {"tab": "ended"}, {"provider": "openai"}):
        answer = browser.get(address, query)
        assert answer.context["rows"] == []
        assert "No key matches" in text_of(answer)
