"""Exposed keys: quarantine and compromise, what opens with them, what closes by itself, and what never comes back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.canonical import canonicalise
from audit.models import Entry
from audit.selectors import find_private
from byok_portal.boundary import binding
from byok_portal.boundary.jobs import run as run_job
from byok_portal.boundary.models import Job
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, Forbidden, InvalidInput, NotFound, Refused
from keys import blast, incident_report, incident_timeline, selectors
from keys.models import Exposure, Grant, Incident, IncidentTask, Key, KeyVersion
from keys.services import draining, exposing, incidents, lifecycle, registration, rotation, uses
from keys.states import Delivery, GrantState, IncidentState, KeyState, TaskKind, TaskState, VersionState
from tenants.models import Notice
from tests.keys.test_use import caller

if TYPE_CHECKING:
    from tests.world import Cast, Credential, World


class Exposed:
    """A key in use by one consumer, before anybody suspects anything."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cast: Cast = world.tenant()
        self.account = world.name("user")
        self.token = world.bao_token(self.account)
        self.key: Key = world.key(self.cast, token=self.token)
        self.credential: Credential = world.consumer(self.cast)
        world.grant(self.cast, self.key, self.credential, networks=("127.0.0.0/8",))

    def do(self, operation: Any, **values: Any) -> Any:
        with self.world.bound(self.cast):
            return operation(actor=values.pop("actor", self.cast.actor), **values)

    def quarantine(self, **values: Any) -> Incident:
        incident: Incident = self.do(exposing.quarantine, key_id=self.key.id, **values)
        return incident

    def compromise(self, **values: Any) -> Incident:
        incident: Incident = self.do(exposing.compromise, key_id=self.key.id, **values)
        return incident

    def rotate(self, hours: int = 0) -> KeyVersion:
        token = Secret(self.world.bao_token(self.account).token)
        more = {"accept_excess": True, "note": "Accepted for this test"}
        version: KeyVersion = self.do(rotation.rotate, key_id=self.key.id, plaintext=token, drain_hours=hours, **more)
        return version

    def use(self, delivery: Delivery = Delivery.LEASE, scope: str = "secrets:read") -> Any:
        with self.world.bound(self.cast):
            return uses.use(
                actor=caller(self.cast, self.credential),
                token_id=self.credential.token_id,
                key_reference=str(self.key.id),
                scope=scope,
                purpose="Nightly report",
                delivery=delivery,
            ).decision

    def tasks(self, incident: Incident) -> dict[str, str]:
        with self.world.inside(self.cast):
            rows = IncidentTask.objects.filter(incident_id=incident.id)
            return {f"{task.kind} {task.label}".strip(): task.state for task in rows}

    def task(self, incident: Incident, kind: TaskKind) -> IncidentTask:
        with self.world.inside(self.cast):
            return IncidentTask.objects.get(incident_id=incident.id, kind=kind)

    def fresh(self, incident: Incident) -> Incident:
        with self.world.inside(self.cast):
            return selectors.get_incident(incident.id)

    def key_state(self) -> str:
        with self.world.inside(self.cast):
            return Key.objects.get(id=self.key.id).state

    def version(self, number: int) -> KeyVersion:
        with self.world.inside(self.cast):
            return selectors.list_versions(self.key.id).get(number=number)

    def entries(self, action: str) -> list[Entry]:
        self.world.sequence()
        with self.world.inside(self.cast):
            own = Entry.objects.filter(tenant_id=self.cast.id).order_by("tseq")
            return [entry for entry in own if entry.action == action]

    def told(self, kind: str) -> set[Any]:
        with self.world.inside(self.cast):
            return set(Notice.objects.filter(kind=kind).values_list("recipient_id", flat=True))


@pytest.fixture
def exposed(world: World) -> Exposed:
    return Exposed(world)


