"""The end of a tenant: refused from the starting commit on, then a worker revokes everything, step by step.

A step's effect, its event and its state commit together, so a killed worker repeats nothing. Only the revocation at a
provider leaves the transaction; `services.upstream` looks before it would repeat one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding, jobs
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput
from keys import selectors
from keys.models import Grant, Key, KeyVersion, Material, UpstreamStatus
from keys.services import custody, lifecycle, upstream
from keys.states import GrantState, RevocationReason, VersionState
from tenants import rules
from tenants import selectors as tenants
from tenants.models import Consumer, Offboarding, OffboardingStep
from tenants.services.consumers import end_access
from tenants.services.tenants import move
from tenants.states import TenantState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

ADVANCE: Final = "tenant.offboard"
MAX_UPSTREAM_ATTEMPTS: Final = 5
PROGRESS_EVERY: Final = 10
MAX_LABEL: Final = 200
_SETTLED: Final = "step_settled"
_FINAL: Final = ("shred_keys", "close")
_State = OffboardingStep.State
_FINISHED: Final = (_State.DONE, _State.RESIDUAL)
_WORKER: Final = Absent("a worker runs the steps; people start the offboarding and watch its page")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an offboarding is."""

    done: int
    residual: int
    total: int

    @property
    def percent(self) -> int:
        return round(100 * (self.done + self.residual) / self.total) if self.total else 100


@operation(
    "tenant.offboard",
    permission=Permission.TENANT_OFFBOARD,
    events=("tenant.offboarding_started",),
    page="admin:tenants_offboarding_add",
    api=Absent("only platform staff end a tenant, in the staff admin"),
)
def start(*, actor: Actor, reason: str, confirmation: str, note: str = "") -> Offboarding:
    """The point of no return: from this commit on every use of the tenant's keys is refused.

    `confirmation` must repeat the tenant's slug. Raises InvalidInput, Conflict when the state does not allow it.
    """
    why = rules.require_choice(reason, [word.value for word in RevocationReason], field="reason")
    text = rules.require_text(note, field="note", maximum=500, required=False)
    if confirmation != tenants.get_tenant().slug:
        raise InvalidInput("Confirmation must repeat the tenant's slug.", code="not_confirmed", field="confirmation")
    move(actor=actor, to=TenantState.OFFBOARDING, event="tenant.offboarding_started", detail={"reason": why})
    offboarding: Offboarding = Offboarding.objects.create(reason=why, note=text, started_by_id=actor.id)
    steps = [
        OffboardingStep(
            id=new_id(),
            tenant_id=binding.get_tenant(),
            offboarding=offboarding,
            position=n,
            **{**step, "label": step["label"][:MAX_LABEL]},
        )
        for n, step in enumerate(_plan(), start=1)
    ]
    OffboardingStep.objects.bulk_create(steps, batch_size=500)
    jobs.enqueue(ADVANCE, subject_id=offboarding.id, max_attempts=50)
    return offboarding


def _plan() -> Iterator[dict[str, Any]]:
    """Every step, in order: here first, then upstream, then access, then the data keys."""
    names = dict(Key.objects.values_list("id", "name"))
    for key_id, name in (
        Key.objects.exclude(state__in=selectors.ENDED_KEYS).order_by("created_at").values_list("id", "name")
    ):
        yield {"kind": "revoke_key", "subject_id": key_id, "label": f"Revoke {name} here"}
    for version in _revocable_upstream():
        label = f"Revoke {names[version.key_id]} version {version.number} at the provider"
        yield {"kind": "revoke_upstream", "subject_id": version.id, "label": label}
    for grant in Grant.objects.filter(state=GrantState.ACTIVE).select_related("consumer"):
        label = f"End the grant of {grant.consumer.name} on {names[grant.key_id]}"
        yield {"kind": "end_grant", "subject_id": grant.id, "label": label}
    for consumer in Consumer.objects.filter(state=Consumer.State.ACTIVE):
        yield {
            "kind": "end_consumer",
            "subject_id": consumer.id,
            "label": f"End the access of {consumer.name}",
        }
    tenant_id = binding.get_tenant()
    yield {
        "kind": "shred_keys",
        "subject_id": tenant_id,
        "label": "Destroy the tenant's data keys and ciphertext",
    }
    yield {"kind": "close", "subject_id": tenant_id, "label": "Close the tenant"}


