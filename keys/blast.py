"""What an exposed credential could do and what was done with it: its blast radius. Reads, never writes.

Grants and keys come from the tables, uses from the numbered log. Of other tenants it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from audit.selectors import USED, Filters, find_private, search
from audit.words import delivery_of
from keys.models import Key
from keys.services import response
from keys.states import Delivery
from tenants.models import Consumer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from uuid import UUID

    from audit.models import Entry
    from keys.models import Grant, Incident

MOST_USES: Final = 5000
"""Uses that are looked at one by one, newest first; beyond them `Radius.is_complete` is False."""
_MOST_ADDRESSES: Final = 500


@dataclass(frozen=True, slots=True)
class Reach:
    """One consumer's right on the key at some moment since the suspected one."""

    consumer_id: UUID
    name: str
    kind: str
    environment: str
    scopes: tuple[str, ...]
    deliveries: tuple[str, ...]
    networks: tuple[str, ...]


@dataclass(slots=True)
class UseCount:
    """Uses of one version by one consumer since the suspected moment. Version 0: refused before one was chosen.

    `leases`: how often it was handed the credential itself. `first` and `last`: moment and event.
    """

    consumer_id: UUID
    name: str
    version: int
    first: tuple[datetime, UUID]
    last: tuple[datetime, UUID]
    allowed: int = 0
    denied: int = 0
    leases: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    scopes: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Related:
    """Another key of the tenant: with the same credential, or else of the same upstream account."""

    key_id: UUID
    slug: str
    name: str
    environment: str
    state: str
    same_credential: bool


@dataclass(frozen=True, slots=True)
class Radius:
    """Everything that an exposed credential touches. `scopes`: what the key could do at all."""

    since: datetime
    scopes: tuple[str, ...]
    consumers: tuple[Reach, ...]
    uses: tuple[UseCount, ...]
    is_complete: bool
    related: tuple[Related, ...]
    environments: tuple[str, ...]

    @property
    def allowed(self) -> int:
        return sum(each.allowed for each in self.uses)

    @property
    def denied(self) -> int:
        return sum(each.denied for each in self.uses)

    @property
    def leases(self) -> int:
        return sum(each.leases for each in self.uses)


def read_radius(incident: Incident, *, with_addresses: bool = False) -> Radius:
    """The blast radius of an incident; addresses are personal data, for whoever may read the log."""
    key = Key.objects.get(id=incident.key_id)
    reach = tuple(map(_reach, response.list_grants(incident)))
    filters = Filters(action=USED, target_id=key.id, since=incident.suspected_since)
    entries = search(filters, limit=MOST_USES)
    related = _related(key, incident)
    return Radius(
        since=incident.suspected_since,
        scopes=tuple(key.scopes),
        consumers=reach,
        uses=count_uses(entries, _addresses(entries) if with_addresses else {}),
        is_complete=len(entries) < MOST_USES,
        related=related,
        environments=tuple(sorted({key.environment, *(each.environment for each in related)})),
    )


def count_uses(entries: Iterable[Entry], addresses: dict[UUID, str]) -> tuple[UseCount, ...]:
    """Newest entries first; the counts are by consumer and version, the last used first."""
    found: dict[tuple[UUID, int], UseCount] = {}
    for entry in entries:
        detail, moment = entry.detail, (entry.occurred_at, entry.event_id)
        delivery, version = delivery_of(detail)
        place = (entry.actor_id, version)
        count = found.get(place)
        if count is None:
            count = found[place] = UseCount(entry.actor_id, "", version, moment, moment)
        count.first = moment
        _add(count, entry.outcome, detail, delivery)
        if address := addresses.get(entry.event_id):
            count.addresses.add(address)
    names = _names({consumer_id for consumer_id, _ in found})
    for count in found.values():
        count.name = names.get(count.consumer_id, str(count.consumer_id))
    return tuple(found.values())


def _add(count: UseCount, outcome: str, detail: dict[str, object], delivery: str) -> None:
    if scope := detail.get("scope"):
        count.scopes.add(str(scope))
    if outcome != "allowed":
        count.denied += 1
        code = str(detail.get("code", outcome))
        count.codes[code] = count.codes.get(code, 0) + 1
        return
    count.allowed += 1
    count.leases += delivery == Delivery.LEASE.value


def _reach(grant: Grant) -> Reach:
    consumer = grant.consumer
    return Reach(
        consumer.id,
        consumer.name,
        consumer.kind,
        consumer.environment,
        tuple(grant.scopes),
        tuple(grant.deliveries),
        tuple(grant.networks),
    )


def _related(key: Key, incident: Incident) -> tuple[Related, ...]:
    same = {version.key_id for version in response.list_same_credential(incident)}
    known = Key.objects.filter(id__in=same)
    if key.account_id:
        known |= Key.objects.filter(provider_id=key.provider_id, account_id=key.account_id)
    rows = known.exclude(id=key.id).order_by("name")[:200]
    found = [Related(row.id, row.slug, row.name, str(row.environment), str(row.state), row.id in same) for row in rows]
    return tuple(sorted(found, key=lambda each: not each.same_credential))


def _addresses(entries: Collection[Entry]) -> dict[UUID, str]:
    newest = [entry.event_id for entry in entries][:_MOST_ADDRESSES]
    return {event_id: str(data["address"]) for event_id, data in find_private(newest).items() if data.get("address")}


def _names(consumer_ids: Collection[UUID]) -> dict[UUID, str]:
    return dict(Consumer.objects.filter(id__in=consumer_ids).values_list("id", "name"))