def test_a_compromise_opens_its_incident_in_the_same_entry_with_tasks_from_the_facts(exposed: Exposed) -> None:
    since = timezone.now() - timedelta(hours=3)
    incident = exposed.compromise(note="Found in a public repository", suspected_since=since)
    assert (exposed.key_state(), exposed.version(1).exposure) == (KeyState.COMPROMISED, Exposure.CONFIRMED)
    assert not exposed.use().allowed
    assert (incident.exposure, incident.state, incident.versions) == ("confirmed", "new", [1])
    assert incident.suspected_since == since
    assert exposed.tasks(incident) == {
        "revoke_upstream 1": "open",
        "rotate": "open",
        f"replace {exposed.credential.consumer.name}": "open",
        "review_uses": "open",
        "tell": "open",
    }
    (entry,) = exposed.entries("key.compromised")
    assert entry.detail == {"reason": "key_compromise", "versions": [1], "incident": str(incident.id)}
    assert "public repository" not in entry.leaf
    with exposed.world.inside(exposed.cast):
        assert find_private([entry.event_id])[entry.event_id]["note"] == "Found in a public repository"
    with pytest.raises(Conflict, match="compromised already"):
        exposed.compromise()


def test_the_provider_confirms_and_the_task_closes_itself(exposed: Exposed) -> None:
    incident = exposed.compromise()
    with exposed.world.inside(exposed.cast):
        job = Job.objects.get(kind="key.revoke_upstream", subject_id=exposed.version(1).id)
    assert run_job(str(exposed.cast.id), str(job.id)) == "done"
    assert exposed.world.bao.find_accessor(exposed.token.accessor) is None, "the token is dead in OpenBao"
    assert exposed.version(1).upstream_status == "revoked_confirmed"
    task = exposed.task(incident, TaskKind.REVOKE_UPSTREAM)
    assert (task.state, task.settled_by_kind, task.settled_by_id) == ("done", "worker", job.id)
    (entry,) = exposed.entries("incident.task_settled")
    assert (entry.target_kind, entry.target_id, entry.actor_kind) == ("incident", incident.id, "worker")
    assert entry.detail["about"] == str(exposed.version(1).id)


def test_what_the_provider_has_confirmed_before_is_no_task(exposed: Exposed) -> None:
    exposed.do(lifecycle.revoke, key_id=exposed.key.id, reason="dormant")
    with exposed.world.inside(exposed.cast):
        job = Job.objects.get(kind="key.revoke_upstream", subject_id=exposed.version(1).id)
    assert run_job(str(exposed.cast.id), str(job.id)) == "done"
    incident = exposed.compromise(suspected_since=timezone.now() - timedelta(hours=1))
    assert TaskKind.REVOKE_UPSTREAM not in {name.split()[0] for name in exposed.tasks(incident)}
    assert exposed.version(1).state == VersionState.COMPROMISED


def test_a_compromised_version_never_comes_back(exposed: Exposed) -> None:
    exposed.rotate(hours=24)
    assert exposed.version(1).state == VersionState.SUPERSEDED
    exposed.compromise()
    assert {exposed.version(number).state for number in (1, 2)} == {VersionState.COMPROMISED}
    with pytest.raises(Conflict):
        exposed.do(lifecycle.resume, key_id=exposed.key.id)
    with pytest.raises(Conflict):
        exposed.do(draining.roll_back, key_id=exposed.key.id, number=1, note="Please")
    draft = exposed.world.draft(exposed.cast)
    with pytest.raises(InvalidInput) as refusal:
        exposed.do(registration.register, draft=draft, plaintext=Secret(exposed.token.token))
    assert refusal.value.code == "secret_reused"
    other = Exposed(exposed.world)
    again = {"key_id": exposed.key.id, "plaintext": Secret(exposed.token.token), "drain_hours": 0}
    with pytest.raises(Conflict):
        exposed.do(rotation.rotate, **again)
    with exposed.world.bound(exposed.cast), pytest.raises(IntegrityError), transaction.atomic():
        KeyVersion.objects.filter(key_id=exposed.key.id, number=1).update(state="active")
    with other.world.bound(other.cast), pytest.raises(NotFound):
        exposing.compromise(actor=other.cast.actor, key_id=exposed.key.id)


