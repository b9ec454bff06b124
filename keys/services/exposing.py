"""Declaring a key exposed: quarantined on suspicion, or ended at once and for ever. Either opens an incident."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict
from keys import selectors
from keys.models import Exposure, Incident
from keys.services import announcing, clocks, lifecycle, response
from keys.states import KeyState, RevocationReason
from tenants import rules

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor


@operation(
    "key.compromise",
    permission=Permission.KEY_COMPROMISE,
    events=("key.compromised",),
    page="keys:compromise",
    api="api:key-compromise",
)
def compromise(
    *,
    actor: Actor,
    key_id: UUID,
    reason: str = RevocationReason.KEY_COMPROMISE.value,
    note: str = "",
    suspected_since: datetime | None = None,
) -> Incident:
    """Declare the key exposed: every version ends without overlap, none ever comes back, and an incident is opened.

    One that is at work, after a quarantine, is confirmed instead. Raises Conflict when the key is compromised already.
    """
    allowed = [RevocationReason.KEY_COMPROMISE.value, RevocationReason.LEAK_REPORT.value]
    why = RevocationReason(rules.require_choice(reason, allowed, field="reason"))
    text = rules.require_text(note, field="note", maximum=500, required=False)
    key = selectors.lock_key(key_id)
    if key.state == KeyState.COMPROMISED:
        raise Conflict("The key is compromised already.", code="key_state")
    # Before the grants end: who holds one now could use the key at that moment.
    since = response.check_since(suspected_since)
    ended = lifecycle.end_key(key, reason=why, compromised=True)
    for version in ended:
        lifecycle.enqueue_upstream(version)
    incident = response.open_incident(
        actor, key, versions=ended, reason=why, exposure=Exposure.CONFIRMED, since=since, summary=text
    )
    response.make_tasks(incident, ended)
    announcing.tell_compromised(key, response.list_consumers(incident))
    lifecycle.append_change(actor, key, "key.compromised", reason=why, note=text, ended=ended, incident=incident)
    return incident


@operation(
    "key.quarantine",
    permission=Permission.KEY_SUSPEND,
    events=("key.quarantined",),
    page="keys:quarantine",
    api="api:key-quarantine",
)
def quarantine(*, actor: Actor, key_id: UUID, note: str = "", suspected_since: datetime | None = None) -> Incident:
    """Refuse every use at once because strangers may know the credential, and open an incident.

    Taken back by `incident.dismiss` alone. Raises Conflict unless the key is active or suspended, or when an incident
    about it is at work.
    """
    text = rules.require_text(note, field="note", maximum=500, required=False)
    key = selectors.lock_key(key_id)
    if key.state not in {KeyState.ACTIVE, KeyState.SUSPENDED}:
        raise Conflict(f"The key is {key.state}: there is nothing to quarantine.", code="key_state")
    if response.find_open(key.id) is not None:
        raise Conflict("An incident about this key is open already.", code="incident_open")
    exposed = response.mark(key, Exposure.SUSPECTED)
    if not exposed:
        raise Conflict("The key has no version that could be used.", code="no_version")
    was_active = key.state == KeyState.ACTIVE
    if was_active:
        lifecycle.hold(key)
    clocks.hold(key)
    why = RevocationReason.HOLD
    incident = response.open_incident(
        actor,
        key,
        versions=exposed,
        reason=why,
        exposure=Exposure.SUSPECTED,
        since=suspected_since,
        summary=text,
        was_active=was_active,
    )
    response.make_tasks(incident)
    announcing.tell_quarantined(key, incident, response.list_consumers(incident))
    lifecycle.append_change(actor, key, "key.quarantined", reason=why, note=text, ended=exposed, incident=incident)
    return incident
