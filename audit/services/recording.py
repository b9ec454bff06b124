"""Appending events. Runs inside the business transaction: no record, no action. Never takes a lock or a number."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from audit import sealing
from audit.canonical import canonicalise
from audit.models import Outcome
from byok_portal.boundary import binding, operations
from byok_portal.boundary.database.prepared import Statement
from byok_portal.boundary.identifiers import new_id, parse_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from byok_portal.boundary.actors import Actor, Origin

# A key in memory may have been shredded, or rolled back with the transaction that made it: the database knows.
_KEEP: Final = """
  INSERT INTO audit_private (event_id, tenant_id, sealed)
  SELECT %(id)s::uuid, %(tenant)s::uuid, %(sealed)s::bytea WHERE EXISTS (
    SELECT FROM audit_datakey
    WHERE tenant_id = %(tenant)s AND version = %(version)s AND kcv = %(kcv)s AND wrapped IS NOT NULL
  ) RETURNING 1
"""
_BARE: Final = "INSERT INTO audit_inbox (event_id, tenant_id, body) VALUES (%(id)s, %(tenant)s, %(body)s)"
_EVENT: Final = {"id": "uuid", "tenant": "uuid", "body": "text"}
_APPEND_BARE: Final = Statement("append_bare", _BARE, _EVENT)
_APPEND: Final = Statement(
    "append",
    f"WITH private AS ({_KEEP}) {_BARE} RETURNING (SELECT count(*) FROM private)",  # noqa: S608  # both parts are constants
    _EVENT | {"sealed": "bytea", "version": "integer", "kcv": "bytea"},
)

_APPEND_MANY: Final = """
WITH given AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%(rows)s::json) AS g (n integer, id uuid, body text, sealed text)
), private AS (
  INSERT INTO audit_private (event_id, tenant_id, sealed)
  SELECT id, %(tenant)s::uuid, decode(sealed, 'base64') FROM given WHERE sealed <> '' AND EXISTS (
    SELECT FROM audit_datakey
    WHERE tenant_id = %(tenant)s AND version = %(version)s AND kcv = %(kcv)s AND wrapped IS NOT NULL
  ) RETURNING event_id
), inbox AS (
  INSERT INTO audit_inbox (event_id, tenant_id, body) SELECT id, %(tenant)s, body FROM given ORDER BY n
)
SELECT id FROM given WHERE sealed <> '' AND id NOT IN (SELECT event_id FROM private)
"""


@dataclass(frozen=True, slots=True)
class Target:
    """What the action was done to: `kind` such as `key`, and its id."""

    kind: str
    id: UUID


def append(
    *,
    actor: Actor,
    action: str,
    target: Target,
    outcome: Outcome = Outcome.ALLOWED,
    detail: dict[str, Any] | None = None,
    private: dict[str, Any] | None = None,
) -> UUID:
    """Append one event to the bound tenant's trail and return its id, the `Audit-Id`.

    `action` is a fact (`key.rotated`); a denied attempt carries the operation's name (`key.rotate`). `detail` holds
    integers, text, booleans and lists of them, never personal data and never plaintext; personal data goes to
    `private`, which the leaf commits to by a salted hash. Raises if no transaction is open.
    """
    if not connections[binding.get_alias()].in_atomic_block:
        message = f"{action}: an event belongs to the transaction of its change"
        raise operations.NothingRecordedError(message)
    event_id, body, kept = compose(actor, Event(action, target, detail or {}), outcome, private)
    _insert(event_id, body, kept)
    operations.note(action, event_id)
    return event_id


def compose(
    actor: Actor, event: Event, outcome: Outcome = Outcome.ALLOWED, private: dict[str, Any] | None = None
) -> tuple[UUID, str, sealing.Detail]:
    """(id, body, personal data) of an event as the inbox stores it; writes nothing."""
    event_id, request_id = _event_id(actor.origin)
    kept = sealing.Detail.of(_private_data(actor, private))
    return event_id, write(event_id, actor.kind.value, actor.id, event, Outcome(outcome), kept, request_id), kept


def write(
    event_id: UUID,
    kind: str,
    actor_id: UUID,
    event: Event,
    outcome: Outcome,
    kept: sealing.Detail,
    request_id: str = "",
) -> str:
    """An event as the inbox stores it. `kind`: of the actor; `request_id`: where the event goes by another id."""
    moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    said = json.dumps(request_id) if request_id else '""'
    # The keys in canonical order. Ids, and words that are all our own, need no escaping.
    return (
        f'{{"action":"{event.action}","actor":{{"id":"{_text(actor_id)}","kind":"{kind}"}},'
        f'"detail":{canonicalise(event.detail).decode()},"id":"{event_id}","outcome":"{outcome.value}",'
        f'"priv":"{kept.commitment}","req":{said},'
        f'"target":{{"id":"{_text(event.target.id)}","kind":"{event.target.kind}"}},"time":"{moment}"}}'
    )


_text: Final = lru_cache(maxsize=8192)(str)
"""Of ids that come again and again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One of many events that are appended together: what happened to what."""

    action: str
    target: Target
    detail: dict[str, Any]


def append_many(*, actor: Actor, events: Sequence[Event]) -> list[UUID]:
    """Append events of one actor, all allowed, in their order and in one statement: as `append`, one after another.

    For work that writes thousands. Returns their ids.
    """
    if not events:
        return []
    if not connections[binding.get_alias()].in_atomic_block:
        message = f"{events[0].action}: an event belongs to the transaction of its change"
        raise operations.NothingRecordedError(message)
    written = [compose(actor, each) for each in events]
    sealed = [sealing.seal(kept, event_id=event_id) for event_id, _body, kept in written]
    first = next((each for each in sealed if each is not None), None)
    rows = [
        {
            "n": n,
            "id": str(event_id),
            "body": body,
            "sealed": b64encode(blob.blob).decode() if blob is not None else "",
        }
        for n, ((event_id, body, _kept), blob) in enumerate(zip(written, sealed, strict=True))
    ]
    values: dict[str, Any] = {"tenant": binding.get_tenant(), "rows": json.dumps(rows)}
    key: dict[str, Any] = (
        {"version": first.version, "kcv": first.kcv} if first is not None else {"version": 0, "kcv": b""}
    )
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_APPEND_MANY, values | key)
        for (lost,) in cursor.fetchall():
            # The key was shredded or made anew meanwhile: with the key of now, or without the detail.
            kept = next(kept for event_id, _body, kept in written if event_id == lost)
            again = sealing.seal(kept, event_id=lost, again=True)
            if again is not None:
                cursor.execute(_KEEP, {"id": lost, "tenant": binding.get_tenant()} | _sealed_values(again))
    for each, (event_id, _body, _kept) in zip(events, written, strict=True):
        operations.note(each.action, event_id)
    return [event_id for event_id, _body, _kept in written]


def append_denial(*, actor: Actor, action: str, code: str) -> UUID:
    """Record that `actor` was refused the operation `action`."""
    target = Target("tenant", binding.get_tenant())
    return append(actor=actor, action=action, target=target, outcome=Outcome.DENIED, detail={"code": code})


def _event_id(origin: Origin) -> tuple[UUID, str]:
    """(event id, `req`): the first event of a request goes by the request's own id, and need not repeat it.

    An id that was taken stays taken, even when its transaction is rolled back: one id is one event.
    """
    request_id = origin.request_uuid or parse_id(origin.request_id)
    if request_id is not None and origin.first_event is not None and origin.first_event.take():
        return request_id, ""
    return new_id(), origin.request_id


def _insert(event_id: UUID, body: str, detail: sealing.Detail) -> None:
    """One statement, but for the rare event whose key was gone: then with the key of now, or without the detail."""
    values: dict[str, Any] = {"id": event_id, "tenant": binding.get_tenant(), "body": body}
    sealed = sealing.seal(detail, event_id=event_id)
    connection: Any = connections[binding.get_alias()]
    if sealed is None:
        connection.ask(_APPEND_BARE, values)
        return
    ((kept,),) = connection.ask(_APPEND, values | _sealed_values(sealed))
    sealed = None if kept else sealing.seal(detail, event_id=event_id, again=True)
    if sealed is not None:
        with connection.cursor() as cursor:
            cursor.execute(_KEEP, values | _sealed_values(sealed))


def _sealed_values(sealed: sealing.SealedDetail) -> dict[str, Any]:
    return {"sealed": sealed.blob, "version": sealed.version, "kcv": sealed.kcv}


def _private_data(actor: Actor, private: dict[str, Any] | None) -> dict[str, Any]:
    return personal(actor.label, actor.origin.address, actor.origin.user_agent, private or {})


def personal(label: str, address: str, user_agent: str, private: dict[str, Any]) -> dict[str, Any]:
    """The personal data of an event: who acted from where, and what is known beside it."""
    known = {"label": label, "address": address, "user_agent": user_agent[:200], **private}
    return {name: value for name, value in known.items() if value}
