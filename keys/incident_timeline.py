"""What happened about an exposed key, as the log has it: numbered entries and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from audit.selectors import Filters, search

if TYPE_CHECKING:
    from audit.models import Entry
    from keys.models import Incident

_ABOUT_KEY: Final = (
    "key.quarantined",
    "key.compromised",
    "key.suspended",
    "key.resumed",
    "key.rotated",
    "key.rolled_back",
    "key.rotation_finished",
    "key.revoked",
    "key.expired",
    "key.upstream_called",
    "key.upstream_revoked",
    "key.upstream_residual",
    "key.handed_over",
    "key.right_sized",
    "grant.created",
    "grant.ended",
)
_MOST: Final = 50
_MOST_STEPS: Final = 500
_AFTERMATH: Final = timedelta(days=1)
"""A provider may confirm a death after the incident was closed."""


def list_entries(incident: Incident) -> list[Entry]:
    """Entries about the incident, and about its key since the suspected moment, the oldest first. No use is here."""
    until = incident.closed_at + _AFTERMATH if incident.closed_at else None
    found = search(Filters(target_id=incident.id), limit=_MOST_STEPS)
    for action in _ABOUT_KEY:
        filters = Filters(action=action, target_id=incident.key_id, since=incident.suspected_since, until=until)
        found += search(filters, limit=_MOST)
    return sorted(found, key=lambda entry: entry.tseq)
