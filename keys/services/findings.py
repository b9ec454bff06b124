"""Answering findings: taking away what nobody used, or accepting one for a while with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict
from keys import posture, selectors
from keys.findings import Kind
from keys.models import Acceptance
from keys.states import GrantState, RevocationReason
from tenants import rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from keys.models import Grant

MAX_DAYS: Final = 180


@operation(
    "finding.accept",
    permission=Permission.FINDING_ACCEPT,
    events=("finding.accepted",),
    page="keys:finding-accept",
    api="api:finding-accept",
)
def accept(*, actor: Actor, key_id: UUID, kind: str, days: int, reason: str) -> Acceptance:
    """Leave a finding as it is for some days; then it is found again.

    Raises InvalidInput, Conflict when nothing of that kind is found about the key now.
    """
    chosen = Kind(rules.require_choice(kind, [word.value for word in Kind], field="kind"))
    length = rules.require_number(days, field="days", minimum=1, maximum=MAX_DAYS)
    text = rules.require_text(reason, field="reason", maximum=500)
    key = selectors.lock_key(key_id)
    if not any(row.finding.kind is chosen for row in posture.list_found(key.id)):
        message = "Nothing of this kind is found about the key."
        raise Conflict(message, code="not_found_now")
    row: Acceptance = Acceptance.objects.create(
        key=key,
        kind=chosen.value,
        reason=text,
        expires_at=timezone.now() + timedelta(days=length),
        accepted_by_id=actor.id,
    )
    append(
        actor=actor,
        action="finding.accepted",
        target=Target("key", key.id),
        detail={"kind": chosen.value, "days": length},
        private={"reason": text},
    )
    return row


@operation(
    "key.right_size",
    permission=Permission.GRANT_END,
    events=("key.right_sized",),
    page="keys:right-size",
    api="api:key-right-size",
)
def right_size(*, actor: Actor, key_id: UUID, note: str = "") -> Sequence[Grant]:
    """Take from each live grant of a key the scopes that its consumer has not used inside the window.

    A grant that keeps none ends. Granting again brings them back. Raises Conflict when everything is used.
    """
    text = rules.require_text(note, field="note", maximum=500, required=False)
    key = selectors.lock_key(key_id)
    unused, window = posture.list_unused(key.id)
    if not unused:
        message = f"Every granted scope was used in the last {window} days, or is too new to tell."
        raise Conflict(message, code="all_used")
    for found in unused:
        _narrow(found)
    append(
        actor=actor,
        action="key.right_sized",
        target=Target("key", key.id),
        detail={
            "days": window,
            "grants": [str(found.grant.id) for found in unused],
            "scopes": sorted({scope for found in unused for scope in found.scopes}),
            "ended": sum(found.grant.state == GrantState.REVOKED for found in unused),
        },
        private={"note": text},
    )
    return [found.grant for found in unused]


def _narrow(found: posture.Unused) -> None:
    grant = found.grant
    kept = [scope for scope in grant.scopes if scope not in found.scopes]
    if kept:
        grant.scopes = kept
        grant.save(update_fields=["scopes"])
        return
    grant.state, grant.ended_at = GrantState.REVOKED, timezone.now()
    grant.end_reason = RevocationReason.PRIVILEGE_WITHDRAWN
    grant.save(update_fields=["state", "ended_at", "end_reason"])
