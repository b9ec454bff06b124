"""Starting the end of a tenant or a project, by people or by the clock, and settling what only people can do.

From the starting commit on every use is refused; a worker then does the rest (`services.cascade`). Consumers end in
`services.grants`, members in `services.ownership`, each with a run as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import connections, transaction
from django.db.models import Count
from django.utils import timezone

from audit.services.documents import ISSUED
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, commit, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, NotFound
from keys.services import announcing, certifying, runs
from keys.states import RevocationReason
from tenants import rules
from tenants import selectors as tenants
from tenants.models import ConsumerToken, Offboarding, OffboardingStep, Project
from tenants.services.tenants import require_active, transfer
from tenants.states import TENANT_TRANSITIONS, ProjectState, SubjectKind, TenantState

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

ADVANCE: Final = runs.ADVANCE
_CLOCK: Final = Absent("the clock does it, where the tenant's owners have agreed")
_NOT_DUE: Final = "not_due"
_State = OffboardingStep.State


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an offboarding is. `settled`: residuals that somebody has done by hand."""

    done: int
    residual: int
    settled: int
    total: int

    @property
    def percent(self) -> int:
        return round(100 * (self.done + self.residual + self.settled) / self.total) if self.total else 100


@operation(
    "tenant.offboard",
    permission=Permission.TENANT_OFFBOARD,
    events=("tenant.offboarding_started",),
    page="admin:tenants_offboarding_add",
    api=Absent("only platform staff end a tenant, in the staff admin"),
    external=True,
)
def start(*, actor: Actor, reason: str, confirmation: str, note: str = "", digest: str | None = None) -> Offboarding:
    """The point of no return: from the first commit on every use of the tenant's keys is refused.

    `confirmation` must repeat the tenant's slug, `digest` is that of the plan that was shown. Raises InvalidInput,
    Conflict when the state does not allow it or the plan has changed.
    """
    why = _reason(reason)
    text = rules.require_text(note, field="note", maximum=500, required=False)
    with commit():
        tenant = tenants.lock_tenant()
        runs.require_confirmation(confirmation, tenant.slug, what="tenant's slug")
        runs.refuse_changed(SubjectKind.TENANT, tenant.id, digest)
        run = _end_tenant(actor, reason=why, note=text, digest=digest)
    _plan(actor, run)
    return run


@operation(
    "project.offboard",
    permission=Permission.PROJECT_OFFBOARD,
    events=("project.offboarding_started",),
    page="keys:project-offboard",
    api="api:project-offboarding",
    external=True,
)
def start_project(
    *, actor: Actor, project_id: UUID, reason: str, confirmation: str, digest: str, note: str = ""
) -> Offboarding:
    """The point of no return of a project: from the first commit on its keys and its consumers are refused.

    Raises InvalidInput, NotFound, Conflict when it has ended or the plan has changed since it was shown.
    """
    why = _reason(reason)
    text = rules.require_text(note, field="note", maximum=500, required=False)
    with commit():
        require_active()
        project = _lock_project(project_id)
        runs.require_confirmation(confirmation, project.slug, what="project's slug")
        runs.refuse_changed(SubjectKind.PROJECT, project.id, digest)
        run = _end_project(actor, project, reason=why, note=text, digest=digest)
    _plan(actor, run)
    return run


@operation(
    "tenant.clock_offboard",
    permission=Permission.JOB_RUN,
    events=("tenant.offboarding_started",),
    page=_CLOCK,
    api=_CLOCK,
    external=True,
)
def start_by_contract(*, actor: Actor, day: date) -> Offboarding:
    """Start the end of the bound tenant because its contract has ended before `day` and its owners agreed to that.

    Raises Conflict when that does not hold, or it was started before.
    """
    with commit():
        tenant = tenants.lock_tenant()
        over = tenant.contract_ends_on is not None and tenant.contract_ends_on < day
        if (
            not (over and tenant.ends_automatically)
            or TenantState.OFFBOARDING not in TENANT_TRANSITIONS[TenantState(tenant.state)]
        ):
            raise Conflict("The contract does not end this tenant now.", code=_NOT_DUE)
        run = _end_tenant(actor, reason=RevocationReason.CONTRACT_ENDED, note="", digest=None, automatic=True)
        announcing.tell_automatic(run, day=str(tenant.contract_ends_on))
    _plan(actor, run)
    return run


@operation(
    "project.clock_offboard",
    permission=Permission.JOB_RUN,
    events=("project.offboarding_started",),
    page=_CLOCK,
    api=_CLOCK,
    external=True,
)
def start_by_project_end(*, actor: Actor, project_id: UUID, day: date) -> Offboarding:
    """The same for a project whose last day was before `day`. Raises Conflict when that does not hold."""
    with commit():
        tenant, project = tenants.lock_tenant(), _lock_project(project_id)
        over = project.ends_on is not None and project.ends_on < day
        if (
            not (over and tenant.ends_automatically)
            or TenantState.OFFBOARDING not in TENANT_TRANSITIONS[TenantState(tenant.state)]
        ):
            raise Conflict("The clock does not end this project now.", code=_NOT_DUE)
        reason = RevocationReason.CESSATION_OF_OPERATION
        run = _end_project(actor, project, reason=reason, note="", digest=None, automatic=True)
        announcing.tell_automatic(run, day=str(project.ends_on))
    _plan(actor, run)
    return run


