"""Answering an incident: settling its tasks, noting, moving it on, and ending it as contained or as a false alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, NotFound, Refused
from keys import selectors
from keys.models import Exposure, Incident, IncidentTask, KeyVersion
from keys.services import announcing, lifecycle, response, versions
from keys.states import INCIDENT_TRANSITIONS, IncidentState, KeyState, RevocationReason, TaskState, VersionState
from tenants import rules
from tenants.selectors import lock_tenant
from tenants.states import TenantState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from keys.models import Key

ENDINGS = (IncidentState.RESOLVED, IncidentState.CLOSED)


@operation(
    "incident.task_settle",
    permission=Permission.INCIDENT_RESPOND,
    events=("incident.task_settled",),
    page="keys:incident-task",
    api="api:incident-task",
)
def settle_task(*, actor: Actor, incident_id: UUID, task_id: UUID, state: str, note: str = "") -> IncidentTask:
    """Say that a task is done, or not needed for a reason. Raises NotFound, Conflict when it is settled already."""
    allowed = [TaskState.DONE.value, TaskState.NOT_NEEDED.value]
    to = TaskState(rules.require_choice(state, allowed, field="state"))
    text = rules.require_text(note, field="note", maximum=500, required=to is TaskState.NOT_NEEDED)
    incident = lock_incident(incident_id)
    own = IncidentTask.objects.filter(incident_id=incident.id, id=task_id)
    task = own.first()
    if task is None:
        raise NotFound
    if not response.settle(actor, own, to, note=text):
        raise Conflict("This task is settled already.", code="task_state")
    response.append_settled(actor, task, to, note=text)
    task.refresh_from_db()
    return task


@operation(
    "incident.note",
    permission=Permission.INCIDENT_RESPOND,
    events=("incident.noted",),
    page="keys:incident-note",
    api="api:incident-note",
)
def add_note(*, actor: Actor, incident_id: UUID, note: str) -> Incident:
    """Keep what somebody found out. It stands in the log's erasable side, and nowhere else."""
    text = rules.require_text(note, field="note", maximum=2000)
    incident = lock_incident(incident_id)
    _append(actor, incident, "incident.noted", note=text)
    return incident


@operation(
    "incident.move",
    permission=Permission.INCIDENT_RESPOND,
    events=("incident.moved",),
    page="keys:incident-move",
    api="api:incident-move",
)
def move(*, actor: Actor, incident_id: UUID, state: str, force: bool = False, note: str = "") -> Incident:
    """Take an incident to another state.

    Raises Conflict for a move that does not exist and while it is not decided what became of the suspicion, Refused for
    an end while tasks are open, unless forced with a reason.
    """
    to = IncidentState(rules.require_choice(state, [word.value for word in IncidentState], field="state"))
    text = rules.require_text(note, field="note", maximum=500, required=force)
    incident, _key = _lock_with_key(incident_id)
    _require_move(incident, to)
    left = incident.tasks.filter(state=TaskState.OPEN).count()
    if to in ENDINGS:
        if incident.exposure == Exposure.SUSPECTED and response.is_quarantined(incident.key_id):
            message = (
                "The credential is still only suspected: rotate it, confirm the exposure, or call it a false alarm."
            )
            raise Conflict(message, code="undecided")
        if left and not force:
            message = f"{left} tasks are open. Settle them, or go on without them for a reason."
            raise Refused(message, code="tasks_open", field="force")
    before = incident.state
    incident.state = to
    incident.closed_at = timezone.now() if to is IncidentState.CLOSED else None
    incident.save(update_fields=["state", "closed_at"])
    forced = bool(left) and to in ENDINGS
    _append(actor, incident, "incident.moved", {"from": before, "state": to.value, "forced": forced}, note=text)
    return incident


@operation(
    "incident.change_since",
    permission=Permission.INCIDENT_RESPOND,
    events=("incident.since_changed",),
    page="keys:incident-since",
    api="api:incident-since",
)
def change_since(*, actor: Actor, incident_id: UUID, suspected_since: datetime, note: str = "") -> Incident:
    """Look at uses from another moment on; consumers that this brings in get their task.

    They are told as well. Raises InvalidInput, Conflict when the incident is closed or nothing changes.
    """
    moment = response.check_since(suspected_since)
    text = rules.require_text(note, field="note", maximum=500, required=False)
    incident, key = _lock_with_key(incident_id)
    if incident.state == IncidentState.CLOSED or moment == incident.suspected_since:
        message = "The incident is closed." if incident.closed_at else "This is the moment that it has already."
        raise Conflict(message, code="nothing_to_change")
    before, incident.suspected_since = incident.suspected_since, moment
    incident.save(update_fields=["suspected_since"])
    if incident.exposure == Exposure.CONFIRMED:
        response.add_replacements(incident)
    if incident.is_open:
        _tell_again(key, incident)
    detail = {"before": _written(before), "since": _written(moment)}
    _append(actor, incident, "incident.since_changed", detail, note=text)
    return incident


