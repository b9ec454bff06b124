"""Opens incidents and makes their tasks, in the transaction of the change that calls for one. Declares no operation.

What it reads are facts of the bound tenant alone: that another tenant has the same credential is a finding, not a task.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from django.db.models import Max, Q
from django.utils import timezone

from audit.models import UsageDay
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.errors import Conflict, InvalidInput
from keys import selectors
from keys.models import Exposure, Grant, Incident, IncidentTask, KeyVersion, UpstreamStatus
from keys.models.incidents import OPEN_STATES
from keys.states import RevocationReason, TaskKind, TaskState, VersionState
from tenants.models import Consumer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from byok_portal.boundary.actors import Actor
    from keys.models import Key

MAX_LOOK_BACK: Final = timedelta(days=3 * 366)
_MOST: Final = 200
"""Consumers and keys that get a task each; more than that are one matter."""


def find_open(key_id: UUID, *, lock: bool = False) -> Incident | None:
    """The incident about the key that is at work; locked for who will write it."""
    incidents = Incident.objects.lock() if lock else Incident.objects.all()
    return incidents.filter(key_id=key_id, state__in=OPEN_STATES).first()


def open_incident(
    actor: Actor,
    key: Key,
    *,
    versions: Iterable[KeyVersion],
    reason: RevocationReason,
    exposure: Exposure,
    since: datetime | None,
    summary: str,
    was_active: bool = False,
) -> Incident:
    """The incident of a locked key: a new one, or the one at work, which a confirmation makes worse.

    Raises InvalidInput for a moment that has not come.
    """
    moment = check_since(since)
    incident = find_open(key.id, lock=True)
    numbers = {version.number for version in versions}
    is_new = incident is None
    if incident is None:
        incident = Incident(
            key=key,
            was_active=was_active,
            opened_by_kind=actor.kind.value,
            opened_by_id=actor.id,
            versions=[],
            suspected_since=moment,
        )
    incident.exposure, incident.reason = exposure.value, reason.value
    incident.versions = sorted(numbers | set(incident.versions))
    incident.suspected_since = min(incident.suspected_since, moment)
    incident.summary = summary or incident.summary
    incident.save(update_fields=None if is_new else ["exposure", "reason", "versions", "suspected_since", "summary"])
    return incident


def add_version(actor: Actor, key: Key, version: KeyVersion, *, since: datetime) -> Incident:
    """A version of a locked, compromised key that came to light after its end: one more of the incident at work.

    A new incident when that one has ended.
    """
    incident = find_open(key.id, lock=True)
    if incident is None:
        why, confirmed = RevocationReason.KEY_COMPROMISE, Exposure.CONFIRMED
        incident = open_incident(
            actor, key, versions=[version], reason=why, exposure=confirmed, since=since, summary=""
        )
    else:
        incident.versions = sorted({*incident.versions, version.number})
        incident.save(update_fields=["versions"])
    make_tasks(incident, [version])
    return incident


def forget_hold(key_id: UUID) -> None:
    """Another version is in place: calling the suspicion a false alarm resumes nothing any more."""
    Incident.objects.filter(key_id=key_id, was_active=True, state__in=OPEN_STATES).update(was_active=False)


def make_tasks(incident: Incident, ended: Iterable[KeyVersion] = ()) -> None:
    """What the facts ask for, and nothing twice. `ended`: versions whose death the provider must confirm."""
    confirmed = incident.exposure == Exposure.CONFIRMED
    for version in ended:
        # Read anew: the row is locked by its end, and a worker may have confirmed a death just before.
        version.refresh_from_db(fields=["upstream_status"])
        if version.upstream_status != UpstreamStatus.REVOKED_CONFIRMED:
            _add(incident, TaskKind.REVOKE_UPSTREAM, version.id, str(version.number))
    _add(incident, TaskKind.ROTATE)
    if confirmed:
        add_replacements(incident)
    _add(incident, TaskKind.REVIEW_USES)
    for other in list_same_credential(incident):
        _add(incident, TaskKind.CHECK_KEY, other.key_id, other.key.name)
    _add(incident, TaskKind.TELL)


def add_replacements(incident: Incident) -> None:
    """A task for each consumer that could use the key since the suspected moment, or tried to."""
    names = Consumer.objects.filter(id__in=list_consumers(incident)).order_by("name").values_list("id", "name")
    for consumer_id, name in names[:_MOST]:
        _add(incident, TaskKind.REPLACE, consumer_id, name)


def list_consumers(incident: Incident) -> set[UUID]:
    """Consumers with a grant that was live since the suspected moment, and those that used the key since that day."""
    granted = set(list_grants(incident).values_list("consumer_id", flat=True))
    day = incident.suspected_since.astimezone(UTC).date()
    used = UsageDay.objects.filter(tenant_id=binding.get_tenant(), key_id=incident.key_id, day__gte=day, allowed__gt=0)
    return granted | set(used.values_list("consumer_id", flat=True).distinct())


def list_grants(incident: Incident) -> QuerySet[Grant]:
    """Grants on the key that were live at some moment since the suspected one, with their consumers."""
    since = incident.suspected_since
    # The end of a key is written on grants that the clock had ended before, too.
    live = Q(ended_at__isnull=True) | Q(ended_at__gte=since)
    return (
        Grant.objects.filter(live, key_id=incident.key_id, expires_at__gte=since)
        .select_related("consumer")
        .order_by("consumer__name")
    )


def list_same_credential(incident: Incident) -> QuerySet[KeyVersion]:
    """Versions of the tenant's other keys that hold what is exposed here."""
    own = KeyVersion.objects.filter(key_id=incident.key_id, number__in=incident.versions)
    same = KeyVersion.objects.filter(fingerprint__in=own.values_list("fingerprint", flat=True))
    return same.exclude(key_id=incident.key_id).select_related("key").order_by("key__name", "number")[:_MOST]


