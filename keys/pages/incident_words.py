"""Incidents, their tasks and what happened, in the words of the pages and mails. Reads nothing and decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.ui.wording import word_moment
from keys.models import Exposure
from keys.states import IncidentState, TaskKind, TaskState

if TYPE_CHECKING:
    from keys.models import Incident, IncidentTask

STATES: Final[dict[str, tuple[str, Any]]] = {
    IncidentState.NEW: ("attention", gettext_lazy("New")),
    IncidentState.IN_PROGRESS: ("running", gettext_lazy("In progress")),
    IncidentState.ON_HOLD: ("waiting", gettext_lazy("On hold")),
    IncidentState.RESOLVED: ("active", gettext_lazy("Resolved")),
    IncidentState.CLOSED: ("revoked", gettext_lazy("Closed")),
}
EXPOSURES: Final[dict[str, tuple[str, Any]]] = {
    Exposure.SUSPECTED: ("attention", gettext_lazy("Suspected")),
    Exposure.CONFIRMED: ("compromised", gettext_lazy("Confirmed")),
}
TASK_STATES: Final[dict[str, tuple[str, Any]]] = {
    TaskState.OPEN: ("attention", gettext_lazy("Open")),
    TaskState.DONE: ("active", gettext_lazy("Done")),
    TaskState.NOT_NEEDED: ("revoked", gettext_lazy("Not needed")),
}
_TASKS: Final[dict[str, Any]] = {
    TaskKind.REVOKE_UPSTREAM: gettext_lazy("Make sure that version %(about)s is dead at %(provider)s"),
    TaskKind.REPLACE: gettext_lazy("Replace the credential in %(about)s"),
    TaskKind.REVIEW_USES: gettext_lazy("Review the uses since %(since)s"),
    TaskKind.CHECK_KEY: gettext_lazy("Check %(about)s: it holds the same credential"),
    TaskKind.TELL: gettext_lazy("Tell whoever else has to know"),
}
_ROTATE: Final[dict[str, Any]] = {
    Exposure.SUSPECTED: gettext_lazy("Rotate without overlap, or find that it is a false alarm"),
    Exposure.CONFIRMED: gettext_lazy("Put another credential in its place"),
}
_HINTS: Final[dict[str, Any]] = {
    TaskKind.REVOKE_UPSTREAM: gettext_lazy("Done by itself when the provider confirms it."),
    TaskKind.TELL: gettext_lazy("Owners and consumers were told at once; users or authorities were not."),
}
_ACTIONS: Final[dict[str, Any]] = {
    "key.quarantined": gettext_lazy("Put in quarantine"),
    "key.compromised": gettext_lazy("Declared compromised, ended at once"),
    "key.suspended": gettext_lazy("Suspended"),
    "key.resumed": gettext_lazy("Resumed"),
    "key.rotated": gettext_lazy("Rotated"),
    "key.rolled_back": gettext_lazy("Rolled back"),
    "key.rotation_finished": gettext_lazy("Old version ended"),
    "key.revoked": gettext_lazy("Revoked"),
    "key.expired": gettext_lazy("Expired"),
    "key.upstream_called": gettext_lazy("Provider told to revoke"),
    "key.upstream_revoked": gettext_lazy("Provider confirmed that it is dead"),
    "key.upstream_residual": gettext_lazy("Provider did not confirm: left to people"),
    "key.handed_over": gettext_lazy("Handed over"),
    "key.right_sized": gettext_lazy("Grants right-sized"),
    "grant.created": gettext_lazy("Granted"),
    "grant.ended": gettext_lazy("Grant ended"),
    "incident.task_settled": gettext_lazy("Task settled"),
    "incident.noted": gettext_lazy("Note"),
    "incident.moved": gettext_lazy("Moved on"),
    "incident.since_changed": gettext_lazy("Suspected moment changed"),
    "incident.confirmed": gettext_lazy("Exposure confirmed"),
    "incident.dismissed": gettext_lazy("Closed as a false alarm"),
}


def word_action(action: str) -> str:
    """What happened; a refused attempt goes by its operation's name."""
    return str(_ACTIONS.get(action, action))


def word_task(task: IncidentTask, incident: Incident, provider: str) -> str:
    """What is to be done."""
    if task.kind == TaskKind.ROTATE:
        return str(_ROTATE[incident.exposure])
    names = {"about": task.label, "provider": provider, "since": word_moment(incident.suspected_since)}
    return str(_TASKS[task.kind]) % names


def hint_of(task: IncidentTask) -> str:
    """What one should know about an open task."""
    return str(_HINTS.get(task.kind, "")) if task.state == TaskState.OPEN else ""


def title_of(incident: Incident) -> str:
    """The incident by name."""
    words = _("Exposure of %(key)s") if incident.exposure == Exposure.CONFIRMED else _("Suspected exposure of %(key)s")
    return words % {"key": incident.key.name}
