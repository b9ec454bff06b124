"""Handing the record out: the export and the saved lists. Whoever takes it along leaves an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit import exports, selectors
from audit.notes import SignedNote, parse_checkpoint
from audit.services.recording import Target, append
from audit.tlog_proof import parse as parse_proof
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission

if TYPE_CHECKING:
    from audit.selectors import Filters
    from byok_portal.boundary.actors import Actor


@operation(
    "audit.export",
    permission=Permission.AUDIT_READ,
    events=("audit.exported",),
    page="audit:export",
    api="api:audit-export",
)
def export(*, actor: Actor, kept: str = "") -> exports.Export:
    """Prepare the export of the whole trail and record it: how many entries, under which checkpoint.

    Raises as `exports.prepare`; nothing is recorded then.
    """
    made = exports.prepare(kept=kept)
    head = parse_checkpoint(SignedNote.parse(parse_proof(made.members["head.tlog-proof"]).checkpoint).body)
    detail = {"count": made.count, "size": head.size}
    append(actor=actor, action="audit.exported", target=Target("tenant", binding.get_tenant()), detail=detail)
    return made


@operation(
    "audit.save",
    permission=Permission.AUDIT_READ,
    events=("audit.saved",),
    page="audit:save-csv",
    api=Absent("the API hands out entries page by page, without personal data"),
)
def save(*, actor: Actor, filters: Filters, ending: str) -> int:
    """Record that a list is saved under these filters. Returns the number of the last entry that belongs into it."""
    head = selectors.find_head()
    upto = head.tseq if head else 0
    detail = {"filters": _words(filters), "format": ending, "upto": upto}
    append(actor=actor, action="audit.saved", target=Target("tenant", binding.get_tenant()), detail=detail)
    return upto


def _words(filters: Filters) -> list[str]:
    values = {
        "action": filters.action,
        "outcome": filters.outcome,
        "actor_kind": filters.actor_kind,
        "actor": filters.actor_id,
        "target": filters.target_id,
        "since": filters.since.isoformat() if filters.since else "",
        "until": filters.until.isoformat() if filters.until else "",
    }
    return [f"{name}={value}" for name, value in values.items() if value]