def _revocable_upstream() -> Iterator[KeyVersion]:
    """Versions whose credential may still be alive at the provider and that we still hold."""
    held = Material.objects.values("version_id")
    rows = KeyVersion.objects.filter(id__in=held).exclude(upstream_status=UpstreamStatus.REVOKED_CONFIRMED)
    yield from rows.exclude(state=VersionState.DESTROYED).order_by("key_id", "number")


def progress_of(offboarding: Offboarding) -> Progress:
    """Counts of finished and residual steps."""
    states = list(OffboardingStep.objects.filter(offboarding_id=offboarding.id).values_list("state", flat=True))
    return Progress(states.count(_State.DONE), states.count(_State.RESIDUAL), len(states))


def advance(running: jobs.Running) -> None:
    """The worker's loop: one step after another, each safe to run again.

    A silent provider does not hold up the other steps, but nothing is shredded before every provider was asked as
    often as it takes: then RetryLater, and this comes again.
    """
    waiting: set[UUID] = set()
    while (step := _next_step(running, waiting)) is not None:
        if waiting and step.kind in _FINAL:
            break
        running.keep()
        attempts = begin_step(step_id=step.id)
        try:
            if step.kind != "revoke_upstream":
                run_step(actor=running.actor, step_id=step.id)
            elif not _run_upstream(running.actor, step, last=attempts >= MAX_UPSTREAM_ATTEMPTS):
                waiting.add(step.id)
        except Conflict as conflict:
            if conflict.code != _SETTLED:
                raise
    if waiting:
        code = "upstream_not_confirmed"
        raise jobs.RetryLater(code)


def _next_step(running: jobs.Running, waiting: set[UUID]) -> OffboardingStep | None:
    with binding.reading():
        steps = OffboardingStep.objects.filter(offboarding_id=running.subject_id)
        step = steps.exclude(state__in=_FINISHED).exclude(id__in=waiting).order_by("position").first()
        total = steps.count() if step is None or step.position % PROGRESS_EVERY == 1 else 0
    if total:
        running.keep(done_steps=step.position - 1 if step else total - len(waiting), total_steps=total)
    return step


def _run_upstream(actor: Actor, step: OffboardingStep, *, last: bool) -> bool:
    ending = upstream.end_version(actor=actor, version_id=step.subject_id, last_attempt=last)
    if ending.retry:
        return False
    finish_upstream_step(actor=actor, step_id=step.id, note=ending.note, residual=not ending.confirmed)
    return True


def begin_step(*, step_id: UUID) -> int:
    """Count the attempt before any work, so that a step which kills its worker shows. Returns the attempts."""
    with transaction.atomic():
        step = OffboardingStep.objects.lock().get(id=step_id)
        step.attempts += 1
        step.state = _State.CALLING if step.kind == "revoke_upstream" else _State.RUNNING
        step.started_at = step.started_at or timezone.now()
        step.save(update_fields=["attempts", "state", "started_at"])
        return int(step.attempts)


@operation(
    "tenant.offboard_upstream_step",
    permission=Permission.JOB_RUN,
    events=("tenant.offboarding_step",),
    page=_WORKER,
    api=_WORKER,
)
def finish_upstream_step(*, actor: Actor, step_id: UUID, note: str, residual: bool) -> None:
    """Settle a step whose effect is at the provider. Raises Conflict when another worker did."""
    step = _lock_open(step_id)
    _settle(actor, step, _State.RESIDUAL if residual else _State.DONE, note)


