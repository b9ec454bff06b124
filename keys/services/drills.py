"""Rehearsing an end on a canary key: flagging canaries, starting drills and scheduling them. `drilling` runs them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from django.db import connections
from django.utils import timezone

from audit.models import UsageDay
from audit.services.recording import Target, append
from byok_portal.boundary import binding, jobs
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, Forbidden, InvalidInput, NotFound, Refused
from keys import canaries, selectors
from keys.models import Drill, DrillSchedule, Grant, Key
from keys.providers import find_succession
from keys.services import announcing
from keys.services.catalogue import entry_of
from keys.states import DrillKind, DrillState, GrantState, KeyState
from tenants import rules
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet

    from byok_portal.boundary.actors import Actor

RUN: Final = "drill.run"
TARGET_MS: Final = 1_000
_MONTHS: Final = {"monthly": 1, "quarterly": 3}
_NO_CANARY: Final = "no_canary"
IDLE: Final = timedelta(days=30)
"""For how long nobody may have used a key that becomes a canary."""
_NEEDS: Final = {DrillKind.REVOCATION: Permission.KEY_REVOKE, DrillKind.ROTATION: Permission.KEY_ROTATE}
"""What a drill does for real, whoever wants it must be allowed to do. A schedule acts with its setter's rights."""
_CLOCK: Final = Absent("the clock starts what a schedule asks for; people start a drill with drill.start")


@operation(
    "key.set_canary",
    permission=Permission.DRILL_RUN,
    events=("key.canary_set",),
    page="keys:canary",
    api="api:key-canary",
)
def set_canary(*, actor: Actor, key_id: UUID, is_canary: bool) -> Key:
    """Flag a key as a canary, or take the flag away: from then on any use of it outside a drill calls its owners.

    Raises Conflict when it has ended or is flagged so already, Refused while somebody has a reason to use it. A flag
    lets drills end and rotate the key, so setting it raises Forbidden for who may not do both.
    """
    key = selectors.lock_key(key_id)
    if is_canary:
        _require_rights(actor, *DrillKind)
    if key.state in selectors.ENDED_KEYS or key.is_canary == is_canary:
        raise Conflict("The key has ended, or the flag is as you want it already.", code="key_state")
    if is_canary:
        _require_idle(key)
    key.is_canary = is_canary
    key.save(update_fields=["is_canary"])
    append(actor=actor, action="key.canary_set", target=Target("key", key.id), detail={"is_canary": is_canary})
    return key


@operation(
    "drill.start",
    permission=Permission.DRILL_RUN,
    events=("drill.started",),
    page="keys:drill-start",
    api="api:drills",
)
def start(*, actor: Actor, kind: str, key_id: UUID, target_ms: int = TARGET_MS) -> Drill:
    """Rehearse on a canary key now; a worker runs it. A revocation drill really ends the key.

    Raises Forbidden for who may not revoke or rotate keys, as the kind does; InvalidInput for a key that is no active
    canary, Refused when its provider makes no successors (rotation), Conflict while another drill runs on it.
    """
    require_active()
    chosen = DrillKind(rules.require_choice(kind, [word.value for word in DrillKind], field="kind"))
    _require_rights(actor, chosen)
    target = rules.require_number(target_ms, field="target_ms", minimum=1, maximum=60_000)
    key = _lock_canary(key_id)
    obstacle = find_obstacle(key) if chosen is DrillKind.ROTATION else ""
    if obstacle:
        raise Refused(f"Nothing can rotate this key by itself. {obstacle}", code="not_assisted", field="kind")
    return _plan(actor, Drill(kind=chosen, key=key, target_ms=target, started_by_id=actor.id))


@operation(
    "drill.schedule",
    permission=Permission.DRILL_RUN,
    events=("drill.scheduled",),
    page="keys:drill-schedule",
    api="api:drill-schedules",
)
def schedule(*, actor: Actor, kind: str, every: str = "", first_on: date | None = None) -> DrillSchedule:
    """Have one kind of drill run every month or quarter from a day on; an empty `every` stops it.

    A day that was served already is not served again. Raises InvalidInput, Forbidden as `start`, Conflict when there
    is nothing to stop.
    """
    require_active()
    chosen = DrillKind(rules.require_choice(kind, [word.value for word in DrillKind], field="kind"))
    row = DrillSchedule.objects.lock().filter(kind=chosen).first()
    if not every:
        if row is None or not row.is_active:
            raise Conflict("No such drill is scheduled.", code="not_scheduled")
        row.is_active = False
    else:
        _require_rights(actor, chosen)
        word, first = rules.require_choice(every, list(_MONTHS), field="every"), _first_day(first_on)
        row = row or DrillSchedule(kind=chosen)
        while Drill.objects.filter(schedule_id=row.id, due_on__gte=first).exists():
            first = add_months(first, _MONTHS[word])
        row.every, row.next_on, row.is_active = word, first, True
    row.set_by_id = actor.id
    row.save()
    append(
        actor=actor,
        action="drill.scheduled",
        target=Target("tenant", binding.get_tenant()),
        detail={"kind": chosen.value, "every": row.every if row.is_active else "", "next_on": str(row.next_on)},
    )
    return row


