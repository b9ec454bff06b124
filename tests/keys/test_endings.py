"""Projects, consumers and members end as runs: planned, refused at the first commit, carried through by workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from audit.models import Entry
from byok_portal.boundary import actors, jobs
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.models import Job
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, Forbidden, InvalidInput, NotFound
from keys import endings, posture
from keys.findings import Kind
from keys.models import Grant, Key, KeyVersion, Material
from keys.services import leaving, offboarding, ownership, projects, uses
from keys.states import Delivery
from tenants.models import Consumer, ConsumerToken, Membership, Offboarding, OffboardingStep
from tenants.services import projects as tenant_projects
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    from tenants.models import Project
    from tests.world import Cast, Credential, World


def use(world: World, cast: Cast, credential: Credential, key: Key, *, delivery: str = "decision") -> str:
    """The code of one use."""
    caller = actors.consumer(
        credential.consumer.id,
        tenant_id=cast.id,
        scopes=frozenset({Permission.KEY_USE}),
        label="",
        origin=Origin(address="127.0.0.1"),
    )
    with world.bound(cast):
        answer = uses.use(
            actor=caller,
            token_id=credential.token_id,
            key_reference=str(key.id),
            scope="secrets:read",
            purpose="report",
            delivery=Delivery(delivery),
        )
    return answer.decision.code.value


def kinds_of(key: Key) -> list[Kind]:
    """What is found about a key, bound to its tenant."""
    return [found.finding.kind for found in posture.list_found(key.id)]


def make_project(world: World, cast: Cast, *keys: Key, consumer: Consumer | None = None) -> Project:
    with world.bound(cast):
        made = tenant_projects.create(actor=cast.actor, name=world.name("trial"), purpose="A trial")
        for key in keys:
            projects.assign_key(actor=cast.actor, key_id=key.id, project=made.slug)
        if consumer is not None:
            tenant_projects.assign_consumer(actor=cast.actor, consumer_id=consumer.id, project=str(made.id))
    return made


def end_project(world: World, cast: Cast, made: Project) -> Offboarding:
    with world.inside(cast):
        plan = endings.plan_of(SubjectKind.PROJECT, made.id)
    with world.bound(cast):
        return offboarding.start_project(
            actor=cast.actor,
            project_id=made.id,
            reason="cessation_of_operation",
            confirmation=plan.expected,
            digest=plan.digest,
        )


def work(world: World, cast: Cast, run_id: UUID) -> str:
    with world.inside(cast):
        job = Job.objects.get(tenant_id=cast.id, kind=offboarding.ADVANCE, subject_id=run_id)
    return jobs.run(str(cast.id), str(job.id))


def entries(world: World, cast: Cast, action: str) -> list[dict[str, Any]]:
    world.sequence()
    with world.inside(cast):
        leaves = Entry.objects.filter(tenant_id=cast.id).order_by("tseq").values_list("leaf", flat=True)
        bodies = [json.loads(leaf)["body"] for leaf in leaves]
    return [body for body in bodies if body["action"] == action]


def test_a_project_ends_with_all_that_is_its_own_and_nothing_else(world: World) -> None:
    cast = world.tenant()
    token, other_token = world.bao_token(), world.bao_token()
    inside, outside = world.key(cast, token=token), world.key(cast, token=other_token)
    leaver, stayer = world.consumer(cast), world.consumer(cast)
    for credential in (leaver, stayer):
        world.grant(cast, outside, credential)
        world.grant(cast, inside, credential)
    made = make_project(world, cast, inside, consumer=leaver.consumer)
    assert use(world, cast, leaver, outside, delivery="lease") == "allowed"
    assert use(world, cast, stayer, inside) == "allowed"
    world.sequence()
    with world.inside(cast):
        plan = endings.plan_of(SubjectKind.PROJECT, made.id)
    assert plan.counts == {"keys": 1, "credentials": 1, "grants": 3, "consumers": 1, "tokens": 1}
    assert {row.name: (row.week, row.month) for row in plan.consumers} == {
        leaver.consumer.name: (1, 1),
        stayer.consumer.name: (1, 1),
    }
    assert [(each.possible, each.credentials) for each in plan.upstream] == [(True, 1)]
    assert plan.rotations == [f"{outside.name} (1)"]

    run = end_project(world, cast, made)
    # No worker has run: decisions look at the project itself.
    assert use(world, cast, stayer, inside) == "key_revoked"
    assert use(world, cast, leaver, outside) == "consumer_unknown"
    assert use(world, cast, stayer, outside) == "allowed"
    assert work(world, cast, run.id) == "done"

    with world.inside(cast):
        assert Key.objects.get(id=inside.id).state == "revoked"
        version = KeyVersion.objects.get(key_id=inside.id)
        assert (version.state, version.upstream_status) == ("destroyed", "revoked_confirmed")
        assert not Material.objects.filter(version_id=version.id).exists()
        assert Consumer.objects.get(id=leaver.consumer.id).state == "ended"
        assert Grant.objects.filter(state="active").count() == 1
        steps = list(OffboardingStep.objects.filter(offboarding_id=run.id).order_by("position"))
        assert {step.state for step in steps} == {"done"}
        assert all(step.event_ids and step.attempts == 1 for step in steps)
        assert Kind.ROTATION_WANTED in kinds_of(outside)
        recorded = {event for step in steps for event in step.event_ids}
    assert world.bao.find_accessor(token.accessor) is None
    assert world.bao.find_accessor(other_token.accessor) is not None
    world.sequence()
    with world.inside(cast):
        assert Entry.objects.filter(tenant_id=cast.id, event_id__in=recorded).count() == len(recorded)
    [destroyed] = entries(world, cast, "key.destroyed")
    assert destroyed["target"]["id"] == str(inside.id)
    assert len(entries(world, cast, "offboarding.step")) == len(steps)


def test_a_plan_that_changed_since_it_was_shown_does_not_start(world: World) -> None:
    cast = world.tenant()
    first, second, credential = world.key(cast), world.key(cast), world.consumer(cast)
    made = make_project(world, cast, first)
    with world.inside(cast):
        shown = endings.plan_of(SubjectKind.PROJECT, made.id)
    asked: dict[str, Any] = {"actor": cast.actor, "project_id": made.id, "reason": "dormant", "confirmation": made.slug}
    with world.bound(cast), pytest.raises(InvalidInput) as typed:
        offboarding.start_project(**{**asked, "confirmation": "trial"}, digest=shown.digest)
    assert (typed.value.code, typed.value.field) == ("not_confirmed", "confirmation")
    world.grant(cast, first, credential)
    with world.bound(cast), pytest.raises(Conflict) as granted:
        offboarding.start_project(**asked, digest=shown.digest)
    assert granted.value.code == "plan_changed"
    with world.inside(cast):
        shown = endings.plan_of(SubjectKind.PROJECT, made.id)
    assert use(world, cast, credential, first) == "allowed"
    world.sequence()
    with world.inside(cast):
        assert endings.digest_of(SubjectKind.PROJECT, made.id) == shown.digest, "a use is no change of the plan"
    with world.bound(cast):
        projects.assign_key(actor=cast.actor, key_id=second.id, project=made.slug)
        with pytest.raises(Conflict):
            offboarding.start_project(**asked, digest=shown.digest)
    with world.inside(cast):
        assert not Offboarding.objects.exists()
    run = end_project(world, cast, made)
    with world.bound(cast), pytest.raises(Conflict) as again:
        offboarding.start_project(**asked, digest=run.plan_digest)
    assert again.value.code == "project_ended"
    with world.bound(cast), pytest.raises(Conflict):
        projects.assign_key(actor=cast.actor, key_id=second.id, project="")


def test_another_tenants_project_and_run_are_not_there(world: World) -> None:
    cast, stranger = world.tenant(), world.tenant("globex")
    made = make_project(world, cast)
    run = end_project(world, cast, made)
    with world.inside(stranger), pytest.raises(NotFound):
        endings.plan_of(SubjectKind.PROJECT, made.id)
    with world.bound(stranger):
        for call in (
            lambda: offboarding.start_project(
                actor=stranger.actor, project_id=made.id, reason="dormant", confirmation=made.slug, digest="0"
            ),
            lambda: offboarding.settle_residual(actor=stranger.actor, run_id=run.id, position=1, note="mine"),
        ):
            with pytest.raises(NotFound):
                call()
        auditor = world.actor(cast, cast.auditor, "auditor")
        with pytest.raises(Forbidden):
            offboarding.settle_residual(actor=auditor, run_id=run.id, position=1, note="mine")


def test_a_consumer_ends_at_once_and_what_it_could_have_kept_is_to_be_rotated(world: World) -> None:
    cast = world.tenant()
    leased, decided = world.key(cast), world.key(cast)
    credential = world.consumer(cast)
    world.grant(cast, leased, credential)
    world.grant(cast, decided, credential, deliveries=("decision",))
    for key in (leased, decided):
        assert use(world, cast, credential, key) == "allowed"
    world.sequence()
    with world.bound(cast):
        leaving.end_consumer(actor=cast.actor, consumer_id=credential.consumer.id, reason="contract_ended")
    assert use(world, cast, credential, leased) == "consumer_unknown"
    with world.inside(cast):
        run = Offboarding.objects.get()
        assert (run.subject_kind, run.subject_id) == ("consumer", credential.consumer.id)
        steps = OffboardingStep.objects.filter(offboarding_id=run.id).order_by("position")
        assert [(step.kind, step.state) for step in steps] == [
            ("flag_rotation", "pending"),
            ("end_consumer", "done"),
            ("close", "pending"),
        ]
        assert Kind.ROTATION_WANTED not in kinds_of(leased)
    assert work(world, cast, run.id) == "done"
    with world.inside(cast):
        assert Kind.ROTATION_WANTED in kinds_of(leased)
        assert Kind.ROTATION_WANTED not in kinds_of(decided)
        assert Offboarding.objects.get().state == "done"
    assert len(entries(world, cast, "consumer.ended")) == 1
    assert len(entries(world, cast, "consumer.offboarded")) == 1


def test_a_leaver_leaves_hand_overs_and_tokens_that_people_replace(world: World) -> None:
    from django.contrib.sessions.models import Session  # noqa: PLC0415  # settings must be ready

    from tests.pages.browser import sign_in  # noqa: PLC0415

    cast = world.tenant()
    key = world.key(cast, owner=str(cast.backup.pk), backup_owner=str(cast.owner.pk))
    leaver = world.actor(cast, cast.backup, "owner")
    credential = world.consumer(cast)
    from tenants.services import consumers  # noqa: PLC0415

    with world.bound(cast):
        token, _issued = consumers.issue_token(actor=leaver, consumer_id=credential.consumer.id, days=5)
    world.sequence()
    browser = sign_in(cast.backup)
    sessions = Session.objects.count()
    with world.inside(cast):
        plan = endings.plan_of(SubjectKind.OWNER, cast.backup.pk)
        member = Membership.objects.get(user_id=cast.backup.pk)
    assert plan.counts["keys"] == 1
    assert plan.tokens == [f"…{token.last_four} of {credential.consumer.name}"]
    with world.bound(cast):
        with pytest.raises(Conflict):
            ownership.remove_member(actor=cast.actor, membership_id=member.id, digest="0" * 64)
        ownership.remove_member(
            actor=cast.actor, membership_id=member.id, confirmation=plan.expected, digest=plan.digest
        )
    with world.inside(cast):
        run = Offboarding.objects.get(subject_kind="owner")
        residual = OffboardingStep.objects.get(offboarding_id=run.id, kind="replace_token")
        assert (residual.state, residual.subject_id) == ("residual", token.id)
        assert Key.objects.get(id=key.id).owner_id == cast.owner.pk
        assert ConsumerToken.objects.get(id=token.id).revoked_at is None, "its consumer still works"
    assert work(world, cast, run.id) == "done"
    assert Session.objects.count() == sessions - 1
    assert browser.get("/").status_code == 302
    with world.inside(cast):
        kinds = set(OffboardingStep.objects.filter(offboarding_id=run.id, state="done").values_list("kind", flat=True))
        assert kinds == {"end_membership", "hand_over_key", "end_sessions", "close"}
    with world.bound(cast):
        done = offboarding.settle_residual(
            actor=cast.actor, run_id=run.id, position=residual.position, note="Replaced on Monday"
        )
        assert (done.state, done.settled_note) == ("settled", "Replaced on Monday")
        with pytest.raises(Conflict) as again:
            offboarding.settle_residual(actor=cast.actor, run_id=run.id, position=residual.position, note="Twice")
    assert again.value.code == "step_state"
    [settled] = entries(world, cast, "offboarding.residual_settled")
    assert settled["detail"]["step"] == residual.position
    assert "Monday" not in json.dumps(settled)


def test_a_silent_provider_leaves_a_residual_with_its_instruction(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    made = make_project(world, cast, key)
    with world.inside(cast):
        # The provider is not reachable there: nothing listens on this port.
        Key.objects.filter(id=key.id).update(endpoint="http://127.0.0.1:9")
    run = end_project(world, cast, made)
    for _ in range(4):
        assert work(world, cast, run.id) == "retry"
        with world.inside(cast):
            assert Material.objects.filter(version__key_id=key.id).exists(), "it is still needed to revoke"
            Job.objects.filter(subject_id=run.id, tenant_id=cast.id).update(run_after="2026-01-01T00:00Z")
    assert work(world, cast, run.id) == "done"
    with world.inside(cast):
        step = OffboardingStep.objects.get(offboarding_id=run.id, kind="revoke_upstream")
        assert (step.state, step.attempts) == ("residual", 5)
        assert "revokes itself in your OpenBao" in step.instruction
        assert not Material.objects.filter(version__key_id=key.id).exists()
        assert KeyVersion.objects.get(key_id=key.id).upstream_status != "revoked_confirmed"


def test_a_run_whose_starter_died_before_the_plan_was_written_is_planned_by_the_worker(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast, staff = world.tenant(), world.staff_actor()
    key = world.key(cast)
    with world.bound(cast):
        run = offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
    # As it is between the two commits.
    admin_connection.execute("DELETE FROM tenants_offboardingstep WHERE offboarding_id = %s", [run.id])
    admin_connection.execute("UPDATE tenants_offboarding SET planned_at = NULL WHERE id = %s", [run.id])
    assert work(world, cast, run.id) == "done"
    with world.inside(cast):
        assert Key.objects.get(id=key.id).state == "revoked"
        assert Offboarding.objects.get().planned_at is not None
        assert OffboardingStep.objects.filter(state="done").count() == 4
