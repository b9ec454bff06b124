"""The report of an incident as one statement: JSON values only, people by id and role, no address of anybody.

An issued one stays for ever, so it must never hold what somebody wrote freely: it names the entries where that stands.

The page and the download render this one dict, and the log can carry its hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from keys import blast, incident_timeline
from keys.models import Key, KeyVersion
from keys.redaction import scrub
from tenants.models import Consumer, Membership
from tenants.selectors import get_tenant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from audit.models import Entry
    from keys.models import Incident

FORMAT: Final = "byok.incident-report/1"


@dataclass(frozen=True, slots=True)
class Report:
    """The statement, and the events of the log that it rests on."""

    statement: dict[str, Any]
    events: list[UUID]


def build(incident: Incident) -> Report:
    """The report as things stand now. For whoever may read the log."""
    key = Key.objects.select_related("provider").get(id=incident.key_id)
    radius, entries = blast.read_radius(incident), incident_timeline.list_entries(incident)
    who = _Who(incident, key, entries)
    statement = {
        "format": FORMAT,
        "made_at": _written(timezone.now()),
        "tenant": _tenant(),
        "incident": _incident(incident, who, entries),
        "key": _key(key, who),
        "versions": [_version(each, incident) for each in _versions(incident)],
        "blast_radius": _radius(radius),
        "tasks": _tasks(incident, who),
        "timeline": [_step(entry, who) for entry in entries],
    }
    shown = [event for each in radius.uses for event in (each.first[1], each.last[1])]
    events = [entry.event_id for entry in entries] + shown
    return Report(scrub(statement), list(dict.fromkeys(events)))


class _Who:
    """People by id and role, workloads by id and name."""

    def __init__(self, incident: Incident, key: Key, entries: Iterable[Entry]) -> None:
        owners = {key.owner_id, *([key.backup_owner_id] if key.backup_owner_id else [])}
        wanted: set[UUID] = {incident.opened_by_id, *owners, *(entry.actor_id for entry in entries)}
        self.roles = dict(Membership.objects.filter(user_id__in=wanted).values_list("user_id", "role"))
        self.names = dict(Consumer.objects.filter(id__in=wanted).values_list("id", "name"))

    def describe(self, kind: str, identifier: UUID | None) -> dict[str, Any] | None:
        """One actor; None for nobody."""
        if identifier is None:
            return None
        known: dict[str, Any] = {"kind": kind, "id": str(identifier)}
        if kind == "person":
            known["role"] = self.roles.get(identifier, "former member")
        elif kind == "consumer":
            known["name"] = self.names.get(identifier, "")
        return known


def _tenant() -> dict[str, Any]:
    tenant = get_tenant()
    return {"id": str(tenant.id), "slug": tenant.slug, "name": tenant.name}


def _incident(incident: Incident, who: _Who, entries: Iterable[Entry]) -> dict[str, Any]:
    declared = [entry.event_id for entry in entries if entry.detail.get("incident") == str(incident.id)]
    return {
        "id": str(incident.id),
        "state": incident.state,
        "exposure": incident.exposure,
        "reason": incident.reason,
        "is_false_alarm": incident.is_false_alarm,
        "suspected_since": _written(incident.suspected_since),
        "opened_at": _written(incident.created_at),
        "opened_by": who.describe(incident.opened_by_kind, incident.opened_by_id),
        "closed_at": _written(incident.closed_at),
        "declared_in": [str(event) for event in declared],
    }


def _key(key: Key, who: _Who) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "slug": key.slug,
        "name": key.name,
        "provider": key.provider.slug,
        "environment": key.environment,
        "state": key.state,
        "owner": who.describe("person", key.owner_id),
        "backup_owner": who.describe("person", key.backup_owner_id),
    }


def _versions(incident: Incident) -> Iterable[KeyVersion]:
    return KeyVersion.objects.filter(key_id=incident.key_id, number__in=incident.versions).order_by("number")


def _version(version: KeyVersion, incident: Incident) -> dict[str, Any]:
    confirmed = version.upstream_status == "revoked_confirmed"
    checked_at = version.upstream_checked_at
    after = round((checked_at - incident.created_at).total_seconds()) if confirmed and checked_at else None
    return {
        "number": version.number,
        "state": version.state,
        "exposure": version.exposure,
        "ended_at": _written(version.ended_at),
        "upstream_status": version.upstream_status,
        "upstream_checked_at": _written(checked_at),
        "upstream_note": version.upstream_note,
        "upstream_confirmed_after_seconds": max(0, after) if after is not None else None,
    }


def _radius(radius: blast.Radius) -> dict[str, Any]:
    return {
        "since": _written(radius.since),
        "scopes": list(radius.scopes),
        "environments": list(radius.environments),
        "consumers": [
            {
                "id": str(each.consumer_id),
                "name": each.name,
                "kind": each.kind,
                "environment": each.environment,
                "scopes": list(each.scopes),
                "deliveries": list(each.deliveries),
                "networks": list(each.networks),
            }
            for each in radius.consumers
        ],
        "uses": {
            "allowed": radius.allowed,
            "denied": radius.denied,
            "leases": radius.leases,
            "is_complete": radius.is_complete,
            "by_consumer": [_use(each) for each in radius.uses],
        },
        "related_keys": [
            {
                "id": str(each.key_id),
                "name": each.name,
                "environment": each.environment,
                "state": each.state,
                "same_credential": each.same_credential,
            }
            for each in radius.related
        ],
    }


def _use(count: blast.UseCount) -> dict[str, Any]:
    return {
        "consumer": str(count.consumer_id),
        "name": count.name,
        "version": count.version,
        "allowed": count.allowed,
        "denied": count.denied,
        "leases": count.leases,
        "codes": count.codes,
        "scopes": sorted(count.scopes),
        "first": {"at": _written(count.first[0]), "event": str(count.first[1])},
        "last": {"at": _written(count.last[0]), "event": str(count.last[1])},
    }


def _tasks(incident: Incident, who: _Who) -> list[dict[str, Any]]:
    return [
        {
            "kind": task.kind,
            "about": task.label,
            "state": task.state,
            "settled_at": _written(task.settled_at),
            "settled_by": who.describe(task.settled_by_kind, task.settled_by_id),
        }
        for task in incident.tasks.order_by("position")
    ]


def _step(entry: Entry, who: _Who) -> dict[str, Any]:
    return {
        "at": _written(entry.occurred_at),
        "action": entry.action,
        "outcome": entry.outcome,
        "actor": who.describe(entry.actor_kind, entry.actor_id),
        "number": entry.tseq,
        "event": str(entry.event_id),
    }


def _written(moment: datetime | None) -> Any:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None
