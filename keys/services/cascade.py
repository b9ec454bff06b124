"""The worker's part of an offboarding: what is local in batches, what is at a provider one by one, the end last.

A step's effect, its event and its state commit together, so a killed worker repeats nothing. Only the revocation at a
provider leaves the transaction; `services.upstream` looks before it would repeat one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from django.db import connections, transaction
from django.db.models import Case, F, IntegerField, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from audit.services.documents import ISSUED
from audit.services.recording import Event, append_many
from byok_portal.boundary import binding, jobs, operations
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict
from keys import endings
from keys.models import KeyVersion
from keys.services import certifying, runs, steps, upstream
from keys.services.catalogue import entry_of
from keys.states import RevocationReason
from tenants.models import Offboarding, OffboardingStep
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

MAX_UPSTREAM_ATTEMPTS: Final = 5
BATCH: Final = 100
UPSTREAM: Final = "revoke_upstream"
_SETTLED: Final = "step_settled"
_State = OffboardingStep.State
FINISHED: Final = (_State.DONE, _State.RESIDUAL, _State.SETTLED)
_WORKER: Final = Absent("a worker runs the steps; people start the offboarding and watch its page")
_CASCADES: Final = (SubjectKind.TENANT, SubjectKind.PROJECT)
_SETTLE: Final = """
UPDATE tenants_offboardingstep s SET state = n.state, note = n.note, event_ids = n.events, finished_at = now()
FROM json_to_recordset(%(rows)s::json) AS n (id uuid, state text, note text, events uuid[])
WHERE s.tenant_id = %(tenant)s AND s.id = n.id
"""
_STEP_EVENTS: Final = ("tenant.offboarding_step", "offboarding.step")


def advance(running: jobs.Running) -> None:
    """The worker's loop: plan if need be, then one batch after another, each safe to run again.

    A silent provider does not hold up the other steps, but nothing is shredded before every provider was asked as
    often as it takes: then RetryLater, and this comes again.
    """
    with suppress(Conflict):
        plan(actor=running.actor, run_id=running.subject_id)
    waiting: set[UUID] = set()
    while batch := _next_batch(running, waiting):
        if batch[0].kind in runs.FINAL and (waiting or _add_missing(running)):
            if waiting:
                break
            continue
        attempts = begin_steps(step_ids=[step.id for step in batch])
        try:
            if batch[0].kind != UPSTREAM:
                run_steps(actor=running.actor, step_ids=[step.id for step in batch])
            elif not _run_upstream(running.actor, batch[0], last=attempts >= MAX_UPSTREAM_ATTEMPTS):
                waiting.add(batch[0].id)
        except Conflict as conflict:
            if conflict.code != _SETTLED:
                raise
    if waiting:
        code = "upstream_not_confirmed"
        raise jobs.RetryLater(code)


def _next_batch(running: jobs.Running, waiting: set[UUID]) -> list[OffboardingStep]:
    """The next steps of one kind; by itself one that was begun before, so that a step that kills is alone."""
    with binding.reading():
        all_steps = OffboardingStep.objects.filter(offboarding_id=running.subject_id)
        is_last = Case(When(kind__in=runs.FINAL, then=1), default=0, output_field=IntegerField())
        left = all_steps.exclude(state__in=FINISHED).exclude(id__in=waiting)
        first = left.order_by(is_last, "position").first()
        if first is None or first.kind == UPSTREAM or first.attempts:
            batch = [first] if first else []
        else:
            batch = list(left.filter(kind=first.kind, attempts=0).order_by("position")[:BATCH])
        total, open_ones = all_steps.count(), left.count() + len(waiting)
    running.keep(done_steps=total - open_ones, total_steps=total)
    return batch


def _add_missing(running: jobs.Running) -> int:
    """Steps for what came in between, such as a version that was staged while the run began. Returns how many."""
    with transaction.atomic():
        run = Offboarding.objects.lock().get(id=running.subject_id)
        return runs.write_plan(run) if run.subject_kind in _CASCADES else 0


def begin_steps(*, step_ids: Sequence[UUID]) -> int:
    """Count the attempt before any work, so that a step which kills its worker shows. Returns the most attempts."""
    with transaction.atomic():
        rows = list(OffboardingStep.objects.lock().filter(id__in=step_ids).exclude(state__in=FINISHED))
        OffboardingStep.objects.filter(id__in=[row.id for row in rows]).update(
            attempts=F("attempts") + 1,
            state=Case(When(kind=UPSTREAM, then=Value(_State.CALLING.value)), default=Value(_State.RUNNING.value)),
            started_at=Coalesce("started_at", timezone.now()),
        )
        return max((row.attempts + 1 for row in rows), default=0)


@operation(
    "tenant.offboard_plan",
    permission=Permission.JOB_RUN,
    events=("offboarding.planned",),
    page=_WORKER,
    api=_WORKER,
)
def plan(*, actor: Actor, run_id: UUID) -> None:
    """Write the steps, where whoever started the run died before. Raises Conflict when they are written."""
    if not runs.plan(actor, run_id):
        raise Conflict("The steps are written.", code="planned")


@operation(
    "tenant.offboard_upstream_step",
    permission=Permission.JOB_RUN,
    events=_STEP_EVENTS,
    page=_WORKER,
    api=_WORKER,
)
def finish_upstream_step(
    *, actor: Actor, step_id: UUID, note: str, residual: bool, event_ids: Sequence[UUID] = ()
) -> None:
    """Settle a step whose effect is at the provider. Raises Conflict when another worker did."""
    [step] = _lock_open([step_id])
    if residual:
        version = KeyVersion.objects.select_related("key__provider").get(id=step.subject_id)
        step.instruction = endings.instruction_for(entry_of(version.key.provider))
        step.save(update_fields=["instruction"])
    step.state = _State.RESIDUAL if residual else _State.DONE
    _settle(actor, [step], {step.id: steps.Outcome(note, tuple(event_ids))})


@operation(
    "tenant.offboard_step",
    permission=Permission.JOB_RUN,
    events=(*steps.EVENTS, *_STEP_EVENTS, ISSUED),
    page=_WORKER,
    api=_WORKER,
)
def run_steps(*, actor: Actor, step_ids: Sequence[UUID]) -> None:
    """Do local steps of one kind: effects, events and states in this transaction. Raises Conflict when others did."""
    rows = _lock_open(step_ids)
    run = rows[0].offboarding
    outcomes = steps.do(actor, run, rows, RevocationReason(run.reason))
    for row in rows:
        row.state = _State.DONE
    _settle(actor, rows, outcomes)
    if run.state == Offboarding.State.DONE:
        certifying.issue(actor, run)


def _run_upstream(actor: Actor, step: OffboardingStep, *, last: bool) -> bool:
    with operations.receipts() as receipts:
        ending = upstream.end_version(actor=actor, version_id=step.subject_id, last_attempt=last)
    if ending.retry:
        return False
    finish_upstream_step(
        actor=actor, step_id=step.id, note=ending.note, residual=not ending.confirmed, event_ids=receipts
    )
    return True


def _lock_open(step_ids: Sequence[UUID]) -> list[OffboardingStep]:
    found = OffboardingStep.objects.lock().select_related("offboarding").filter(id__in=step_ids)
    rows = [row for row in found.order_by("position") if row.state not in FINISHED]
    if not rows:
        raise Conflict("The steps are finished already.", code=_SETTLED)
    return rows


def _settle(actor: Actor, rows: Sequence[OffboardingStep], outcomes: dict[UUID, steps.Outcome]) -> None:
    """One event per step, and what became of each; the states are set on the rows by the caller."""
    is_tenant = rows[0].offboarding.subject_kind == SubjectKind.TENANT
    target = runs.target_of(rows[0].offboarding)
    written = append_many(
        actor=actor,
        events=[
            Event(
                _STEP_EVENTS[0 if is_tenant else 1],
                target,
                {
                    "run": str(row.offboarding_id),
                    "step": row.position,
                    "kind": row.kind,
                    "state": str(row.state),
                    "attempts": row.attempts,
                },
            )
            for row in rows
        ],
    )
    values = [
        {
            "id": row.id,
            "state": str(row.state),
            "note": outcomes[row.id].note[:500],
            "events": [*outcomes[row.id].event_ids, event],
        }
        for row, event in zip(rows, written, strict=True)
    ]
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_SETTLE, {"tenant": binding.get_tenant(), "rows": msgspec.json.encode(values).decode()})
