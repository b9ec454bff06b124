"""Appending events. Runs inside the business transaction: no record, no action. Never takes a lock or a number."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from audit.canonical import canonicalise
from audit.models import Outcome
from byok_portal.boundary import binding, operations
from byok_portal.boundary.identifiers import new_id

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

PRIVATE_DOMAIN: Final = b"byok-priv-v1\n"

_APPEND: Final = """
WITH private AS (
  INSERT INTO audit_private (event_id, tenant_id, salt, data) VALUES (%(id)s, %(tenant)s, %(salt)s, %(data)s)
)
INSERT INTO audit_inbox (event_id, tenant_id, body) VALUES (%(id)s, %(tenant)s, %(body)s)
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
    tenant_id, event_id, salt = binding.get_tenant(), new_id(), secrets.token_bytes(32)
    data = _private_data(actor, private)
    body = canonicalise(
        {
            "action": action,
            "actor": {"id": str(actor.id), "kind": actor.kind.value},
            "detail": detail or {},
            "id": str(event_id),
            "outcome": Outcome(outcome).value,
            "priv": commitment(salt, data),
            "req": actor.origin.request_id,
            "target": {"id": str(target.id), "kind": target.kind},
            "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
    )
    connection = connections[binding.get_alias()]
    if not connection.in_atomic_block:
        message = f"{action}: an event belongs to the transaction of its change"
        raise operations.NothingRecordedError(message)
    with connection.cursor() as cursor:
        cursor.execute(
            _APPEND,
            {
                "id": event_id,
                "tenant": tenant_id,
                "salt": salt,
                "data": json.dumps(data),
                "body": body.decode(),
            },
        )
    operations.note(action, event_id)
    return event_id


def append_denial(*, actor: Actor, action: str, code: str) -> UUID:
    """Record that `actor` was refused the operation `action`."""
    target = Target("tenant", binding.get_tenant())
    return append(actor=actor, action=action, target=target, outcome=Outcome.DENIED, detail={"code": code})


def commitment(salt: bytes, data: dict[str, Any]) -> str:
    """SHA-256(domain || salt || canonical data) as hex: hides the data, and cannot be opened to other data."""
    return hashlib.sha256(PRIVATE_DOMAIN + salt + canonicalise(data)).hexdigest()


def _private_data(actor: Actor, private: dict[str, Any] | None) -> dict[str, Any]:
    known = {
        "label": actor.label,
        "address": actor.origin.address,
        "user_agent": actor.origin.user_agent[:200],
    }
    return {name: value for name, value in (known | (private or {})).items() if value}
