"""One use of a key: decide from facts read now, record, then answer. Nothing here is cached between two uses."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import connections
from django.utils import timezone

from audit.models import Outcome
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.operations import Absent, commit, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import PortalError, Unavailable
from keys import canaries, context, selectors
from keys.decision import Code, Decision, RateFacts, UseRequest, decide
from keys.models import Provider
from keys.providers import get_adapter
from keys.services import custody
from keys.services.catalogue import entry_of
from keys.services.probing import upstream_of
from keys.states import Delivery, Environment
from keys.use_events import choose_scope, describe, find_word, offered_word, private_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret
    from keys.models import Key
    from keys.providers.contract import CallResult

LEASE: Final = timedelta(minutes=5)

_COUNT: Final = """
INSERT INTO keys_ratewindow (id, tenant_id, grant_id, minute, uses, created_at) VALUES (%s, %s, %s, %s, 1, now())
ON CONFLICT (tenant_id, grant_id, minute) DO UPDATE SET uses = keys_ratewindow.uses + 1 RETURNING uses
"""


class Slots:
    """How many calls of one tenant may wait for providers at once in this process: one silent provider of one tenant
    must not hold every thread.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, tenant_id: UUID) -> Iterator[None]:
        """Hold a slot for the block. Raises Unavailable when the tenant has none left."""
        with self._lock:
            if self._taken[tenant_id] >= self._most:
                raise Unavailable("Too many calls of this tenant wait for its providers.", code="too_many_calls")
            self._taken[tenant_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[tenant_id] -= 1
                self._taken += Counter()  # drops the zeros


_slots: Final = Slots(settings.BROKERED_CALLS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a use came to. `plaintext` is there only for an allowed lease; `result` only for a finished call."""

    decision: Decision
    audit_id: UUID
    key_id: UUID | None
    is_canary: bool = False
    plaintext: Secret | None = None
    lease_expires_at: datetime | None = None
    result: CallResult | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a consumer wants the portal to make with the tenant's credential."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    purpose: str
    version: int | None = None


@operation(
    "key.use",
    permission=Permission.KEY_USE,
    events=("key.used",),
    page=Absent("people do not use keys; workloads do"),
    api="api:key-use",
)
def use(
    *,
    actor: Actor,
    token_id: UUID,
    key_reference: str,
    scope: str,
    purpose: str,
    delivery: Delivery = Delivery.DECISION,
    environment: Environment | None = None,
    version: int | None = None,
) -> Answer:
    """Decide one use, and for an allowed lease open the envelope. A denial is an answer too, recorded alike.

    Raises Unavailable when the key file is missing, IntegrityError when stored material does not verify.
    """
    loaded = context.load(token_id=token_id, key_reference=key_reference)
    request = UseRequest(
        scope=scope,
        purpose=purpose,
        environment=environment,
        delivery=delivery,
        address=actor.origin.address or None,
        version=version,
    )
    decision = _decide(loaded, request)
    audit_id = _record(actor, loaded, request, decision)
    answer = Answer(decision, audit_id, loaded.key_id, loaded.is_canary)
    if not decision.allowed or delivery != Delivery.LEASE or decision.version is None:
        return answer
    plaintext = _open(loaded, decision.version)
    return replace(answer, plaintext=plaintext, lease_expires_at=lease_end(loaded, decision.version))


@operation(
    "key.proxy",
    permission=Permission.KEY_USE,
    events=("key.used", "key.called"),
    page=Absent("people do not use keys; workloads do"),
    api="api:key-proxy",
    external=True,
)
def proxy(*, actor: Actor, token_id: UUID, key_reference: str, call: Call) -> Answer:
    """Make a call for the consumer if one of its scopes allows that method and path; it never sees the credential.

    The intent is committed before the call and its outcome after it. Raises UpstreamUnavailable, recorded as failed.
    """
    with commit():
        loaded = context.load(token_id=token_id, key_reference=key_reference)
        key = selectors.get_key(loaded.key_id) if loaded.key_id and loaded.grant_id else None
        request = UseRequest(
            scope=_scope_of(loaded, key, call),
            purpose=call.purpose,
            environment=None,
            delivery=Delivery.BROKER,
            address=actor.origin.address or None,
            version=call.version,
        )
        decision = _decide(loaded, request)
        named = {"method": call.method, "path": call.path[:300]}
        audit_id = _record(actor, loaded, request, decision, named)
        if not decision.allowed or decision.version is None or key is None:
            return Answer(decision, audit_id, loaded.key_id)
        plaintext = _open(loaded, decision.version)
        upstream = upstream_of(key)
    try:
        with _slots.taken(binding.get_tenant()):
            result = get_adapter(upstream.entry).call(
                upstream, plaintext, call.method, call.path, call.query, call.headers, call.body or None
            )
    except Exception as error:
        # Whatever went wrong, the record says that the call was made and failed. Never the error's text.
        code = error.code if isinstance(error, PortalError) else type(error).__name__
        _record_call(actor, key, audit_id, outcome=Outcome.FAILED, detail={"code": code})
        raise
    _record_call(
        actor,
        key,
        audit_id,
        outcome=Outcome.ALLOWED,
        detail={"status": result.status, "bytes": len(result.body)},
    )
    return Answer(decision, audit_id, loaded.key_id, result=result)


def _decide(loaded: context.Loaded, request: UseRequest) -> Decision:
    """Decide without the rate first, so that only a use which everything before it allows is counted."""
    now = timezone.now()
    decision = decide(loaded.context, request, now)
    counted = decision.allowed or decision.code == Code.DELIVERY_NOT_PERMITTED
    if not counted or loaded.rate_per_minute is None or loaded.grant_id is None:
        return decision
    rate = _count(loaded.grant_id, loaded.rate_per_minute, now)
    return decide(replace(loaded.context, rate=rate), request, now)


def _count(grant_id: UUID, limit: int, now: datetime) -> RateFacts:
    minute = now.replace(second=0, microsecond=0)
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_COUNT, [new_id(), binding.get_tenant(), grant_id, minute])
        uses = int(cursor.fetchone()[0])
        if uses == 1:
            # A new minute. The last one stays: a late use may still count in it.
            old = minute - timedelta(minutes=2)
            cursor.execute("DELETE FROM keys_ratewindow WHERE grant_id = %s AND minute < %s", [grant_id, old])
    return RateFacts(limit=limit, used=uses - 1, resets_at=minute + timedelta(minutes=1))


def _scope_of(loaded: context.Loaded, key: Key | None, call: Call) -> str | None:
    if key is None:
        return None
    upstream = upstream_of(key)
    return choose_scope(loaded, upstream.entry, key.parameters, method=call.method, path=call.path, query=call.query)


def _record(
    actor: Actor,
    loaded: context.Loaded,
    request: UseRequest,
    decision: Decision,
    call: dict[str, str] | None = None,
) -> UUID:
    event = describe(
        loaded, request, decision, tenant_id=binding.get_tenant(), scope=_known_scope(loaded, request), call=call
    )
    audit_id = append(
        actor=actor,
        action=event.action,
        target=event.target,
        outcome=Outcome.ALLOWED if decision.allowed else Outcome.DENIED,
        detail=event.detail,
        private=private_of(request, decision, call),
    )
    if loaded.is_canary and loaded.key_id is not None:
        canaries.announce(key_id=loaded.key_id, consumer_id=actor.id, audit_id=audit_id)
    return audit_id


def _known_scope(loaded: context.Loaded, request: UseRequest) -> str:
    word = find_word(loaded, request.scope)
    if word is not None:
        return word
    provider = Provider.objects.filter(id=loaded.provider_id).first() if loaded.provider_id else None
    return offered_word(request.scope, entry_of(provider) if provider is not None else None)


def _record_call(actor: Actor, key: Key, audit_id: UUID, *, outcome: Outcome, detail: dict[str, Any]) -> None:
    with commit():
        append(
            actor=actor,
            action="key.called",
            target=Target("key", key.id),
            outcome=outcome,
            detail={"use": str(audit_id), **detail},
        )


def _open(loaded: context.Loaded, number: int) -> Secret:
    sealed = custody.read_sealed(loaded.version_ids[number])
    if sealed is None or loaded.key_id is None:
        raise Unavailable("The credential was destroyed.", code="material_destroyed")
    return custody.open_sealed(sealed, key_id=loaded.key_id, number=number)


def lease_end(loaded: context.Loaded, number: int) -> datetime:
    """When a lease given now ends: after five minutes, and with the first of grant, key and version."""
    grant, key = loaded.context.grant, loaded.context.key
    ends = [timezone.now() + LEASE, grant.ends_at if grant else None, key.ends_at if key else None]
    ends += [version.expires_at for version in loaded.context.versions if version.number == number]
    return min(end for end in ends if end is not None)