def test_a_quarantine_refuses_at_once_and_a_false_alarm_brings_everything_back(exposed: Exposed) -> None:
    assert exposed.use().allowed
    incident = exposed.quarantine(note="Odd calls at night")
    refused = exposed.use()
    assert (refused.allowed, refused.code) == (False, "key_suspended")
    assert (incident.exposure, incident.was_active, exposed.version(1).exposure) == ("suspected", True, "suspected")
    assert exposed.tasks(incident) == {"rotate": "open", "review_uses": "open", "tell": "open"}
    with pytest.raises(Conflict) as refusal:
        exposed.do(lifecycle.resume, key_id=exposed.key.id)
    assert refusal.value.code == "in_quarantine"
    with pytest.raises(Conflict, match="open already"):
        exposed.quarantine()
    with pytest.raises(InvalidInput):
        exposed.do(incidents.dismiss, incident_id=incident.id, note="")
    exposed.do(incidents.dismiss, incident_id=incident.id, note="It was our own scanner")
    assert (exposed.key_state(), exposed.version(1).exposure) == (KeyState.ACTIVE, Exposure.NONE)
    assert exposed.use().allowed
    fresh = exposed.fresh(incident)
    assert (fresh.state, fresh.is_false_alarm) == (IncidentState.CLOSED, True)
    assert set(exposed.tasks(incident).values()) == {"not_needed"}
    everybody = {exposed.cast.owner.pk, exposed.cast.backup.pk, exposed.credential.consumer.id}
    assert everybody <= exposed.told("key.quarantined") & exposed.told("key.released")
    assert [entry.detail["resumed"] for entry in exposed.entries("incident.dismissed")] == [True]


def test_a_key_that_was_suspended_before_stays_so_after_a_false_alarm(exposed: Exposed) -> None:
    exposed.do(lifecycle.suspend, key_id=exposed.key.id)
    incident = exposed.quarantine()
    exposed.do(incidents.dismiss, incident_id=incident.id, note="Nothing found")
    assert (exposed.key_state(), exposed.version(1).exposure) == (KeyState.SUSPENDED, Exposure.NONE)
    exposed.do(lifecycle.resume, key_id=exposed.key.id)
    assert exposed.use().allowed


def test_a_rotation_without_overlap_leads_out_of_a_quarantine_and_the_old_version_is_confirmed(
    exposed: Exposed,
) -> None:
    incident = exposed.quarantine()
    with pytest.raises(InvalidInput) as refusal:
        exposed.rotate(hours=1)
    assert (refusal.value.code, refusal.value.field) == ("exposed", "drain_hours")
    with pytest.raises(Conflict, match="still get this version"):
        exposed.do(incidents.confirm, incident_id=incident.id)
    exposed.rotate()
    assert (exposed.version(1).state, exposed.version(2).state) == (VersionState.REVOKED, VersionState.SUSPENDED)
    exposed.do(lifecycle.resume, key_id=exposed.key.id)
    assert exposed.use().version == 2
    exposed.do(incidents.confirm, incident_id=incident.id)
    old = exposed.version(1)
    assert (old.state, old.was_compromised, old.exposure) == (VersionState.COMPROMISED, True, Exposure.CONFIRMED)
    assert exposed.use().version == 2, "the key stays"
    assert exposed.tasks(incident)["revoke_upstream 1"] == "open"
    assert exposed.fresh(incident).exposure == Exposure.CONFIRMED
    with pytest.raises(Conflict, match="false alarm"):
        exposed.do(incidents.dismiss, incident_id=incident.id, note="Too late")


def test_a_quarantine_that_is_confirmed_stays_one_incident(exposed: Exposed) -> None:
    suspected = exposed.quarantine(suspected_since=timezone.now() - timedelta(days=2))
    confirmed = exposed.compromise()
    assert confirmed.id == suspected.id
    assert (confirmed.exposure, confirmed.suspected_since) == ("confirmed", suspected.suspected_since)
    assert exposed.tasks(confirmed)["revoke_upstream 1"] == "open"
    with exposed.world.inside(exposed.cast):
        assert Grant.objects.get(key_id=exposed.key.id).state == GrantState.REVOKED