@operation(
    "incident.confirm",
    permission=Permission.KEY_COMPROMISE,
    events=("incident.confirmed",),
    page="keys:incident-confirm",
    api="api:incident-confirm",
)
def confirm(*, actor: Actor, incident_id: UUID, note: str = "") -> Incident:
    """After a rotation: the versions that were suspected are compromised and never come back; the key stays.

    Raises Conflict when nothing is suspected any more, or the key's current version is one of them: then the whole key
    is compromised.
    """
    text = rules.require_text(note, field="note", maximum=500, required=False)
    incident, key = _lock_with_key(incident_id)
    if incident.exposure != Exposure.SUSPECTED or not incident.is_open:
        raise Conflict("Nothing waits to be confirmed here.", code="incident_state")
    if response.is_quarantined(key.id):
        message = (
            "Consumers would still get this version. Rotate the key first, or report the whole key as compromised."
        )
        raise Conflict(message, code="in_quarantine")
    exposed = KeyVersion.objects.filter(key_id=key.id, number__in=incident.versions).order_by("number")
    ended = [each for each in exposed if each.state not in {VersionState.COMPROMISED, VersionState.DESTROYED}]
    for version in ended:
        versions.end(version, reason=RevocationReason.KEY_COMPROMISE, compromised=True)
        lifecycle.enqueue_upstream(version)
    incident.exposure, incident.reason = Exposure.CONFIRMED.value, RevocationReason.KEY_COMPROMISE.value
    incident.save(update_fields=["exposure", "reason"])
    response.make_tasks(incident, ended)
    announcing.tell_confirmed(key, incident, response.list_consumers(incident))
    _append(actor, incident, "incident.confirmed", {"versions": [each.number for each in ended]}, note=text)
    return incident


@operation(
    "incident.dismiss",
    permission=Permission.KEY_RESUME,
    events=("incident.dismissed",),
    page="keys:incident-dismiss",
    api="api:incident-dismiss",
)
def dismiss(*, actor: Actor, incident_id: UUID, note: str) -> Incident:
    """Close a suspicion as a false alarm: what it quarantined serves again, unless something else speaks against it.

    Raises Conflict when the exposure is confirmed or the incident has ended.
    """
    text = rules.require_text(note, field="note", maximum=500)
    is_served = lock_tenant().state == TenantState.ACTIVE
    incident, key = _lock_with_key(incident_id)
    if incident.exposure != Exposure.SUSPECTED or not incident.is_open:
        raise Conflict("Only a suspicion that is at work can be a false alarm.", code="incident_state")
    # Looked at first: once another version is in place, whoever suspended the key since then meant something else.
    is_held = incident.was_active and response.is_quarantined(key.id)
    suspected = KeyVersion.objects.filter(key_id=key.id, exposure=Exposure.SUSPECTED)
    suspected.update(exposure=Exposure.NONE)
    released = is_served and is_held and lifecycle.release(key)
    response.settle(actor, IncidentTask.objects.filter(incident_id=incident.id), TaskState.NOT_NEEDED)
    incident.state, incident.is_false_alarm, incident.closed_at = IncidentState.CLOSED, True, timezone.now()
    incident.save(update_fields=["state", "is_false_alarm", "closed_at"])
    is_usable = is_served and key.state == KeyState.ACTIVE
    announcing.tell_released(key, incident, response.list_consumers(incident), active=is_usable)
    _append(actor, incident, "incident.dismissed", {"key": str(key.id), "resumed": released}, note=text)
    return incident


def lock_incident(incident_id: UUID) -> Incident:
    """The incident, locked until the transaction ends. Raises NotFound."""
    incident = Incident.objects.lock().filter(id=incident_id).first()
    if incident is None:
        raise NotFound
    return incident


def _lock_with_key(incident_id: UUID) -> tuple[Incident, Key]:
    """Both, the key first, as every change of a key does."""
    key_id = Incident.objects.filter(id=incident_id).values_list("key_id", flat=True).first()
    if key_id is None:
        raise NotFound
    key = selectors.lock_key(key_id)
    return lock_incident(incident_id), key


def _tell_again(key: Key, incident: Incident) -> None:
    """Nobody hears the same thing twice, so this reaches those that another moment has brought in."""
    concerned = response.list_consumers(incident)
    if incident.exposure == Exposure.SUSPECTED:
        if response.is_quarantined(key.id):
            announcing.tell_quarantined(key, incident, concerned)
    elif key.state == KeyState.COMPROMISED:
        announcing.tell_compromised(key, concerned)
    else:
        announcing.tell_confirmed(key, incident, concerned)


def _require_move(incident: Incident, to: IncidentState) -> None:
    if to not in INCIDENT_TRANSITIONS[IncidentState(incident.state)]:
        words = to.value.replace("_", " ")
        raise Conflict(
            f"The incident is {incident.get_state_display().lower()}; it cannot become {words}.", code="incident_state"
        )
    other = response.find_open(incident.key_id)
    if to not in ENDINGS and other is not None and other.id != incident.id:
        raise Conflict("Another incident about this key is at work.", code="incident_open")


def _append(
    actor: Actor, incident: Incident, action: str, detail: Mapping[str, object] | None = None, *, note: str = ""
) -> None:
    target = Target("incident", incident.id)
    append(actor=actor, action=action, target=target, detail=dict(detail or {}), private={"note": note})


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
