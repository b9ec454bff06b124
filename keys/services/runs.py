"""Opening the run of an offboarding and writing its steps, set-based, in the caller's transaction. Ends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding, jobs
from byok_portal.errors import Conflict, InvalidInput, NotFound
from keys import endings
from tenants.models import Offboarding, OffboardingStep
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

ADVANCE: Final = "tenant.offboard"
MAX_ATTEMPTS: Final = 50
FINAL: Final = ("destroy_version", "shred_keys", "close")
"""Only when every provider was asked as often as it takes."""

_REVOKE: Final = """
SELECT 1 AS part, k.created_at AS at, 'revoke_key' AS kind, k.id AS id, 'Revoke ' || k.name || ' here' AS label
FROM keys_key k WHERE k.tenant_id = %(tenant)s AND k.state NOT IN ('revoked', 'compromised') AND {keys}
UNION ALL
SELECT 2, v.created_at, 'revoke_upstream', v.id, 'Revoke ' || k.name || ' version ' || v.number || ' at the provider'
FROM keys_keyversion v JOIN keys_key k ON k.tenant_id = v.tenant_id AND k.id = v.key_id
WHERE v.tenant_id = %(tenant)s AND v.state <> 'destroyed' AND v.upstream_status <> 'revoked_confirmed' AND {keys}
  AND EXISTS (SELECT FROM keys_material m WHERE m.tenant_id = v.tenant_id AND m.version_id = v.id)
"""
_CONSUMERS: Final = """
UNION ALL
SELECT 4, c.created_at, 'end_consumer', c.id, 'End the access of ' || c.name
FROM tenants_consumer c WHERE c.tenant_id = %(tenant)s AND c.state = 'active' AND {consumers}
"""
_CLOSE: Final = """
UNION ALL
SELECT 9, now(), 'close', %(subject)s::uuid, '{label}'
"""
_PROJECT: Final = {"keys": "k.project_id = %(subject)s", "consumers": "c.project_id = %(subject)s"}
_STEPS: Final = {
    SubjectKind.TENANT: _REVOKE.format(keys="true")
    + _CONSUMERS.format(consumers="true")
    + """
UNION ALL SELECT 8, now(), 'shred_keys', %(subject)s::uuid, 'Destroy the tenant''s data keys and ciphertext'
"""
    + _CLOSE.format(label="Close the tenant"),
    SubjectKind.PROJECT: _REVOKE.format(**_PROJECT)
    + """
UNION ALL
SELECT 3, g.created_at, 'end_grant', g.id, 'End the grant of ' || c.name || ' on ' || k.name
FROM keys_grant g JOIN tenants_consumer c ON c.tenant_id = g.tenant_id AND c.id = g.consumer_id
JOIN keys_key k ON k.tenant_id = g.tenant_id AND k.id = g.key_id
WHERE g.tenant_id = %(tenant)s AND g.state = 'active' AND c.project_id = %(subject)s
  AND k.project_id IS DISTINCT FROM %(subject)s
"""
    + _CONSUMERS.format(**_PROJECT)
    + """
UNION ALL
SELECT 7, v.created_at, 'destroy_version', v.id, 'Destroy the ciphertext of ' || k.name || ' version ' || v.number
FROM keys_keyversion v JOIN keys_key k ON k.tenant_id = v.tenant_id AND k.id = v.key_id
WHERE v.tenant_id = %(tenant)s AND v.state <> 'destroyed' AND k.project_id = %(subject)s
"""
    + _CLOSE.format(label="Close the project"),
    SubjectKind.CONSUMER: """
SELECT 9 AS part, now() AS at, 'close' AS kind, %(subject)s::uuid AS id, 'Close the run' AS label
""",
    SubjectKind.OWNER: """
SELECT 6 AS part, now() AS at, 'end_sessions' AS kind, %(subject)s::uuid AS id, 'End the sessions' AS label
"""
    + _CLOSE.format(label="Close the run"),
}
_INSERT: Final = """
INSERT INTO tenants_offboardingstep (id, tenant_id, created_at, offboarding_id, position, kind, subject_id, label,
  instruction, state, attempts, note, event_ids, settled_note)
SELECT gen_random_uuid(), %(tenant)s, now(), %(run)s, %(base)s + row_number() OVER (ORDER BY s.part, s.at, s.id),
  s.kind, s.id, left(s.label, 200), '', 'pending', 0, '', '{{}}', ''
FROM ({steps}) s WHERE NOT EXISTS (
  SELECT FROM tenants_offboardingstep o
  WHERE o.tenant_id = %(tenant)s AND o.offboarding_id = %(run)s AND o.kind = s.kind AND o.subject_id = s.id)