def settle(actor: Actor, tasks: QuerySet[IncidentTask], state: TaskState, *, note: str = "") -> int:
    """Write that these open tasks are settled. Returns how many were open."""
    return tasks.filter(state=TaskState.OPEN).update(
        state=state,
        settled_at=timezone.now(),
        settled_by_kind=actor.kind.value,
        settled_by_id=actor.id,
        note=note,
    )


def settle_upstream(actor: Actor, version: KeyVersion) -> None:
    """A provider has confirmed that a version is dead: its tasks are done, each with an entry, in the same commit."""
    waiting = IncidentTask.objects.filter(
        kind=TaskKind.REVOKE_UPSTREAM, subject_id=version.id, state=TaskState.OPEN
    ).order_by("id")
    for task in waiting:
        settle(actor, IncidentTask.objects.filter(id=task.id), TaskState.DONE)
        append_settled(actor, task, TaskState.DONE)


def append_settled(actor: Actor, task: IncidentTask, state: TaskState, *, note: str = "") -> None:
    """The entry of a settled task."""
    append(
        actor=actor,
        action="incident.task_settled",
        target=Target("incident", task.incident_id),
        detail={"task": str(task.id), "kind": task.kind, "about": str(task.subject_id or ""), "state": state.value},
        private={"note": note},
    )


def mark(key: Key, exposure: Exposure) -> list[KeyVersion]:
    """Write on the versions that can still be used whether strangers may know them. Returns them."""
    live = list(selectors.list_versions(key.id).filter(state__in=selectors.LIVE))
    for version in live:
        version.exposure = exposure.value
        version.save(update_fields=["exposure"])
    return live


def is_quarantined(key_id: UUID) -> bool:
    """Whether the version that consumers would get, or got until it expired, may be known to strangers.

    An expired one stays the key's version until it is replaced or the key ends.
    """
    version = selectors.find_current(key_id) or selectors.find_expired(key_id)
    if version is None or version.exposure != Exposure.SUSPECTED:
        return False
    return version.state != VersionState.EXPIRED or version.key.state not in selectors.ENDED_KEYS


def refuse_quarantined(key: Key) -> None:
    """Raises Conflict: a suspected version comes back by a false alarm alone, never by resuming."""
    if is_quarantined(key.id):
        message = "The key is in quarantine. Close its incident as a false alarm, or rotate it first."
        raise Conflict(message, code="in_quarantine")


def check_since(since: datetime | None) -> datetime:
    """The moment, now for None. Raises InvalidInput for one to come, or years ago."""
    now = timezone.now()
    moment = since or now
    if not now - MAX_LOOK_BACK <= moment <= now + timedelta(minutes=5):
        rule = "Suspected since: a moment in the last three years."
        raise InvalidInput(rule, code="out_of_range", field="suspected_since")
    return min(moment, now)


def _add(incident: Incident, kind: TaskKind, subject_id: UUID | None = None, label: str = "") -> None:
    last = incident.tasks.aggregate(last=Max("position"))["last"] or 0
    IncidentTask.objects.get_or_create(
        incident=incident, kind=kind.value, subject_id=subject_id, defaults={"position": last + 1, "label": label[:120]}
    )
