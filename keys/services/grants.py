"""Granting a consumer a right on one key, and ending it. A grant narrows the key; it can never widen it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, Forbidden, InvalidInput, NotFound, Refused
from keys import recertification, rulebook, selectors
from keys.models import Grant, Key
from keys.restrictions import has_come
from keys.states import Delivery, GrantState, RevocationReason
from tenants import rules
from tenants.models import Consumer
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from django.db.models import QuerySet

    from byok_portal.boundary.actors import Actor

MAX_GRANT_DAYS: Final = 366
MAX_NETWORKS: Final = 20
MAX_RATE: Final = 1_000_000
_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class GrantDraft:
    """A grant as the door received it, still unchecked. `window`: `{"days": [0..6], "start_minute", "end_minute"}`."""

    consumer: str
    scopes: tuple[str, ...]
    deliveries: tuple[str, ...]
    days: int
    reason: str
    networks: tuple[str, ...] = ()
    rate_per_minute: int | None = None
    window: Mapping[str, Any] | None = None


@operation(
    "grant.create",
    permission=Permission.GRANT_CREATE,
    events=("grant.created", "grant.expired"),
    page="keys:grant",
    api="api:grants",
)
def create(*, actor: Actor, key_id: UUID, draft: GrantDraft) -> Grant:
    """Grant scopes of a key to a consumer of the same environment for some days.

    Raises InvalidInput naming the field, Conflict for an ended key or a live grant of the same pair, Refused for a key
    that is overdue by a policy which blocks new grants then.
    """
    require_active()
    key = selectors.lock_key(key_id)
    if key.state in selectors.ENDED_KEYS:
        raise Conflict(f"The key is {key.state}; nothing can be granted on it.", code="key_state")
    _refuse_overdue(key)
    consumer = _consumer(draft.consumer, key)
    if actor.kind is ActorKind.CONSUMER and actor.id == consumer.id:
        raise Forbidden("A consumer cannot grant itself a right.")
    now = timezone.now()
    grant = Grant(
        key=key,
        consumer=consumer,
        scopes=_scopes(draft.scopes, key),
        deliveries=_deliveries(draft.deliveries),
        networks=_networks(draft.networks),
        window=_window(draft.window),
        rate_per_minute=_rate(draft.rate_per_minute),
        starts_at=now,
        expires_at=_expiry(draft.days, key),
        reason=rules.require_text(draft.reason, field="reason", maximum=300),
        granted_by_id=actor.id,
    )
    for lapsed in _list_live(key, consumer).filter(expires_at__lte=now):
        _expire(actor, lapsed)
    _insert(grant)
    append(
        actor=actor,
        action="grant.created",
        target=Target("key", key.id),
        detail={
            "grant": str(grant.id),
            "consumer": str(grant.consumer_id),
            "scopes": grant.scopes,
            "deliveries": grant.deliveries,
            "networks": grant.networks,
            "expires_at": grant.expires_at.isoformat(),
        },
        private={"note": grant.reason},
    )
    return grant


@operation(
    "grant.end",
    permission=Permission.GRANT_END,
    events=("grant.ended",),
    page="keys:grant-end",
    api="api:grant-end",
)
def end(*, actor: Actor, key_id: UUID, grant_id: UUID, reason: str) -> Grant:
    """End a grant at once. Raises Conflict when it has ended."""
    why = rules.require_choice(reason, [word.value for word in RevocationReason], field="reason")
    grant = Grant.objects.lock().filter(key_id=key_id, id=grant_id).first()
    if grant is None:
        raise NotFound
    if grant.state != GrantState.ACTIVE:
        raise Conflict(f"The grant is {grant.state} already.", code="grant_state")
    grant.state, grant.ended_at, grant.end_reason = GrantState.REVOKED, timezone.now(), why
    grant.save(update_fields=["state", "ended_at", "end_reason"])
    detail = {"grant": str(grant.id), "consumer": str(grant.consumer_id), "reason": why}
    append(actor=actor, action="grant.ended", target=Target("key", grant.key_id), detail=detail)
    return grant


@operation(
    "grant.clock_expire",
    permission=Permission.JOB_RUN,
    events=("grant.expired",),
    page=Absent("the clock ends a grant at its end; people end one early with grant.end"),
    api=Absent("the clock ends a grant at its end"),
)
def expire(*, actor: Actor, grant_id: UUID) -> Grant:
    """Write the end of a grant whose time is over: uses were refused from that moment on already.

    Raises Conflict when it has not come, or was written before.
    """
    grant = Grant.objects.lock().filter(id=grant_id).first()
    if grant is None or grant.state != GrantState.ACTIVE or grant.expires_at > timezone.now():
        raise Conflict("The grant has not come to its end, or it is written.", code="not_due")
    return _expire(actor, grant)


def _expire(actor: Actor, grant: Grant) -> Grant:
    grant.state, grant.ended_at = GrantState.EXPIRED, grant.expires_at
    grant.save(update_fields=["state", "ended_at"])
    detail = {"grant": str(grant.id), "consumer": str(grant.consumer_id)}
    append(actor=actor, action="grant.expired", target=Target("key", grant.key_id), detail=detail)
    return grant


def _list_live(key: Key, consumer: Consumer) -> QuerySet[Grant]:
    return Grant.objects.lock().filter(key_id=key.id, consumer_id=consumer.id, state=GrantState.ACTIVE)


def _refuse_overdue(key: Key) -> None:
    blocks_at = rulebook.deadlines_of(key).blocks_grants_at
    if has_come(blocks_at, timezone.now()):
        raise Refused(
            "The key's rotation is overdue, and its policy blocks new grants then. Rotate it first.", code="key_overdue"
        )
    if has_come(recertification.find_block(key.id), timezone.now()):
        raise Refused(
            "Its owner has not confirmed the key in time, and that blocks new grants. Confirm it first.",
            code="key_not_recertified",
        )


def _insert(grant: Grant) -> None:
    try:
        with transaction.atomic():
            grant.save(force_insert=True)
    except IntegrityError:
        raise Conflict("This consumer has a live grant on this key. End it first.", code="grant_exists") from None


def _consumer(reference: str, key: Key) -> Consumer:
    identifier = parse_id(reference)
    lookup = {"id": identifier} if identifier else {"slug": str(reference)[:60].replace("\0", "")}
    # Locked, so that a consumer which is being ended does not get a last grant.
    found = Consumer.objects.lock().filter(**lookup).first()
    if found is None or found.state != Consumer.State.ACTIVE:
        raise InvalidInput(
            "Consumer must be a live consumer of this tenant.", code="unknown_consumer", field="consumer"
        )
    if found.environment != key.environment:
        raise InvalidInput(
            f"Consumer is of {found.environment}, the key of {key.environment}: they never mix.",
            code="environment_mismatch",
            field="consumer",
        )
    return found


def _scopes(scopes: Iterable[str], key: Key) -> list[str]:
    chosen = set(scopes)
    if not chosen:
        raise InvalidInput("Scopes: choose at least one.", code="required", field="scopes")
    for scope in sorted(chosen):
        if scope not in key.scopes:
            raise InvalidInput(
                f"Scopes: the key was not registered for {scope[:60]!r}.",
                code="scope_not_on_key",
                field="scopes",
            )
    return [scope for scope in key.scopes if scope in chosen]


def _deliveries(deliveries: Iterable[str]) -> list[str]:
    chosen = set(deliveries)
    known = [word.value for word in Delivery]
    if not chosen:
        raise InvalidInput("Deliveries: choose at least one.", code="required", field="deliveries")
    for delivery in sorted(chosen):
        rules.require_choice(delivery, known, field="deliveries")
    return [delivery for delivery in known if delivery in chosen]


def _networks(networks: Iterable[str]) -> list[str]:
    checked = []
    for text in networks:
        try:
            checked.append(str(ipaddress.ip_network(text.strip())))
        except ValueError:
            raise InvalidInput(
                f"Networks: {text[:60]!r} is not a network such as 203.0.113.0/24 or 2001:db8::/32.",
                code="invalid_network",
                field="networks",
            ) from None
    if len(checked) > MAX_NETWORKS:
        raise InvalidInput(f"Networks: at most {MAX_NETWORKS}.", code="too_many", field="networks")
    return checked


def _window(window: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not window:
        return None
    days = window.get("days")
    if not isinstance(days, list) or not days or any(day not in range(7) for day in days):
        raise InvalidInput("Window: days are numbers from 0 (Monday) to 6.", code="invalid_window", field="window")
    start = rules.require_number(window.get("start_minute"), field="window", minimum=0, maximum=_DAY_MINUTES)
    end_ = rules.require_number(window.get("end_minute"), field="window", minimum=0, maximum=_DAY_MINUTES)
    if start == end_:
        raise InvalidInput("Window: it would never open.", code="invalid_window", field="window")
    return {"days": sorted(set(days)), "start_minute": start, "end_minute": end_}


def _rate(rate: int | None) -> int | None:
    return None if rate is None else rules.require_number(rate, field="rate_per_minute", minimum=1, maximum=MAX_RATE)


def _expiry(days: int, key: Key) -> Any:
    number = rules.require_number(days, field="days", minimum=1, maximum=MAX_GRANT_DAYS)
    end_ = selectors.end_of(key.ends_on)
    if end_ <= timezone.now():
        raise Conflict("The key has ended by its end date; nothing can be granted on it.", code="key_expired")
    return min(timezone.now() + timedelta(days=number), end_)
