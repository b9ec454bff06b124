"""The rows that an end would end, as sets: what its plan counts and its digest covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from keys import selectors
from keys.models import Grant, Key, KeyVersion, Material, UpstreamStatus
from keys.states import GrantState, VersionState
from tenants.models import Consumer
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet


def keys(kind: SubjectKind, subject_id: UUID) -> QuerySet[Key]:
    """Keys that end, or for a member: that the person answers for."""
    live = Key.objects.exclude(state__in=selectors.ENDED_KEYS)
    if kind is SubjectKind.OWNER:
        return live.filter(Q(owner_id=subject_id) | Q(backup_owner_id=subject_id))
    if kind is SubjectKind.CONSUMER:
        return live.none()
    return live if kind is SubjectKind.TENANT else live.filter(project_id=subject_id)


def versions(kind: SubjectKind, subject_id: UUID) -> QuerySet[KeyVersion]:
    """Versions whose credential may be alive at its provider and that we still hold."""
    held = KeyVersion.objects.filter(id__in=Material.objects.values("version_id"))
    alive = held.exclude(upstream_status=UpstreamStatus.REVOKED_CONFIRMED).exclude(state=VersionState.DESTROYED)
    if kind in (SubjectKind.OWNER, SubjectKind.CONSUMER):
        return alive.none()
    return alive if kind is SubjectKind.TENANT else alive.filter(key__project_id=subject_id)


def grants(kind: SubjectKind, subject_id: UUID) -> QuerySet[Grant]:
    """Live grants that end, with their key or with their consumer."""
    live = Grant.objects.filter(state=GrantState.ACTIVE)
    if kind is SubjectKind.OWNER:
        return live.none()
    if kind is SubjectKind.CONSUMER:
        return live.filter(consumer_id=subject_id)
    if kind is SubjectKind.TENANT:
        return live
    return live.filter(Q(key__project_id=subject_id) | Q(consumer__project_id=subject_id))


def consumers(kind: SubjectKind, subject_id: UUID) -> QuerySet[Consumer]:
    """Consumers whose access ends."""
    live = Consumer.objects.filter(state=Consumer.State.ACTIVE)
    if kind is SubjectKind.OWNER:
        return live.none()
    if kind is SubjectKind.CONSUMER:
        return live.filter(id=subject_id)
    return live if kind is SubjectKind.TENANT else live.filter(project_id=subject_id)
