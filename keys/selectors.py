"""What can be seen of keys. Reads the bound tenant; a missing and a foreign key raise the same NotFound."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from byok_portal.errors import NotFound
from keys.models import Grant, Incident, Key, KeyVersion, Proof, Provider
from keys.models.incidents import OPEN_STATES
from keys.states import KeyState, VersionState
from tenants.selectors import get_by_reference

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from django.db.models import QuerySet

CURRENT = (VersionState.ACTIVE, VersionState.SUSPENDED)
LIVE = (*CURRENT, VersionState.SUPERSEDED)
ENDED_KEYS = (KeyState.REVOKED, KeyState.COMPROMISED)


def list_providers() -> QuerySet[Provider]:
    """Every provider of the catalogue and of staff, by name."""
    return Provider.objects.order_by("name")


def get_provider(slug: str) -> Provider:
    """The provider with this slug. Raises NotFound."""
    provider = None if "\0" in slug else Provider.objects.filter(slug=slug[:60]).first()
    if provider is None:
        raise NotFound
    return provider


def list_keys() -> QuerySet[Key]:
    """Keys of the bound tenant, newest first."""
    return Key.objects.select_related("provider").order_by("-created_at", "-id")


def get_key(reference: str | UUID) -> Key:
    """By id or slug."""
    return get_by_reference(list_keys(), reference)


def lock_key(key_id: UUID) -> Key:
    """The key, locked until the transaction ends: every change of a key starts here."""
    key = Key.objects.lock().select_related("provider").filter(id=key_id).first()
    if key is None:
        raise NotFound
    return key


def list_versions(key_id: UUID) -> QuerySet[KeyVersion]:
    """Versions of a key, newest first."""
    return KeyVersion.objects.filter(key_id=key_id).order_by("-number")


def find_current(key_id: UUID) -> KeyVersion | None:
    """The version that consumers get, or None before activation and after the end."""
    return KeyVersion.objects.filter(key_id=key_id, state__in=CURRENT).first()


def find_expired(key_id: UUID) -> KeyVersion | None:
    """The version that expired last. A newer one may be there that was rolled back, or never became current."""
    return list_versions(key_id).filter(state=VersionState.EXPIRED).first()


def find_draining(key_id: UUID) -> KeyVersion | None:
    """The superseded version that has not been revoked yet."""
    return KeyVersion.objects.filter(key_id=key_id, state=VersionState.SUPERSEDED).first()


def find_proof(key_id: UUID, *, version_id: UUID | None = None) -> Proof | None:
    """The newest proof of a key, or of one of its versions."""
    proofs = Proof.objects.filter(key_id=key_id).order_by("-created_at", "-id")
    return (proofs if version_id is None else proofs.filter(version_id=version_id)).first()


def list_incidents() -> QuerySet[Incident]:
    """Incidents of the bound tenant with their keys, newest first."""
    return Incident.objects.select_related("key", "key__provider").order_by("-created_at", "-id")


def count_open_incidents(*, at_most: int) -> int:
    """How many are at work, counted no further than `at_most`."""
    return len(Incident.objects.filter(state__in=OPEN_STATES).values_list("id")[:at_most])


def get_incident(incident_id: UUID) -> Incident:
    """One incident."""
    incident = list_incidents().filter(id=incident_id).first()
    if incident is None:
        raise NotFound
    return incident


def list_grants(key_id: UUID) -> QuerySet[Grant]:
    """Grants on a key with their consumers, live ones first."""
    return Grant.objects.filter(key_id=key_id).select_related("consumer").order_by("state", "-created_at")


def get_grant(key_id: UUID, grant_id: UUID) -> Grant:
    """One grant of a key."""
    grant = Grant.objects.filter(key_id=key_id, id=grant_id).select_related("consumer").first()
    if grant is None:
        raise NotFound
    return grant


def end_of(day: date) -> datetime:
    """The moment after the last moment of `day` in UTC: a key works through its end date."""
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=UTC)
