"""What the end of a tenant, a project, a consumer or a member would do: shown before it starts. Changes nothing.

The digest covers what would end, not how much it was used: it changes when somebody adds a key, not with each call.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Aggregate, BigIntegerField, Count, Max, Q, Sum
from django.utils import timezone

from audit.models import UsageDay, UsageVersion
from audit.selectors import Filters, search
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import parse_id
from keys import affected, selectors
from keys.models import Grant, Key, KeyVersion, Provider
from keys.services.catalogue import entry_of
from tenants import selectors as tenants
from tenants.models import Consumer, ConsumerToken, Project
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from keys.catalogue import ProviderEntry

WEEK: Final = 7
MONTH: Final = 30
SHOWN: Final = 50
MOST_ISSUED: Final = 1000


class _Xor(Aggregate):
    """One number for a set of ids, whatever their order."""

    function = "bit_xor"
    template = "coalesce(bit_xor(uuid_hash_extended(%(expressions)s, 0)), 0)"
    output_field = BigIntegerField()


@dataclass(frozen=True, slots=True)
class UseCount:
    """How much somebody used what would end, or how much one key is used."""

    id: UUID
    name: str
    week: int
    month: int
    last_at: datetime | None

    @property
    def per_day(self) -> float:
        return round(self.month / MONTH, 1)


@dataclass(frozen=True, slots=True)
class AtProvider:
    """What can be done about credentials of one provider; with `possible` false people must, as `instruction` says."""

    provider: str
    credentials: int
    possible: bool
    instruction: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to know before it starts. `expected`: what has to be typed; `digest`: what was shown."""

    kind: SubjectKind
    subject_id: UUID
    name: str
    expected: str
    digest: str
    counts: dict[str, int]
    consumers: list[UseCount]
    keys: list[UseCount]
    upstream: list[AtProvider]
    rotations: list[str]
    tokens: list[str]
    permanent: list[str] = field(default_factory=list)

    @property
    def point_of_no_return(self) -> str:
        return _NO_RETURN[self.kind]


_NO_RETURN: Final = {
    SubjectKind.TENANT: "The start: from then on every use of the tenant's keys is refused, for good.",
    SubjectKind.PROJECT: "The start: from then on keys and consumers of the project are refused, for good.",
    SubjectKind.CONSUMER: "The start: from then on the consumer's tokens and grants are refused, for good.",
    SubjectKind.OWNER: "None: the person can be invited again. Hand-overs and rotations that were begun stay.",
}
_PERMANENT: Final = {
    SubjectKind.TENANT: [
        "Revoked keys never become active again.",
        "Destroyed data keys cannot be restored from here; backups open until their own end.",
        "Personal data in the tenant's audit log can no longer be read.",
    ],
    SubjectKind.PROJECT: [
        "Revoked keys never become active again.",
        "Their ciphertext is deleted; copies in backups last until the backups' own end.",
        "Ended consumers never come back; they are registered anew.",
    ],
    SubjectKind.CONSUMER: ["The consumer never comes back; it is registered anew, with new tokens and grants."],
    SubjectKind.OWNER: ["What the person saw stays seen: keys that they answered for are to be rotated."],
}


def plan_of(kind: SubjectKind, subject_id: UUID) -> Plan:
    """Raises NotFound for a subject that is not the bound tenant's."""
    name, expected = _name(kind, subject_id)
    uses = _uses(kind, subject_id)
    return Plan(
        kind=kind,
        subject_id=subject_id,
        name=name,
        expected=expected,
        digest=digest_of(kind, subject_id),
        counts=count(kind, subject_id),
        consumers=_by_consumer(uses, kind, subject_id),
        keys=_by_key(uses, kind, subject_id),
        upstream=_at_providers(kind, subject_id),
        rotations=[f"{each.key.name} ({each.number})" for each in list_leased(kind, subject_id)],
        tokens=[_word_token(each) for each in list_issued(subject_id)] if kind is SubjectKind.OWNER else [],
        permanent=_PERMANENT[kind],
    )


