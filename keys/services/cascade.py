"""The worker's part of an offboarding: what is local in batches, what is at a provider one by one, the end last.

A step's effect, its event and its state commit together, so a killed worker repeats nothing. Only the revocation at a
provider leaves the transaction; `services.upstream` looks before it would repeat one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from itertools import zip_longest
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
from keys.models import KeyVersion, UpstreamStatus
from keys.services import certifying, runs, steps, upstream
from keys.services.catalogue import entry_of
from keys.states import RevocationReason
from tenants.models import Offboarding, OffboardingStep
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from byok_portal.boundary.actors import Actor

    _Place = tuple[UUID, str]

MAX_UPSTREAM_ATTEMPTS: Final = 5
SILENT_MAX: Final = 3
"""Calls in a row without an answer, after which a provider's other versions wait for the next pass."""
BATCH: Final = 100
UPSTREAM: Final = "revoke_upstream"
_SETTLED: Final = "step_settled"
_PASSED_OVER: Final = (
    "The provider gave no answer, for other credentials either; nobody confirmed that this one is dead."
)
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
    waiting = False
    while batch := _next_batch(running, with_upstream=not waiting):
        if batch[0].kind == UPSTREAM:
            waiting = _ask_providers(running)
            continue
        if batch[0].kind in runs.FINAL and (waiting or _add_missing(running)):
            if waiting:
                break
            continue
        begin_steps(step_ids=[step.id for step in batch])
        with _settled_by_others():
            run_steps(actor=running.actor, step_ids=[step.id for step in batch])
    if waiting:
        code = "upstream_not_confirmed"
        raise jobs.RetryLater(code)


def _next_batch(running: jobs.Running, *, with_upstream: bool) -> list[OffboardingStep]:
    """The next steps of one kind; by itself one that was begun before, so that a step that kills is alone."""
    with binding.reading():
        is_last = Case(When(kind__in=runs.FINAL, then=1), default=0, output_field=IntegerField())
        left = _list_open(running)
        wanted = left if with_upstream else left.exclude(kind=UPSTREAM)
        first = wanted.order_by(is_last, "position").first()
        if first is None or first.kind == UPSTREAM or first.attempts:
            batch = [first] if first else []
        else:
            batch = list(left.filter(kind=first.kind, attempts=0).order_by("position")[:BATCH])
    _show_progress(running)
    return batch


def _list_open(running: jobs.Running) -> QuerySet[OffboardingStep]:
    return OffboardingStep.objects.filter(offboarding_id=running.subject_id).exclude(state__in=FINISHED)


def _show_progress(running: jobs.Running) -> None:
    with binding.reading():
        total = OffboardingStep.objects.filter(offboarding_id=running.subject_id).count()
        done = total - _list_open(running).count()
    running.keep(done_steps=done, total_steps=total)


@contextmanager
def _settled_by_others() -> Iterator[None]:
    """Whatever another worker has finished by now is finished."""
    try:
        yield
    except Conflict as conflict:
        if conflict.code != _SETTLED:
            raise


def _ask_providers(running: jobs.Running) -> bool:
    """One turn for every version that is left at a provider. Returns whether any of them has to wait for the next.

    After a few calls without an answer in a row a provider's other versions are passed over: at ten thousand of them
    its timeouts would fill days, with the credentials of other providers alive behind them.
    """
    silent: Counter[_Place] = Counter()
    waiting = False
    for step_id, version_id, place in _take_turns(running):
        _show_progress(running)
        last = begin_steps(step_ids=[step_id]) >= MAX_UPSTREAM_ATTEMPTS
        with _settled_by_others():
            if silent[place] >= SILENT_MAX:
                waiting |= not _pass_over(running.actor, step_id, last=last)
                continue
            ending = _run_upstream(running.actor, step_id, version_id, last=last)
            waiting |= ending.retry
            silent[place] = silent[place] + 1 if ending.status == UpstreamStatus.UNREACHABLE else 0
    return waiting


def _take_turns(running: jobs.Running) -> list[tuple[UUID, UUID, _Place]]:
    """(step, version, where it is asked): the first of each provider, the second of each, and so on."""
    with binding.reading():
        left = _list_open(running).filter(kind=UPSTREAM)
        versions = KeyVersion.objects.filter(id__in=left.values("subject_id"))
        places = {row[0]: row[1:] for row in versions.values_list("id", "key__provider_id", "key__endpoint")}
        steps_left = list(left.order_by("position").values_list("id", "subject_id"))
    lines: defaultdict[_Place, list[tuple[UUID, UUID, _Place]]] = defaultdict(list)
    for step_id, version_id in steps_left:
        lines[places[version_id]].append((step_id, version_id, places[version_id]))
    return [turn for row in zip_longest(*lines.values()) for turn in row if turn is not None]


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
    run = _lock_run(step_ids)
    rows = _lock_open(step_ids)
    outcomes = steps.do(actor, run, rows, RevocationReason(run.reason))
    for row in rows:
        row.state = _State.DONE
    _settle(actor, rows, outcomes)
    if run.state == Offboarding.State.DONE:
        certifying.issue(actor, run)


def _run_upstream(actor: Actor, step_id: UUID, version_id: UUID, *, last: bool) -> upstream.Ending:
    with operations.receipts() as receipts:
        ending = upstream.end_version(actor=actor, version_id=version_id, last_attempt=last)
    if not ending.retry:
        finish_upstream_step(
            actor=actor, step_id=step_id, note=ending.note, residual=not ending.confirmed, event_ids=receipts
        )
    return ending


def _pass_over(actor: Actor, step_id: UUID, *, last: bool) -> bool:
    """A turn without a call; the last one leaves the credential to people. Returns whether that is settled."""
    if last:
        finish_upstream_step(actor=actor, step_id=step_id, note=_PASSED_OVER, residual=True)
    return last


def _lock_run(step_ids: Sequence[UUID]) -> Offboarding:
    """Before the steps: what people settle beside it is counted with the rest, or comes after the end."""
    return runs.lock(OffboardingStep.objects.values_list("offboarding_id", flat=True).get(id=step_ids[0]))


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
