"""The record of what retention removes, written before anything is removed. Must never remove anything itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

_SHELL = Absent("the migration login prunes, by audit_prune on the command line")


@operation("audit.prune", permission=Permission.JOB_RUN, events=("audit.pruned",), page=_SHELL, api=_SHELL)
def record_pruning(*, actor: Actor, upto: int) -> UUID:
    """Record that the entries at positions 0 <= i < `upto` are removed; returns the event's id.

    From 0 each time: the entry about an earlier removal may itself be among those that go now.
    """
    return append(
        actor=actor,
        action="audit.pruned",
        target=Target("tenant", binding.get_tenant()),
        detail={"from": 0, "to": upto},
    )