def digest_of(kind: SubjectKind, subject_id: UUID) -> str:
    """What would end, in 64 hexadecimal digits. A few milliseconds for ten thousand keys."""
    sets = {
        "keys": affected.keys(kind, subject_id),
        "versions": affected.versions(kind, subject_id),
        "grants": affected.grants(kind, subject_id),
        "consumers": affected.consumers(kind, subject_id),
    }
    summed = {}
    for name, rows in sets.items():
        found = rows.order_by().aggregate(n=Count("id"), x=_Xor("id"))
        summed[name] = [found["n"], found["x"]]
    text = json.dumps([kind.value, str(subject_id), summed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def count(kind: SubjectKind, subject_id: UUID) -> dict[str, int]:
    """How many of each would end, or for a member: change hands."""
    consumers = affected.consumers(kind, subject_id)
    live = ConsumerToken.objects.filter(revoked_at=None, expires_at__gt=timezone.now())
    return {
        "keys": affected.keys(kind, subject_id).count(),
        "credentials": affected.versions(kind, subject_id).count(),
        "grants": affected.grants(kind, subject_id).count(),
        "consumers": consumers.count(),
        "tokens": live.filter(consumer_id__in=consumers.values("id")).count(),
    }


def can_revoke(entry: ProviderEntry) -> bool:
    """Whether the provider has a call that ends a credential with nothing but itself."""
    return entry.adapter == "openbao" or entry.revoke is not None


def instruction_for(entry: ProviderEntry) -> str:
    """What people do at the provider, in its guide's words."""
    return f"{entry.revoke_note} ({entry.docs})"[:500] if entry.docs else entry.revoke_note[:500]


def list_leased(kind: SubjectKind, subject_id: UUID) -> list[KeyVersion]:
    """Versions that stay and that whoever ends here used while a grant let it take leases: it may have kept one."""
    if kind not in (SubjectKind.CONSUMER, SubjectKind.PROJECT):
        return []
    ending = affected.consumers(kind, subject_id).values("id")
    leasing = Grant.objects.filter(deliveries__contains=["lease"], consumer_id__in=ending)
    if kind is SubjectKind.PROJECT:
        leasing = leasing.exclude(key__project_id=subject_id)
    pairs = set(leasing.values_list("key_id", "consumer_id"))
    used = UsageVersion.objects.filter(tenant_id=binding.get_tenant(), key_id__in={key_id for key_id, _ in pairs})
    rows = used.values_list("key_id", "version", "consumer_id")
    kept = {(key_id, number) for key_id, number, consumer_id in rows if (key_id, consumer_id) in pairs}
    live = KeyVersion.objects.filter(state__in=selectors.LIVE, key_id__in={key_id for key_id, _ in kept})
    found = live.select_related("key").order_by("key__name", "number")
    return [version for version in found if (version.key_id, version.number) in kept]


def list_issued(user_id: UUID) -> list[ConsumerToken]:
    """Live tokens that this person issued, and so saw in clear. From the audit log: at most a second behind."""
    issued = search(Filters(action="consumer.token_issued", actor_id=user_id), limit=MOST_ISSUED)
    found = [parse_id(str(entry.detail.get("token", ""))) for entry in issued]
    live = ConsumerToken.objects.filter(revoked_at=None, expires_at__gt=timezone.now())
    live = live.filter(id__in=[each for each in found if each is not None])
    return list(live.filter(consumer__state=Consumer.State.ACTIVE).select_related("consumer").order_by("created_at"))


def _name(kind: SubjectKind, subject_id: UUID) -> tuple[str, str]:
    if kind is SubjectKind.TENANT:
        tenant = tenants.get_tenant()
        return tenant.name, tenant.slug
    if kind is SubjectKind.OWNER:
        person = str(tenants.get_member(subject_id).user)
        return person, person
    found: Project | Consumer = (
        tenants.get_project(subject_id) if kind is SubjectKind.PROJECT else tenants.get_consumer(subject_id)
    )
    return found.name, found.slug


def _word_token(token: ConsumerToken) -> str:
    return f"…{token.last_four} of {token.consumer.name}"


def _uses(kind: SubjectKind, subject_id: UUID) -> QuerySet[UsageDay]:
    """Uses of the last month that would be refused, or that the keys of a leaver have."""
    first = timezone.now().astimezone(UTC).date() - timedelta(days=MONTH - 1)
    own = UsageDay.objects.filter(tenant_id=binding.get_tenant(), day__gte=first)
    if kind is SubjectKind.CONSUMER:
        return own.filter(consumer_id=subject_id)
    if kind is SubjectKind.TENANT:
        return own
    of_keys = Q(key_id__in=affected.keys(kind, subject_id).values("id"))
    return own.filter(of_keys | Q(consumer_id__in=affected.consumers(kind, subject_id).values("id")))


def _by_consumer(uses: QuerySet[UsageDay], kind: SubjectKind, subject_id: UUID) -> list[UseCount]:
    """The busiest first; consumers with a grant that nobody uses come after them."""
    names = Consumer.objects.filter(id__in=affected.grants(kind, subject_id).values("consumer_id"))
    known: dict[UUID, str] = dict(names.values_list("id", "name")[: SHOWN * 20])
    counted = _summed(uses, "consumer_id")
    others = Consumer.objects.filter(id__in=[each for each in counted if each not in known])
    known |= dict(others.values_list("id", "name"))
    return _ranked(known, counted)


def _by_key(uses: QuerySet[UsageDay], kind: SubjectKind, subject_id: UUID) -> list[UseCount]:
    counted = _summed(uses, "key_id")
    shown = (
        affected.keys(kind, subject_id)
        if kind is not SubjectKind.CONSUMER
        else Key.objects.filter(id__in=affected.grants(kind, subject_id).values("key_id"))
    )
    busiest = sorted(counted, key=lambda each: -counted[each][1])[:SHOWN]
    known = dict(Key.objects.filter(id__in=busiest).values_list("id", "name"))
    known |= dict(shown.order_by("name").values_list("id", "name")[:SHOWN])
    return _ranked(known, counted)


def _summed(uses: QuerySet[UsageDay], by: str) -> dict[UUID, tuple[int, int, datetime]]:
    week = timezone.now().astimezone(UTC).date() - timedelta(days=WEEK - 1)
    rows = uses.values(by).annotate(
        week=Sum("allowed", filter=Q(day__gte=week), default=0), month=Sum("allowed"), last=Max("last_at")
    )
    return {row[by]: (row["week"], row["month"], row["last"]) for row in rows}


def _ranked(names: dict[UUID, str], counted: dict[UUID, tuple[int, int, datetime]]) -> list[UseCount]:
    nothing: tuple[int, int, Any] = (0, 0, None)
    rows = [UseCount(identifier, name, *counted.get(identifier, nothing)) for identifier, name in names.items()]
    return sorted(rows, key=lambda row: (-row.month, row.name))[:SHOWN]


def _at_providers(kind: SubjectKind, subject_id: UUID) -> list[AtProvider]:
    rows = affected.versions(kind, subject_id).order_by().values("key__provider_id").annotate(n=Count("id"))
    held = {row["key__provider_id"]: row["n"] for row in rows}
    found = []
    for provider in Provider.objects.filter(id__in=held).order_by("name"):
        entry = entry_of(provider)
        found.append(AtProvider(entry.name, held[provider.id], can_revoke(entry), instruction_for(entry)))
    return found
