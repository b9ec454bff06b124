"""The steps of a drill that change something, each an operation with its entries; `drilling` calls them in order."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import actors, binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict
from keys import drill_results, probes, selectors
from keys.models import Drill, Grant, Key
from keys.services import announcing, assisted, draining, lifecycle
from keys.states import Delivery, DrillState, GrantState, KeyState, RevocationReason
from tenants import tokens
from tenants.models import Consumer, ConsumerToken
from tenants.services.consumers import end_access

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

LIFE: Final = timedelta(minutes=15)
"""Of the drill's own token and grant."""
_WORKER: Final = Absent("a worker runs a drill; people start one with drill.start")
_rotate: Final = inspect.unwrap(assisted.rotate)
_finish_rotation: Final = inspect.unwrap(draining.finish)
"""The work of an assisted rotation and of its end, inside operations of the drill's own: a worker holds no right to
rotate keys in general.
"""


@operation(
    "drill.begin",
    permission=Permission.JOB_RUN,
    events=("consumer.registered", "consumer.token_issued", "grant.created", "drill.prepared"),
    page=_WORKER,
    api=_WORKER,
)
def begin(*, actor: Actor, drill_id: UUID) -> probes.Probe:
    """Make a consumer, a token and a grant for this drill alone. Raises Conflict unless its key is an active canary."""
    drill = _lock(drill_id, DrillState.PLANNED)
    key = selectors.lock_key(drill.key_id) if drill.key_id else None
    if key is None or key.state != KeyState.ACTIVE or not key.is_canary:
        raise Conflict("The key is no active canary any more.", code="no_canary")
    consumer, token, issued = _make_consumer(actor, drill, key)
    grant = _make_grant(actor, drill, key, consumer)
    drill.state, drill.begun_at, drill.consumer_id = DrillState.RUNNING, timezone.now(), consumer.id
    drill.save(update_fields=["state", "begun_at", "consumer"])
    detail = {"key": str(key.id), "consumer": str(consumer.id), "grant": str(grant.id)}
    append(actor=actor, action="drill.prepared", target=Target("drill", drill.id), detail=detail)
    return probes.Probe(
        tenant_id=drill.tenant_id,
        key_id=key.id,
        token_id=token.id,
        scope=grant.scopes[0],
        actor=actors.consumer(
            consumer.id,
            tenant_id=drill.tenant_id,
            scopes=frozenset({Permission.KEY_USE}),
            label=consumer.slug,
            origin=actor.origin,
        ),
        plaintext=issued.plaintext,
    )


@operation("drill.revoke", permission=Permission.JOB_RUN, events=("key.revoked",), page=_WORKER, api=_WORKER)
def revoke(*, actor: Actor, drill_id: UUID) -> None:
    """End the canary as any key is ended; a worker then revokes it at its provider."""
    drill = _lock(drill_id, DrillState.RUNNING)
    key = selectors.lock_key(_key_of(drill))
    if key.state in selectors.ENDED_KEYS:
        raise Conflict("The key has ended meanwhile.", code="key_state")
    reason = RevocationReason.CESSATION_OF_OPERATION
    ended = lifecycle.end_key(key, reason=reason)
    for version in ended:
        lifecycle.enqueue_upstream(version)
    _note_end(drill)
    detail = {"reason": reason.value, "versions": [version.number for version in ended], "drill": str(drill.id)}
    append(actor=actor, action="key.revoked", target=Target("key", key.id), detail=detail)


@operation("drill.offboard", permission=Permission.JOB_RUN, events=("consumer.ended",), page=_WORKER, api=_WORKER)
def offboard(*, actor: Actor, drill_id: UUID) -> None:
    """End the drill's own consumer as any consumer is ended."""
    drill = _lock(drill_id, DrillState.RUNNING)
    _end_consumer(actor, drill)
    _note_end(drill)


@operation(
    "drill.rotate",
    permission=Permission.JOB_RUN,
    events=(
        "key.successor_asked",
        "key.successor_made",
        "key.successor_given_up",
        "key.rotated",
        "key.proven",
        "key.resumed",
    ),
    page=_WORKER,
    api=_WORKER,
    external=True,
)
def rotate(*, actor: Actor, drill_id: UUID, number: int) -> None:
    """Have the provider make a successor of the canary, with an hour of overlap. Raises as an assisted rotation."""
    with binding.reading():
        drill = Drill.objects.get(id=drill_id)
    note = "Drill"
    _rotate(actor=actor, key_id=_key_of(drill), drain_hours=1, replaces=number, accept_excess=True, note=note)


@operation("drill.end_old", permission=Permission.JOB_RUN, events=("key.rotation_finished",), page=_WORKER, api=_WORKER)
def end_old(*, actor: Actor, drill_id: UUID, number: int) -> None:
    """End the old version before its drain is over. Raises as finishing a rotation."""
    drill = _lock(drill_id, DrillState.RUNNING)
    _finish_rotation(actor=actor, key_id=_key_of(drill), number=number, force=True, note="Drill")
    _note_end(drill)


