"""Offboarding against a real OpenBao survives kill -9 at every statement and call: nothing lost, nothing repeated."""

from __future__ import annotations

import os
import signal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from byok_portal.boundary import binding, jobs
from byok_portal.boundary.models import Job
from keys.models import Key, KeyVersion, Material, TenantKey
from keys.services import lifecycle, offboarding
from keys.upstream import http
from tenants.models import ConsumerToken, Offboarding, OffboardingStep
from tests.keys.test_endings import end_project, make_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    import psycopg

    from byok_portal.quickstart.openbao_admin import BaoToken
    from tests.world import Cast, World


class Fuse:
    """Kills its own process with SIGKILL at the n-th statement sent to the database or call sent to a provider."""

    def __init__(self, at: int) -> None:
        self.left = at

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def statement(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.burn()
        result = execute(*arguments)
        self.burn()
        return result

    def arm(self) -> None:
        connections["default"].execute_wrappers.append(self.statement)
        send = http.send

        def watched(request: http.Request) -> http.Response:
            self.burn()
            response = send(request)
            self.burn()
            return response

        for module in _users_of_send():
            module.send = watched


def _users_of_send() -> list[Any]:
    import sys  # noqa: PLC0415

    return [module for module in list(sys.modules.values()) if getattr(module, "send", None) is http.send]


def run_in_child(tenant_id: UUID, job_id: UUID, *, kill_at: int) -> bool:
    """Run the job in a forked process that is killed at a step. Returns whether it came to its end alive."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            Fuse(kill_at).arm()
            jobs.run(str(tenant_id), str(job_id))
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFEXITED(status)


def revive(admin: psycopg.Connection, job_id: UUID) -> None:
    """What time does: the dead worker's lease lapses and the pause before a retry passes."""
    admin.execute(
        "UPDATE boundary_job SET lease_until = now() - interval '1 second', run_after = now(), max_attempts = 500 "
        "WHERE id = %s",
        [job_id],
    )


def prepare(world: World) -> tuple[Cast, list[BaoToken], Job]:
    cast = world.tenant()
    tokens = [world.bao_token() for _ in range(3)]
    keys = [world.key(cast, token=token, activate=n > 0) for n, token in enumerate(tokens)]
    credential = world.consumer(cast)
    world.grant(cast, keys[1], credential)
    staff = world.staff_actor()
    with world.bound(cast):
        lifecycle.suspend(actor=cast.actor, key_id=keys[2].id)
        offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
        with binding.reading():
            job = Job.objects.get(tenant_id=cast.id, kind=offboarding.ADVANCE)
    return cast, tokens, job


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_killing_the_worker_at_any_statement_or_call_loses_and_repeats_nothing(
    world: World, admin_connection: psycopg.Connection, offset: int
) -> None:
    cast, tokens, job = prepare(world)
    kills = 0
    for kill_at in count(4 + offset, 4):
        if run_in_child(cast.id, job.id, kill_at=kill_at) and _state_of(world, cast, job) == "done":
            break
        kills += 1
        revive(admin_connection, job.id)
        assert kills < 200
    assert kills > 3
    _assert_ended(world, cast, tokens)


def test_killing_the_worker_while_a_project_ends_loses_and_repeats_nothing(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast, token, kept = world.tenant(), world.bao_token(), world.bao_token()
    inside, outside, leaver = world.key(cast, token=token), world.key(cast, token=kept), world.consumer(cast)
    world.grant(cast, outside, leaver)
    made = make_project(world, cast, inside, consumer=leaver.consumer)
    run = end_project(world, cast, made)
    with world.inside(cast):
        job = Job.objects.get(tenant_id=cast.id, kind=offboarding.ADVANCE)
    for kill_at in count(5, 6):
        if run_in_child(cast.id, job.id, kill_at=kill_at) and _state_of(world, cast, job) == "done":
            break
        revive(admin_connection, job.id)
        assert kill_at < 1000
    assert world.bao.count_audit("auth/token/revoke-self", token.accessor) <= 1
    assert world.bao.find_accessor(token.accessor) is None
    assert world.bao.find_accessor(kept.accessor) is not None
    with world.inside(cast):
        assert Offboarding.objects.get(id=run.id).state == "done"
        assert KeyVersion.objects.get(key_id=inside.id).state == "destroyed"
        assert KeyVersion.objects.get(key_id=outside.id).state == "active"
        assert list(Material.objects.values_list("version__key_id", flat=True)) == [outside.id]
        assert not ConsumerToken.objects.filter(revoked_at=None).exists()
        steps = OffboardingStep.objects.filter(offboarding_id=run.id)
        assert {step.kind for step in steps if step.finished_at is None} == set()
        positions = sorted(steps.values_list("position", flat=True))
    world.sequence()
    leaves = _leaves(world, cast)
    recorded = [leaf["detail"]["step"] for leaf in leaves if leaf["action"] == "offboarding.step"]
    assert sorted(recorded) == positions, "each step is recorded once"
    for action in ("key.revoked", "key.destroyed", "grant.ended", "consumer.ended", "project.offboarded"):
        assert sum(leaf["action"] == action for leaf in leaves) == 1, action


def _leaves(world: World, cast: Cast) -> list[dict[str, Any]]:
    from audit.models import Entry  # noqa: PLC0415

    with world.inside(cast):
        return [entry.body for entry in Entry.objects.filter(tenant_id=cast.id)]


def _state_of(world: World, cast: Cast, job: Job) -> str:
    with world.inside(cast):
        return Job.objects.get(tenant_id=cast.id, id=job.id).state


def _assert_ended(world: World, cast: Cast, tokens: list[BaoToken]) -> None:
    for token in tokens:
        assert world.bao.count_audit("auth/token/revoke-self", token.accessor) <= 1
        assert world.bao.find_accessor(token.accessor) is None, "the credential is still alive at the provider"
    with world.inside(cast):
        assert Offboarding.objects.get().state == "done"
        cast.tenant.refresh_from_db()
        assert cast.tenant.state == "offboarded"
        assert not Key.objects.exclude(state="revoked").exists()
        assert not Material.objects.exists()
        assert not TenantKey.objects.exclude(state="shredded").exists()
        assert not ConsumerToken.objects.filter(revoked_at=None).exists()
        for step in OffboardingStep.objects.all():
            assert step.finished_at is not None
            # A residual is honest only where the provider's answer died with the worker.
            assert step.state == "done" or "did not tell" in step.note, (step.label, step.note)
    world.sequence()
    _assert_recorded_once(world, cast)


def _assert_recorded_once(world: World, cast: Cast) -> None:
    import json  # noqa: PLC0415

    from audit.models import Entry  # noqa: PLC0415

    with world.inside(cast):
        leaves = [json.loads(leaf)["body"] for leaf in Entry.objects.values_list("leaf", flat=True)]
        versions = KeyVersion.objects.count()
    steps = [leaf["detail"]["step"] for leaf in leaves if leaf["action"] == "tenant.offboarding_step"]
    assert len(steps) == len(set(steps)), "a step was recorded twice"
    revoked = [leaf["target"]["id"] for leaf in leaves if leaf["action"] == "key.revoked"]
    assert len(revoked) == len(set(revoked)) == 3
    ended = [leaf for leaf in leaves if leaf["action"] in {"key.upstream_revoked", "key.upstream_residual"}]
    assert len(ended) <= versions
    assert sum(leaf["action"] == "tenant.offboarded" for leaf in leaves) == 1
