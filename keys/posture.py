"""What is found about the bound tenant's keys now: facts in a handful of statements, whatever their number."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from django.db import connections
from django.db.models import Max
from django.utils import timezone

from audit.models import UsageDay
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from keys import recertification, rulebook, selectors
from keys.findings import Facts, Finding, Kind, Remedy, Severity, judge
from keys.models import Acceptance, Drill, DrillSchedule, Grant, HandOver, Key, KeyVersion, Proof
from keys.policies import earliest
from keys.shapes import LIVE, PRODUCTION
from keys.states import DrillState, GrantState, KeyState
from tenants import selectors as tenants
from tenants.models import OffboardingStep

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

    from tenants.models import Tenant

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
class DrillFound:
    """A finding about what the tenant rehearses, and so about no single key; it cannot be accepted."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class Unused:
    """Scopes of one grant that its consumer has not used inside the window; the grant is older than that."""

    grant: Grant
    scopes: tuple[str, ...]


def list_found(key_id: UUID | None = None) -> list[Found]:
    """Everything found about the tenant's keys that have not ended, or about one; the worst first."""
    keys = Key.objects.exclude(state__in=selectors.ENDED_KEYS).select_related("provider", "project")
    chosen = {key.id: key for key in (keys.filter(id=key_id) if key_id else keys)}
    now = timezone.now()
    accepted = _accepted(chosen, now)
    found = [
        Found(chosen[finding.key_id], finding, accepted.get((finding.key_id, finding.kind)))
        for facts in _collect(chosen, now)
        for finding in judge(facts, now)
    ]
    return sorted(found, key=lambda row: (row.accepted is not None, -row.finding.severity, row.key.name))


def list_drill_findings() -> list[DrillFound]:
    """What the tenant's own schedules say: a day that nobody has served, or a last drill that failed."""
    today, found = timezone.now().date(), []
    for row in DrillSchedule.objects.filter(is_active=True).order_by("kind"):
        last = Drill.objects.filter(kind=row.kind, finished_at__isnull=False).order_by("-finished_at").first()
        if row.next_on < today:
            due = datetime.combine(row.next_on, time.min, tzinfo=UTC)
            found.append(_drill_found(Kind.DRILL_OVERDUE, {"kind": row.kind, "since": due}))
        elif last is not None and last.state == DrillState.FAILED:
            evidence: dict[str, object] = {"kind": row.kind, "since": last.finished_at, "code": last.code}
            found.append(_drill_found(Kind.DRILL_FAILED, evidence))
    return found


def _drill_found(kind: Kind, evidence: dict[str, object]) -> DrillFound:
    return DrillFound(Finding(PLATFORM, kind, Severity.HIGH, Remedy.DRILL, evidence))


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
    tenant = tenants.get_tenant()
    unconfirmed = recertification.find_unconfirmed(keys)
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
            is_active=key.state == KeyState.ACTIVE and not key.is_canary,  # which is idle by design
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
            unconfirmed_since=earliest(key.recertify_due_at, unconfirmed.get(key.id)),
            outlives=over[0] if (over := _outlived(key, tenant, now)) else "",
            outlives_since=over[1] if over else None,
            is_live_outside_production=_is_live_outside_production(key, proof),
        )


def _outlived(key: Key, tenant: Tenant, now: datetime) -> tuple[str, datetime] | None:
    """What the key was for and since when that is over. With agreement the clock ends it, so nothing is found."""
    ends = [("contract", tenant.contract_ends_on)] + ([("project", key.project.ends_on)] if key.project else [])
    over = [(what, selectors.end_of(day)) for what, day in ends if day is not None and selectors.end_of(day) <= now]
    return min(over, key=lambda each: each[1]) if over and not tenant.ends_automatically else None


def _is_live_outside_production(key: Key, proof: Proof | None) -> bool:
    """What the last proof recorded of the credential's form; registration refuses a form that is known then."""
    return proof is not None and proof.evidence.get("mode") == LIVE and key.environment != PRODUCTION


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
    return _flagged(current) | {key_id: at for key_id, at, since in rows if since is not None and at > since}


def _flagged(current: QuerySet[KeyVersion]) -> dict[UUID, datetime]:
    """Since when a consumer is gone that could have kept a lease of the present version."""
    keys = dict(current.values_list("id", "key_id"))
    steps = OffboardingStep.objects.filter(kind="flag_rotation", subject_id__in=keys, finished_at__isnull=False)
    return {keys[version_id]: at for version_id, at in steps.values_list("subject_id", "finished_at") if at is not None}


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