@operation(
    "offboarding.settle_residual",
    permission=Permission.OFFBOARDING_SETTLE,
    events=("offboarding.residual_settled", ISSUED),
    page="keys:residual-settle",
    api="api:residual-settle",
)
def settle_residual(*, actor: Actor, run_id: UUID, position: int, note: str) -> OffboardingStep:
    """Say that what only people could do is done. It claims nothing about the provider, which nobody asked.

    The last one of a finished run issues its certificate again. Raises NotFound, Conflict for a step that is not left
    to people.
    """
    text = rules.require_text(note, field="note", maximum=500)
    # First: its last step must see this one settled, or this must see the run finished.
    run = runs.lock(run_id)
    step = get_step(run_id, position, lock=True)
    if step.state != _State.RESIDUAL:
        raise Conflict("The step is not left to people, or it is settled.", code="step_state")
    step.state, step.settled_at, step.settled_by_id = _State.SETTLED, timezone.now(), actor.id
    step.settled_note = text
    event = append(
        actor=actor,
        action="offboarding.residual_settled",
        target=runs.target_of(run),
        detail={"run": str(run.id), "step": step.position, "kind": step.kind},
        private={"note": text},
    )
    step.event_ids = [*step.event_ids, event]
    step.save(update_fields=["state", "settled_at", "settled_by_id", "settled_note", "event_ids"])
    left = OffboardingStep.objects.filter(offboarding_id=run.id, state=_State.RESIDUAL)
    if run.state == Offboarding.State.DONE and not left.exists():
        certifying.issue(actor, run)
    return step


def get_step(run_id: UUID, position: int, *, lock: bool = False) -> OffboardingStep:
    """One step of a run of the bound tenant. Raises NotFound."""
    steps = OffboardingStep.objects.lock() if lock else OffboardingStep.objects.all()
    # Small enough for the column, whatever the address says.
    found = steps.filter(offboarding_id=run_id, position=min(position, 2**31 - 1)).first()
    if found is None:
        raise NotFound
    return found


def progress_of(offboarding: Offboarding) -> Progress:
    """Counts of finished, residual and settled steps."""
    rows = OffboardingStep.objects.filter(offboarding_id=offboarding.id).values("state").annotate(n=Count("id"))
    found = {row["state"]: row["n"] for row in rows}
    return Progress(
        done=found.get(_State.DONE, 0),
        residual=found.get(_State.RESIDUAL, 0),
        settled=found.get(_State.SETTLED, 0),
        total=sum(found.values()),
    )


def list_due(day: date, limit: int = 500) -> list[tuple[UUID, str, UUID]]:
    """(tenant, kind, subject) of what agreed end dates before this day end, over all tenants."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id, kind, subject_id FROM directory_due_ends(%s, %s)", [day, limit])
        return [(row[0], row[1], row[2]) for row in cursor.fetchall()]


def _end_tenant(
    actor: Actor, *, reason: RevocationReason, note: str, digest: str | None, automatic: bool = False
) -> Offboarding:
    requested_at = timezone.now()
    detail = {"reason": reason.value, "digest": digest or "", "automatic": "yes" if automatic else "no"}
    event = transfer(actor=actor, to=TenantState.OFFBOARDING, event="tenant.offboarding_started", detail=detail)
    run = runs.open_run(
        actor,
        SubjectKind.TENANT,
        binding.get_tenant(),
        reason=reason.value,
        note=note,
        digest=digest,
        requested_at=requested_at,
        automatic=automatic,
    )
    return _keep(run, event)


def _end_project(
    actor: Actor, project: Project, *, reason: RevocationReason, note: str, digest: str | None, automatic: bool = False
) -> Offboarding:
    """Decisions look at the project's state, so its keys are refused from here on; tokens end for every other call."""
    now = timezone.now()
    project.state, project.ended_at = ProjectState.ENDED, now
    project.save(update_fields=["state", "ended_at"])
    run = runs.open_run(
        actor,
        SubjectKind.PROJECT,
        project.id,
        reason=reason.value,
        note=note,
        digest=digest,
        requested_at=now,
        automatic=automatic,
    )
    tokens = ConsumerToken.objects.filter(revoked_at=None, consumer__project_id=project.id).update(revoked_at=now)
    event = append(
        actor=actor,
        action="project.offboarding_started",
        target=Target("project", project.id),
        detail={"reason": reason.value, "tokens": tokens, "digest": digest or "", "automatic": automatic},
    )
    return _keep(run, event)


def _keep(run: Offboarding, event: UUID) -> Offboarding:
    run.event_ids = [event]
    run.save(update_fields=["event_ids"])
    return run


def _plan(actor: Actor, run: Offboarding) -> None:
    """The steps, in a second commit: nothing waits for them, and the worker writes them if this one dies here."""
    with transaction.atomic():
        runs.plan(actor, run.id)
        run.refresh_from_db()


def _lock_project(project_id: UUID) -> Project:
    project = Project.objects.lock().filter(id=project_id).first()
    if project is None:
        raise NotFound
    if project.state != ProjectState.ACTIVE:
        raise Conflict("The project has ended already.", code="project_ended")
    return project


def _reason(reason: str) -> RevocationReason:
    return RevocationReason(rules.require_choice(reason, [word.value for word in RevocationReason], field="reason"))