def test_an_incident_ends_when_its_tasks_are_settled_or_for_a_reason(exposed: Exposed) -> None:
    incident = exposed.compromise()

    def move(state: str, **values: Any) -> Incident:
        moved_on: Incident = exposed.do(incidents.move, incident_id=incident.id, state=state, **values)
        return moved_on

    assert move("in_progress").state == IncidentState.IN_PROGRESS
    with pytest.raises(Refused) as refusal:
        move("resolved")
    assert (refusal.value.code, refusal.value.field) == ("tasks_open", "force")
    with pytest.raises(InvalidInput):
        move("resolved", force=True)
    assert move("resolved", force=True, note="The provider is gone").state == IncidentState.RESOLVED
    assert move("in_progress").closed_at is None
    with exposed.world.inside(exposed.cast):
        waiting = list(IncidentTask.objects.filter(incident_id=incident.id))
    for task in waiting:
        exposed.do(incidents.settle_task, incident_id=incident.id, task_id=task.id, state="done")
    closed = move("closed")
    assert closed.closed_at is not None
    with pytest.raises(Conflict):
        move("in_progress")
    moved = [(entry.detail["state"], entry.detail["forced"]) for entry in exposed.entries("incident.moved")]
    assert moved == [("in_progress", False), ("resolved", True), ("in_progress", False), ("closed", False)]


def test_a_suspicion_is_decided_before_its_incident_ends(exposed: Exposed) -> None:
    incident = exposed.quarantine()
    with pytest.raises(Conflict) as refusal:
        exposed.do(incidents.move, incident_id=incident.id, state="closed", force=True, note="Bored")
    assert refusal.value.code == "undecided"
    exposed.rotate()
    exposed.do(incidents.move, incident_id=incident.id, state="closed", force=True, note="Rotated; never confirmed")
    assert exposed.fresh(incident).state == IncidentState.CLOSED


def test_a_task_is_settled_once_and_left_out_only_for_a_reason(exposed: Exposed) -> None:
    incident = exposed.compromise()
    task = exposed.task(incident, TaskKind.TELL)
    values = {"incident_id": incident.id, "task_id": task.id}
    with pytest.raises(InvalidInput):
        exposed.do(incidents.settle_task, **values, state="not_needed")
    exposed.do(incidents.settle_task, **values, state="not_needed", note="Nobody outside is concerned")
    with pytest.raises(Conflict):
        exposed.do(incidents.settle_task, **values, state="done")
    other = Exposed(exposed.world)
    elsewhere = other.compromise()
    with pytest.raises(NotFound):
        exposed.do(
            incidents.settle_task,
            incident_id=incident.id,
            task_id=other.task(elsewhere, TaskKind.TELL).id,
            state="done",
        )
    with pytest.raises(NotFound):
        exposed.do(incidents.settle_task, incident_id=elsewhere.id, task_id=task.id, state="done")
    auditor = exposed.world.actor(exposed.cast, exposed.cast.auditor, "auditor")
    with pytest.raises(Forbidden):
        exposed.do(incidents.add_note, actor=auditor, incident_id=incident.id, note="May I?")


def test_a_note_is_kept_where_it_can_be_erased_and_nowhere_else(exposed: Exposed) -> None:
    incident = exposed.compromise()
    exposed.do(incidents.add_note, incident_id=incident.id, note="The contractor someone@partner.example had it")
    (entry,) = exposed.entries("incident.noted")
    assert entry.detail == {}
    assert "partner.example" not in entry.leaf
    with exposed.world.inside(exposed.cast):
        assert "contractor" in find_private([entry.event_id])[entry.event_id]["note"]


def test_an_earlier_moment_brings_in_who_had_a_grant_then(exposed: Exposed) -> None:
    earlier = exposed.world.consumer(exposed.cast)
    grant = exposed.world.grant(exposed.cast, exposed.key, earlier)
    with exposed.world.inside(exposed.cast):
        moment = timezone.now() - timedelta(days=1)
        Grant.objects.filter(id=grant.id).update(state="revoked", ended_at=moment, end_reason="dormant")
    incident = exposed.compromise()
    name = f"replace {earlier.consumer.name}"
    assert name not in exposed.tasks(incident)
    exposed.do(incidents.change_since, incident_id=incident.id, suspected_since=timezone.now() - timedelta(days=3))
    assert exposed.tasks(incident)[name] == "open"
    ahead = timezone.now() + timedelta(days=1)
    with pytest.raises(InvalidInput):
        exposed.do(incidents.change_since, incident_id=incident.id, suspected_since=ahead)


