"""Reads the policies that hold for the bound tenant's keys, and what follows from them now. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Max, Min, Q
from django.utils import timezone

from keys import selectors
from keys.models import AppliedPolicy, Confirmation, KeyVersion, PlatformPolicy, PolicyEdition
from keys.policies import (
    DEFAULT_REMINDERS,
    Deadlines,
    Edition,
    Policy,
    deadlines,
    earliest,
    effective,
    find_first,
    list_stages,
    parse_policy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from keys.models import Key, Proof


@dataclass(frozen=True, slots=True)
class Book:
    """Every edition of the platform's policy, the tenant's and those of the keys that were asked for."""

    platform: tuple[Edition, ...]
    tenant: tuple[Edition, ...]
    keys: Mapping[UUID, tuple[Edition, ...]]
    _stages: dict[UUID | None, list[tuple[datetime, Policy]]] = field(default_factory=dict)

    def layers(self, key_id: UUID | None = None) -> tuple[tuple[Edition, ...], ...]:
        """From the floor up; without a key, the tenant's."""
        own = () if key_id is None else self.keys.get(key_id, ())
        return self.platform, self.tenant, own

    def policy(self, key_id: UUID | None = None, *, at: datetime | None = None) -> Policy:
        """What holds for the key, or for the tenant, now or at another time."""
        return effective(self.layers(key_id), at or timezone.now())

    def floor(self, key_id: UUID | None = None, *, at: datetime) -> Policy:
        """What the layers below ask: nothing that is set on top may be laxer."""
        return effective(self.layers()[: 1 if key_id is None else 2], at)

    def first(
        self, key_id: UUID, activated_at: datetime | None, which: Callable[[Deadlines], datetime | None]
    ) -> datetime | None:
        """The first moment of a kind of deadline, scheduled policies included."""
        known = key_id if key_id in self.keys else None
        if known not in self._stages:
            self._stages[known] = list_stages(self.layers(known), timezone.now())
        return find_first(self._stages[known], activated_at, which)


@dataclass(frozen=True, slots=True)
class Asked:
    """When each key was last confirmed by an owner, and when it was first activated."""

    confirmed: Mapping[UUID, datetime]
    activated: Mapping[UUID, datetime]

    def since(self, book: Book, key_id: UUID) -> datetime | None:
        """From when the days until the next confirmation count: nobody is late before a policy has asked."""
        if key_id in self.confirmed:
            return self.confirmed[key_id]
        layers = book.layers(key_id)
        asking = [each.starts_at for layer in layers for each in layer if each.policy.recertify_days is not None]
        began = self.activated.get(key_id)
        return max(began, min(asking)) if began is not None and asking else None


def read_asked(key_ids: Collection[UUID]) -> Asked:
    """From when confirmations of these keys count."""
    confirmed = Confirmation.objects.filter(key_id__in=key_ids).values("key_id").annotate(at=Max("created_at"))
    versions = KeyVersion.objects.filter(key_id__in=key_ids, activated_at__isnull=False)
    activated = versions.values("key_id").annotate(at=Min("activated_at"))
    return Asked(dict(confirmed.values_list("key_id", "at")), dict(activated.values_list("key_id", "at")))


def read_book(key_ids: Collection[UUID] | None = ()) -> Book:
    """The editions of the platform, the tenant and these keys; None: of every key."""
    wanted = Q() if key_ids is None else Q(key_id__isnull=True) | Q(key_id__in=key_ids)
    own: dict[UUID | None, list[Edition]] = {}
    for row in PolicyEdition.objects.filter(wanted).order_by("number"):
        own.setdefault(row.key_id, []).append(edition_of(row))
    return Book(
        platform=tuple(edition_of(row) for row in PlatformPolicy.objects.order_by("number")),
        tenant=tuple(own.pop(None, ())),
        keys={key_id: tuple(editions) for key_id, editions in own.items() if key_id is not None},
    )


def edition_of(row: PlatformPolicy | PolicyEdition) -> Edition:
    """A stored row as the pure functions take it."""
    return Edition(row.number, row.starts_at, parse_policy(row.rules))


def policy_of(key: Key) -> Policy:
    """What holds for one key now."""
    return read_book([key.id]).policy(key.id)


def deadlines_of(key: Key) -> Deadlines:
    """What the policy in force says of the key's current version."""
    current = selectors.find_current(key.id)
    return deadlines(policy_of(key), current.activated_at if current else None)


def find_suspension(key_id: UUID) -> datetime | None:
    """When the policies, as they are in the database now, suspend the key: for its age, or unconfirmed."""
    book = read_book([key_id])
    since = read_asked([key_id]).since(book, key_id)
    unconfirmed = book.first(key_id, since, lambda each: each.unconfirmed_suspends_at)
    return earliest(find_overdue(key_id), unconfirmed)


def find_overdue(key_id: UUID) -> datetime | None:
    """When being overdue suspends the key, by the policies as they are in the database now."""
    current = selectors.find_current(key_id)
    if current is None:
        return None
    return read_book([key_id]).first(key_id, current.activated_at, lambda each: each.suspends_at)


def suspends_at(key: Key) -> datetime | None:
    """The key's clock as it counts in a decision: a platform policy counts from its start, applied or not."""
    return earliest(key.suspends_at, find_suspension(key.id)) if is_behind() else key.suspends_at


def is_behind() -> bool:
    """Whether a platform policy has begun that this tenant's clocks do not know of yet."""
    applied = AppliedPolicy.objects.values_list("number", flat=True).first() or 0
    return PlatformPolicy.objects.filter(number__gt=applied, starts_at__lte=timezone.now()).exists()


def newest_number() -> int:
    """The number of the newest platform policy, begun or not; 0 without one."""
    return int(PlatformPolicy.objects.aggregate(newest=Max("number"))["newest"] or 0)


def reminders_of(policy: Policy) -> tuple[int, ...]:
    """Days before a date on which people are told of it."""
    return policy.reminder_days or DEFAULT_REMINDERS


def proof_ends_at(proof: Proof, policy: Policy) -> datetime:
    """When a proof stops counting: a policy that became stricter after it holds for it too."""
    if policy.proof_days is None:
        return proof.expires_at
    return min(proof.expires_at, proof.created_at + timedelta(days=policy.proof_days))


def list_editions(key_id: UUID | None = None) -> QuerySet[PolicyEdition]:
    """The history of the tenant's policy, or of a key's, newest first."""
    own = Q(key_id__isnull=True) if key_id is None else Q(key_id=key_id)
    return PolicyEdition.objects.filter(own).order_by("-number")


def newest_of(editions: Iterable[Edition]) -> Edition | None:
    """The edition that a new one would follow."""
    return max(editions, key=lambda edition: edition.number, default=None)