@operation(
    "tenant.offboard_step",
    permission=Permission.JOB_RUN,
    events=(
        "key.revoked",
        "grant.ended",
        "consumer.ended",
        "tenant.keys_shredded",
        "tenant.offboarded",
        "tenant.offboarding_step",
    ),
    page=_WORKER,
    api=_WORKER,
)
def run_step(*, actor: Actor, step_id: UUID) -> None:
    """Do one local step: effect, event and state in this transaction. Raises Conflict when another worker did."""
    step = _lock_open(step_id)
    reason = RevocationReason(step.offboarding.reason)
    note = _STEPS[step.kind](actor, step, reason)
    _settle(actor, step, _State.DONE, note)


def _lock_open(step_id: UUID) -> OffboardingStep:
    step = OffboardingStep.objects.lock().select_related("offboarding").get(id=step_id)
    if step.state in _FINISHED:
        raise Conflict("The step is finished already.", code=_SETTLED)
    return step


def _settle(actor: Actor, step: OffboardingStep, state: OffboardingStep.State, note: str) -> None:
    step.state, step.finished_at, step.note = state, timezone.now(), note[:500]
    step.save(update_fields=["state", "finished_at", "note"])
    append(
        actor=actor,
        action="tenant.offboarding_step",
        target=Target("tenant", binding.get_tenant()),
        detail={"step": step.position, "kind": step.kind, "state": state.value, "attempts": step.attempts},
    )


def _revoke_key(actor: Actor, step: OffboardingStep, reason: RevocationReason) -> str:
    key = selectors.lock_key(step.subject_id)
    if key.state in selectors.ENDED_KEYS:
        return f"The key was {key.state} already."
    ended = [version.number for version in lifecycle.end_key(key, reason=reason)]
    detail = {"reason": reason.value, "versions": ended}
    append(actor=actor, action="key.revoked", target=Target("key", key.id), detail=detail)
    return f"Versions ended: {len(ended)}."


def _end_grant(actor: Actor, step: OffboardingStep, reason: RevocationReason) -> str:
    grant = Grant.objects.lock().get(id=step.subject_id)
    if grant.state != GrantState.ACTIVE:
        return "Ended with its key."
    grant.state, grant.ended_at, grant.end_reason = GrantState.REVOKED, timezone.now(), reason.value
    grant.save(update_fields=["state", "ended_at", "end_reason"])
    detail = {"grant": str(grant.id), "consumer": str(grant.consumer_id), "reason": reason.value}
    append(actor=actor, action="grant.ended", target=Target("key", grant.key_id), detail=detail)
    return "Ended."


def _end_consumer(actor: Actor, step: OffboardingStep, reason: RevocationReason) -> str:
    consumer = Consumer.objects.lock().get(id=step.subject_id)
    if consumer.state == Consumer.State.ENDED:
        return "Ended before."
    tokens = end_access(consumer)
    detail = {"reason": reason.value, "tokens": tokens, "grants": 0}
    append(actor=actor, action="consumer.ended", target=Target("consumer", consumer.id), detail=detail)
    return f"{tokens} tokens revoked."


def _shred(actor: Actor, _step: OffboardingStep, _reason: RevocationReason) -> str:
    statement = custody.shred()
    append(
        actor=actor,
        action="tenant.keys_shredded",
        target=Target("tenant", binding.get_tenant()),
        detail={"wrapper": statement.wrapper, "backups": statement.backups.value},
    )
    return statement.statement


def _close(actor: Actor, step: OffboardingStep, _reason: RevocationReason) -> str:
    now = timezone.now()
    Offboarding.objects.filter(id=step.offboarding_id).update(state=Offboarding.State.DONE, finished_at=now)
    residual = OffboardingStep.objects.filter(offboarding_id=step.offboarding_id, state=_State.RESIDUAL).count()
    move(actor=actor, to=TenantState.OFFBOARDED, event="tenant.offboarded", detail={"residuals": str(residual)})
    return "The tenant is offboarded." if not residual else f"The tenant is offboarded; {residual} steps need people."


_STEPS: Final = {
    "revoke_key": _revoke_key,
    "end_grant": _end_grant,
    "end_consumer": _end_consumer,
    "shred_keys": _shred,
    "close": _close,
}