def test_the_blast_radius_counts_uses_and_names_keys_of_the_same_account_and_credential(exposed: Exposed) -> None:
    sibling = exposed.world.key(exposed.cast, token=exposed.world.bao_token(exposed.account))
    withdrawn = exposed.world.key(exposed.cast, token=exposed.world.bao_token(exposed.account), activate=False)
    exposed.do(registration.withdraw, key_id=withdrawn.id)
    with exposed.world.inside(exposed.cast):
        own = exposed.version(1).fingerprint
        KeyVersion.objects.filter(key_id=withdrawn.id).update(fingerprint=own)
    since = timezone.now()
    exposed.use()
    exposed.use(Delivery.DECISION)
    exposed.use(scope="secrets:write")
    incident = exposed.compromise(suspected_since=since)
    assert exposed.tasks(incident)[f"check_key {withdrawn.name}"] == TaskState.OPEN
    exposed.world.sequence()
    with exposed.world.inside(exposed.cast):
        found = selectors.get_incident(incident.id)
        radius, bare = blast.read_radius(found, with_addresses=True), blast.read_radius(found)
    assert (radius.allowed, radius.denied, radius.leases, radius.is_complete) == (2, 1, 1, True)
    by_version = {use.version: use for use in radius.uses}
    assert by_version[1].codes == {"scope_not_granted": 1}
    assert by_version[1].addresses == {"127.0.0.1"}
    assert {address for use in bare.uses for address in use.addresses} == set()
    assert [(each.name, each.networks) for each in radius.consumers] == [
        (exposed.credential.consumer.name, ("127.0.0.0/8",))
    ]
    assert {each.key_id: each.same_credential for each in radius.related} == {sibling.id: False, withdrawn.id: True}


def test_the_report_is_json_with_its_events_and_without_anybodys_address(exposed: Exposed) -> None:
    exposed.use()
    incident = exposed.compromise(
        note=f"Reported by {exposed.cast.owner.email}", suspected_since=timezone.now() - timedelta(hours=1)
    )
    exposed.do(incidents.add_note, incident_id=incident.id, note="They called")
    exposed.world.sequence()
    with exposed.world.inside(exposed.cast):
        found = selectors.get_incident(incident.id)
        report, steps = incident_report.build(found), incident_timeline.list_entries(found)
    text = json.dumps(report.statement)
    assert json.loads(canonicalise(report.statement)) == report.statement, "what the log can carry the hash of"
    assert "@" not in text
    assert "Reported by" not in text, "an issued report cannot be erased, so people's own words stay in the log"
    (declared,) = exposed.entries("key.compromised")
    assert report.statement["incident"]["declared_in"] == [str(declared.event_id)]
    assert "upstream_account" not in report.statement["key"], "its label is often somebody's login"
    assert report.statement["key"]["owner"] == {"kind": "person", "id": str(exposed.cast.owner.pk), "role": "owner"}
    assert report.statement["blast_radius"]["uses"]["leases"] == 1
    actions = [step["action"] for step in report.statement["timeline"]]
    assert actions == [step.action for step in steps]
    assert {"key.compromised", "incident.noted"} <= set(actions)
    assert "They called" not in text
    assert {step.event_id for step in steps} < set(report.events)
    with exposed.world.inside(exposed.cast):
        assert Entry.objects.filter(tenant_id=exposed.cast.id, event_id__in=report.events).count() == len(report.events)


def test_the_database_itself_refuses_a_second_open_incident_and_a_confirmed_false_alarm(exposed: Exposed) -> None:
    incident = exposed.compromise()
    with binding.bind_tenant(exposed.cast.id):
        with pytest.raises(IntegrityError), transaction.atomic():
            Incident.objects.filter(id=incident.id).update(
                state="closed", closed_at=timezone.now(), is_false_alarm=True
            )
        with binding.reading():
            copy = Incident.objects.get(id=incident.id)
        copy.id, copy._state.adding = exposed.key.id, True
        with pytest.raises(IntegrityError), transaction.atomic():
            copy.save(force_insert=True)
