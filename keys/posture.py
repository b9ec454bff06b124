"""What is found about the bound tenant's keys now: facts in a handful of statements, whatever their number."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from django.db import connections
from django.db.models import Max
from django.utils import timezone

from audit.models import UsageDay
from byok_portal.boundary import binding
from keys import rulebook, selectors
from keys.findings import Facts, Finding, Kind, judge
from keys.models import Acceptance, Grant, HandOver, Key, KeyVersion, Proof
from keys.states import GrantState, KeyState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from django.db.models import QuerySet

Place: TypeAlias = tuple[UUID, UUID, str]
"""(key, consumer, scope)"""
WINDOW_DAYS: Final = 90
"""How far back uses are looked at where the policy says nothing about dormancy."""


@dataclass(frozen=True, slots=True)
class Found:
    """A finding about a key, and until when somebody has accepted it."""

    key: Key
    finding: Finding
    accepted: Acceptance | None


@dataclass(frozen=True, slots=True)
class Unused:
    """Scopes of one grant that its consumer has not used inside the window; the grant is older than that."""

    grant: Grant
    scopes: tuple[str, ...]


def list_found(key_id: UUID | None = None) -> list[Found]:
    """Everything found about the tenant's keys that have not ended, or about one; the worst first."""
    keys = Key.objects.exclude(state__in=selectors.ENDED_KEYS).select_related("provider")
    chosen = {key.id: key for key in (keys.filter(id=key_id) if key_id else keys)}
    now = timezone.now()
    accepted = _accepted(chosen, now)
    found = [
        Found(chosen[finding.key_id], finding, accepted.get((finding.key_id, finding.kind)))
        for facts in _collect(chosen, now)
        for finding in judge(facts, now)
    ]
    return sorted(found, key=lambda row: (row.accepted is not None, -row.finding.severity, row.key.name))


def list_unused(key_id: UUID) -> tuple[list[Unused], int]:
    """What can be taken away from a key's live grants, and the window in days that was looked at."""
    now = timezone.now()
    window = rulebook.read_book([key_id]).policy(key_id).dormant_days or WINDOW_DAYS
    uses = _uses([key_id], now)
    return [found for grant in _live([key_id], now) if (found := _unused(grant, uses, now, window))], window


def _collect(keys: dict[UUID, Key], now: datetime) -> Iterable[Facts]:
    book = rulebook.read_book(list(keys))
    proofs = {proof.key_id: proof for proof in Proof.objects.filter(key_id__in=keys).order_by("created_at")}
    grants: defaultdict[UUID, list[Grant]] = defaultdict(list)
    for grant in _live(keys, now):
        grants[grant.key_id].append(grant)
    wanted = _rotation_wanted(keys)
    elsewhere, uses, first = _shared_elsewhere(), _uses(keys, now), _first_activations(keys)
    newest: dict[UUID, datetime] = {}
    for (key_id, _consumer, _scope), at in uses.items():
        newest[key_id] = max(at, newest.get(key_id, at))
    for key in keys.values():
        window = book.policy(key.id).dormant_days or WINDOW_DAYS
        proof, began = proofs.get(key.id), first.get(key.id)
        last = newest.get(key.id)
        unused = [found for grant in grants[key.id] if (found := _unused(grant, uses, now, window))]
        yield Facts(
            key_id=key.id,
            is_active=key.state == KeyState.ACTIVE,
            has_backup_owner=key.backup_owner_id is not None,
            rotation_due_at=key.rotation_due_at,
            rotation_wanted_at=wanted.get(key.id),
            proof_expires_at=proof.expires_at if proof else None,
            excess_risk=max((item.get("risk") or 0 for item in proof.excess), default=0) if proof else 0,
            excess=len(proof.excess) if proof else 0,
            unused=tuple(sorted({scope for found in unused for scope in found.scopes})),
            last_used_at=last,
            idle_days=(now - last).days if last else 0,
            observed_days=(now - began).days if began else 0,
            window_days=window,
            consumers=len({grant.consumer_id for grant in grants[key.id]}),
            is_shared_elsewhere=key.id in elsewhere,
        )


def _live(keys: Iterable[UUID], now: datetime) -> QuerySet[Grant]:
    live = Grant.objects.filter(key_id__in=keys, state=GrantState.ACTIVE, expires_at__gt=now)
    return live.select_related("consumer").order_by("created_at")


def _unused(grant: Grant, uses: dict[Place, datetime], now: datetime, window: int) -> Unused | None:
    since = now - timedelta(days=window)
    if grant.created_at > since:
        return None  # it had no whole window to be used in

    def is_unused(scope: str) -> bool:
        last = uses.get((grant.key_id, grant.consumer_id, scope))
        return last is None or last < since

    scopes = tuple(filter(is_unused, grant.scopes))
    return Unused(grant, scopes) if scopes else None


def _rotation_wanted(keys: Iterable[UUID]) -> dict[UUID, datetime]:
    """Since when somebody who could have seen the present credential is gone; a rotation answers that, for good."""
    current = KeyVersion.objects.filter(key_id__in=keys, state__in=selectors.CURRENT)
    activated = dict(current.values_list("key_id", "activated_at"))
    left = HandOver.objects.filter(key_id__in=keys).values("key_id").annotate(at=Max("created_at"))
    rows = [(row["key_id"], row["at"], activated.get(row["key_id"])) for row in left]
    return {key_id: at for key_id, at, since in rows if since is not None and at > since}


def _first_activations(keys: Iterable[UUID]) -> dict[UUID, datetime]:
    """Since when each key could be used: a rotation does not make it young again."""
    rows = KeyVersion.objects.filter(key_id__in=keys, activated_at__isnull=False).order_by("-activated_at")
    return {key_id: at for key_id, at in rows.values_list("key_id", "activated_at") if at is not None}


def _uses(keys: Iterable[UUID], now: datetime) -> dict[Place, datetime]:
    """When each consumer last used each scope of each key with success, in the last year."""
    first = (now - timedelta(days=366)).astimezone(UTC).date()
    own = UsageDay.objects.filter(tenant_id=binding.get_tenant(), key_id__in=keys, day__gte=first)
    rows = own.values_list("key_id", "consumer_id", "scope").annotate(at=Max("last_allowed_at"))
    return {(key_id, consumer_id, scope): at for key_id, consumer_id, scope, at in rows if at is not None}


def _shared_elsewhere() -> set[UUID]:
    """Keys of the tenant whose credential another tenant has too; which one is never told."""
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute("SELECT key_id FROM directory_shared_secrets()")
        return {row[0] for row in cursor.fetchall()}


def _accepted(keys: Iterable[UUID], now: datetime) -> dict[tuple[UUID, Kind], Acceptance]:
    rows = Acceptance.objects.filter(key_id__in=keys, expires_at__gt=now).order_by("created_at")
    return {(row.key_id, Kind(row.kind)): row for row in rows}