@operation("drill.keep", permission=Permission.JOB_RUN, events=("drill.measured",), page=_WORKER, api=_WORKER)
def keep(*, actor: Actor, drill_id: UUID, code: str, results: list[dict[str, Any]], entries: list[list[str]]) -> Drill:
    """Keep what was measured here while the provider is still to confirm."""
    drill = _lock(drill_id, DrillState.RUNNING)
    drill.state, drill.code, drill.results, drill.entries = DrillState.CONFIRMING, code, results, entries
    drill.save(update_fields=["state", "code", "results", "entries"])
    detail = {"code": code, "slowest_ms": drill_results.slowest(results)}
    append(actor=actor, action="drill.measured", target=Target("drill", drill.id), detail=detail)
    return drill


@operation(
    "drill.finish",
    permission=Permission.JOB_RUN,
    events=("drill.finished", "consumer.ended"),
    page=_WORKER,
    api=_WORKER,
)
def finish(
    *,
    actor: Actor,
    drill_id: UUID,
    code: str,
    results: list[dict[str, Any]] | None = None,
    entries: list[list[str]] | None = None,
    upstream_ms: int | None = None,
) -> Drill:
    """Write the verdict: passed without a code. The drill's consumer ends. Raises Conflict when it is written."""
    drill = Drill.objects.lock().get(id=drill_id)
    if drill.finished_at is not None:
        raise Conflict("The drill has finished.", code="drill_state")
    drill.state = DrillState.FAILED if code else DrillState.PASSED
    drill.code, drill.finished_at, drill.upstream_ms = code, timezone.now(), upstream_ms
    drill.results = drill.results if results is None else results
    drill.entries = drill.entries if entries is None else entries
    drill.save(update_fields=["state", "code", "finished_at", "upstream_ms", "results", "entries"])
    if drill.consumer_id and Consumer.objects.filter(id=drill.consumer_id, state=Consumer.State.ACTIVE).exists():
        _end_consumer(actor, drill)
    if code:
        announcing.tell_drill_failed(drill)
    detail = {"kind": str(drill.kind), "state": str(drill.state), "code": code, "processes": len(drill.results)}
    detail["slowest_ms"] = drill_results.slowest(drill.results)
    append(actor=actor, action="drill.finished", target=Target("drill", drill.id), detail=detail)
    return drill


def _make_consumer(actor: Actor, drill: Drill, key: Key) -> tuple[Consumer, ConsumerToken, tokens.IssuedToken]:
    mark = drill.id.hex[-12:]
    consumer = Consumer(name=f"Drill {mark}", slug=f"drill-{mark}", kind="service", environment=key.environment)
    consumer.operated_by = "platform"
    consumer.save(force_insert=True)
    issued, ends = tokens.issue(), timezone.now() + LIFE
    token: ConsumerToken = ConsumerToken.objects.create(
        consumer=consumer,
        digest=issued.digest,
        prefix=issued.prefix,
        last_four=issued.last_four,
        scopes=[Permission.KEY_USE.value],
        expires_at=ends,
    )
    target, drilled = Target("consumer", consumer.id), {"drill": str(drill.id)}
    made = {"slug": consumer.slug, "kind": consumer.kind, "environment": consumer.environment}
    append(actor=actor, action="consumer.registered", target=target, detail={**made, **drilled})
    given = {"token": str(token.id), "scopes": token.scopes, "expires_at": _written(ends)}
    append(actor=actor, action="consumer.token_issued", target=target, detail={**given, **drilled})
    return consumer, token, issued


def _make_grant(actor: Actor, drill: Drill, key: Key, consumer: Consumer) -> Grant:
    now = timezone.now()
    grant: Grant = Grant.objects.create(
        key=key,
        consumer=consumer,
        scopes=key.scopes[:1],
        deliveries=[Delivery.DECISION.value],
        starts_at=now,
        expires_at=now + LIFE,
        reason="Drill",
        granted_by_id=drill.started_by_id,
    )
    detail = {
        "grant": str(grant.id),
        "consumer": str(consumer.id),
        "scopes": grant.scopes,
        "deliveries": grant.deliveries,
        "networks": [],
        "expires_at": _written(grant.expires_at),
        "drill": str(drill.id),
    }
    append(actor=actor, action="grant.created", target=Target("key", key.id), detail=detail)
    return grant


def _end_consumer(actor: Actor, drill: Drill) -> None:
    if drill.consumer_id is None:
        raise Conflict("The drill has no consumer.", code="drill_state")
    consumer = Consumer.objects.lock().get(id=drill.consumer_id)
    ended = end_access(consumer)
    reason = RevocationReason.CESSATION_OF_OPERATION.value
    live = Grant.objects.filter(consumer_id=consumer.id, state=GrantState.ACTIVE)
    grants = live.update(state=GrantState.REVOKED, ended_at=timezone.now(), end_reason=reason)
    detail = {"reason": reason, "tokens": ended, "grants": grants, "drill": str(drill.id)}
    append(actor=actor, action="consumer.ended", target=Target("consumer", consumer.id), detail=detail)


def _note_end(drill: Drill) -> None:
    drill.ended_at = timezone.now()
    drill.save(update_fields=["ended_at"])


def _lock(drill_id: UUID, state: DrillState) -> Drill:
    drill = Drill.objects.lock().get(id=drill_id)
    if drill.state != state:
        raise Conflict(f"The drill is {drill.state}.", code="drill_state")
    return drill


def _key_of(drill: Drill) -> UUID:
    if drill.key_id is None:
        raise Conflict("The drill has no key.", code="no_canary")
    return drill.key_id


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