"""


def refuse_changed(kind: SubjectKind, subject_id: UUID, digest: str | None) -> None:
    """Raises Conflict when what would end is not what was shown. None: nothing was shown, as for the clock."""
    if digest is not None and digest != endings.digest_of(kind, subject_id):
        message = "What would end has changed since the plan was shown. Look at it again."
        raise Conflict(message, code="plan_changed")


def require_confirmation(typed: str, expected: str, *, what: str) -> None:
    """Raises InvalidInput unless the name of what ends was typed."""
    if typed != expected:
        raise InvalidInput(f"Confirmation must repeat the {what}.", code="not_confirmed", field="confirmation")


def open_run(  # the six things that make a run
    actor: Actor,
    kind: SubjectKind,
    subject_id: UUID,
    *,
    reason: str,
    note: str = "",
    digest: str | None = None,
    requested_at: datetime | None = None,
    automatic: bool = False,
) -> Offboarding:
    """The row, and the worker's job. Raises Conflict when the subject's offboarding runs already."""
    if Offboarding.objects.filter(subject_kind=kind, subject_id=subject_id, state=Offboarding.State.RUNNING).exists():
        raise Conflict("An offboarding of this runs already.", code="offboarding_runs")
    run: Offboarding = Offboarding.objects.create(
        subject_kind=kind,
        subject_id=subject_id,
        reason=reason,
        note=note,
        started_by_id=actor.id,
        started_by_kind=actor.kind.value,
        is_automatic=automatic,
        plan_digest=digest or "",
        requested_at=requested_at or timezone.now(),
    )
    jobs.enqueue(ADVANCE, subject_id=run.id, max_attempts=MAX_ATTEMPTS)
    return run


def write_plan(run: Offboarding) -> int:
    """Write the steps of a locked run that it lacks, in order, in one statement. Returns how many."""
    last = OffboardingStep.objects.filter(offboarding_id=run.id).order_by("-position").first()
    values: dict[str, Any] = {
        "tenant": run.tenant_id,
        "run": run.id,
        "subject": run.subject_id,
        "base": last.position if last else 0,
    }
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_INSERT.format(steps=_STEPS[SubjectKind(run.subject_kind)]), values)
        written: int = cursor.rowcount
    return written


def lock(run_id: UUID) -> Offboarding:
    """The run, locked until the transaction ends; before its steps, or two who lock both could deadlock."""
    run = Offboarding.objects.lock().filter(id=run_id).first()
    if run is None:
        raise NotFound
    return run


def plan(actor: Actor, run_id: UUID) -> bool:
    """Write the steps of a run once, with their event. False when somebody did before."""
    run = lock(run_id)
    if run.planned_at is not None:
        return False
    flagged = add_flags(run)
    steps = flagged + write_plan(run)
    run.planned_at = timezone.now()
    event = append(
        actor=actor,
        action="offboarding.planned",
        target=target_of(run),
        detail={"run": str(run.id), "steps": steps, "digest": run.plan_digest},
    )
    run.event_ids = [*run.event_ids, event]
    run.plan = endings.count(SubjectKind(run.subject_kind), run.subject_id)
    run.save(update_fields=["planned_at", "event_ids", "plan"])
    return True


def add_flags(run: Offboarding) -> int:
    """A step for each version that stays and may have been kept: a lease is plaintext that left the house.

    Comes before the consumers of the run end. Returns how many.
    """
    leased = endings.list_leased(SubjectKind(run.subject_kind), run.subject_id)
    rows = [
        {
            "kind": "flag_rotation",
            "subject_id": version.id,
            "label": f"Have {version.key.name} rotated: version {version.number} could be leased",
            "state": OffboardingStep.State.PENDING,
            "attempts": 0,
            "started_at": None,
            "finished_at": None,
        }
        for version in leased
    ]
    add_settled(run, rows)
    return len(rows)


def add_settled(run: Offboarding, rows: Sequence[dict[str, Any]]) -> None:
    """Steps in front of those of the plan: done by the starting commit itself, unless a row says otherwise."""
    now = timezone.now()
    first = OffboardingStep.objects.filter(offboarding_id=run.id).count()
    OffboardingStep.objects.bulk_create(
        [
            OffboardingStep(
                tenant_id=run.tenant_id,
                offboarding=run,
                position=first + number,
                **{
                    "state": OffboardingStep.State.DONE,
                    "attempts": 1,
                    "started_at": now,
                    "finished_at": now,
                    **row,
                    "label": row["label"][:200],
                },
            )
            for number, row in enumerate(rows, start=1)
        ],
        batch_size=500,
    )


def finish_planning(run: Offboarding, events: Sequence[UUID], counts: dict[str, int]) -> None:
    """For a run whose steps are written in the starting commit, under the event of that."""
    write_plan(run)
    run.planned_at, run.event_ids, run.plan = timezone.now(), [*events], counts
    run.save(update_fields=["planned_at", "event_ids", "plan"])


def target_of(run: Offboarding) -> Target:
    """What the run's events are about."""
    kind = "person" if run.subject_kind == SubjectKind.OWNER else str(run.subject_kind)
    return Target(kind, run.subject_id)