@operation("drill.clock_start", permission=Permission.JOB_RUN, events=("drill.started",), page=_CLOCK, api=_CLOCK)
def start_scheduled(*, actor: Actor, schedule_id: UUID) -> Drill:
    """Start the drill of a schedule whose day has come, on its oldest canary; one for all days that were missed.

    Without a canary the drill has failed, and says so. Raises Conflict when the day was served.
    """
    row = DrillSchedule.objects.lock().get(id=schedule_id)
    today = timezone.now().date()
    if not row.is_active or row.next_on > today:
        raise Conflict("The drill is not due.", code="not_due")
    due_on = row.next_on
    while row.next_on <= today:
        row.next_on = add_months(row.next_on, _MONTHS[row.every])
    row.save(update_fields=["next_on"])
    key = _find_canary(DrillKind(row.kind))
    return _plan(
        actor,
        Drill(kind=row.kind, key=key, schedule=row, due_on=due_on, target_ms=TARGET_MS, started_by_id=row.set_by_id),
    )


def list_drills() -> QuerySet[Drill]:
    """Drills of the bound tenant, newest first."""
    return Drill.objects.select_related("key").order_by("-created_at", "-id")


def get(drill_id: UUID) -> Drill:
    """One drill of the bound tenant. Raises NotFound."""
    found = list_drills().filter(id=drill_id).first()
    if found is None:
        raise NotFound
    return found


def list_schedules() -> QuerySet[DrillSchedule]:
    """What is rehearsed by the clock."""
    return DrillSchedule.objects.filter(is_active=True).order_by("kind")


def list_due(limit: int = 500) -> list[tuple[UUID, UUID]]:
    """(tenant, schedule) whose day has come."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id, id FROM directory_due_drills(%s, %s)", [timezone.now().date(), limit])
        return [(row[0], row[1]) for row in cursor.fetchall()]


def find_obstacle(key: Key) -> str:
    """Why its provider will make no successor when the portal asks, as far as is known; empty otherwise."""
    succession, proof = find_succession(entry_of(key.provider)), selectors.find_proof(key.id)
    if succession is None:
        return f"{key.provider.name} makes no successors when asked."
    return succession.foresee(proof.evidence) if proof is not None else ""


def add_months(day: date, months: int) -> date:
    """The same day some months later; the 28th at the latest, so that it exists in every month."""
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, min(day.day, 28))


def _require_rights(actor: Actor, *kinds: DrillKind) -> None:
    for kind in kinds:
        needed = _NEEDS.get(kind)
        if needed is not None and not actor.permits(needed, binding.get_tenant()):
            message = f"A drill of {kind.value} needs the permission {needed.value} too."
            raise Forbidden(message)


def _require_idle(key: Key) -> None:
    """What ends with a canary must be missed by nobody. What drills themselves did with it does not count."""
    now = timezone.now()
    drilled = list(Drill.objects.filter(key_id=key.id, consumer__isnull=False).values_list("consumer_id", flat=True))
    granted = Grant.objects.filter(key_id=key.id, state=GrantState.ACTIVE, expires_at__gt=now)
    used = UsageDay.objects.filter(tenant_id=binding.get_tenant(), key_id=key.id, last_allowed_at__gt=now - IDLE)
    if granted.exists() or used.exclude(consumer_id__in=drilled).exists():
        message = f"Somebody may use this key, or did in the last {IDLE.days} days: a drill would end it for them."
        raise Refused(message, code="key_in_use")


def _first_day(day: date | None) -> date:
    today = timezone.now().date()
    first = day or today
    if not today <= first <= add_months(today, 12):
        raise InvalidInput("First on: from today to a year ahead.", code="out_of_range", field="first_on")
    return first


def _lock_canary(key_id: UUID) -> Key:
    key = Key.objects.lock().select_related("provider").filter(id=key_id).first()
    if key is None or not key.is_canary or key.state != KeyState.ACTIVE:
        raise InvalidInput("Key must be an active canary key of this tenant.", code="not_a_canary", field="key")
    if Drill.objects.filter(key_id=key.id, finished_at=None).exists():
        raise Conflict("Another drill runs on this key.", code="drill_running")
    return key


def _find_canary(kind: DrillKind) -> Key | None:
    busy = Drill.objects.filter(finished_at=None, key__isnull=False).values("key_id")
    free = canaries.list_canaries().filter(state=KeyState.ACTIVE).exclude(id__in=busy)
    return next((key for key in free if kind is not DrillKind.ROTATION or not find_obstacle(key)), None)


def _plan(actor: Actor, drill: Drill) -> Drill:
    if drill.key is None:
        drill.state, drill.code, drill.finished_at = DrillState.FAILED, _NO_CANARY, timezone.now()
    drill.save(force_insert=True)
    if drill.key is None:
        announcing.tell_drill_failed(drill)
    else:
        jobs.enqueue(RUN, subject_id=drill.id, max_attempts=200)
    append(
        actor=actor,
        action="drill.started",
        target=Target("drill", drill.id),
        detail={
            "kind": str(drill.kind),
            "key": str(drill.key_id or ""),
            "due_on": str(drill.due_on or ""),
            "code": drill.code,
        },
    )
    return drill
