"""Log health in the staff door: is the log numbered, signed and read in time. Shows no tenant data, counts no row."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib import admin
from django.db import connections
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from audit import proofs
from audit.models import LogState, Reader
from byok_portal.boundary import binding, replica
from byok_portal.boundary.staff import StaffAdmin

if TYPE_CHECKING:
    from datetime import datetime

    from django.http import HttpRequest

    from audit.models import Checkpoint

PAGE: Final = "admin/audit/log_health.html"
MINUTE: Final = 60
SILENCE: Final = timedelta(seconds=30)
"""The sequencer notes a sign of life every few seconds, also without work."""
UNSIGNED: Final = timedelta(seconds=MINUTE)
# Sizes need no right on the rows.
_PARTITIONS: Final = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), pg_total_relation_size(c.oid)
FROM pg_partition_tree('audit_entry') t JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf ORDER BY c.oid
"""


@admin.register(LogState)
class LogHealthAdmin(StaffAdmin):
    """One page in the place of a list: there is one log."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The state of the log now."""
        state = LogState.objects.get()
        return self.show(
            request,
            PAGE,
            title=_("Log health"),
            facts=_facts(state),
            fault=state.fault,
            fault_at=state.fault_at,
            troubles=_troubles(state),
            readers=_readers(state),
            partitions=_partitions(),
        )


def _troubles(state: LogState) -> list[str]:
    """What somebody should look at, besides a fault of the signing; nothing when all is well."""
    now, found = timezone.now(), list[str]()
    newest = proofs.find_checkpoint()
    if now - state.beat_at > SILENCE:
        found.append(
            _("The sequencer has given no sign of life for %(age)s: events wait.") % {"age": _age(state.beat_at)}
        )
    if state.waiting:
        found.append(_("Events were refused and wait in the inbox: the sequencer's log names them."))
    if state.size and (newest is None or (newest.size < state.size and now - newest.signed_at > UNSIGNED)):
        found.append(_("Entries have waited for a signed checkpoint for more than a minute."))
    stale = [row["reader"].name for row in _readers(state) if row["is_stale"]]
    if stale:
        found.append(_("Readers that are behind or failed: %(names)s.") % {"names": ", ".join(stale)})
    if replica.find_state() not in (None, "ok"):
        found.append(_("The replica is away or far behind: all pages and exports are read from the primary meanwhile."))
    return found


def _age(moment: datetime) -> str:
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    return _("%(age)s s") % {"age": seconds} if seconds < 2 * MINUTE else timesince(moment)


def _facts(state: LogState) -> list[tuple[str, Any]]:
    """What the sequencer says of itself, and the newest checkpoint."""
    newest = proofs.find_checkpoint()
    return [
        (_("Entries in the log"), state.size),
        (_("Not covered by a signed checkpoint yet"), state.size - (newest.size if newest else 0)),
        (_("Delay of the last batch"), _("%(lag)s ms") % {"lag": state.lag_ms}),
        (_("Last sign of life of the sequencer"), _("%(age)s ago") % {"age": _age(state.beat_at)}),
        (_("Sequencer"), state.sequencer),
        (_("Events that were refused and wait"), state.waiting),
        (_("Removed by retention, below position"), state.pruned_to or _("Nothing was removed")),
        (_("Last checkpoint"), newest.size if newest else _("None is published yet")),
        (_("Log"), newest.origin if newest else ""),
        (_("Signed"), newest.signed_at if newest else None),
        (_("Witnessed"), _witnessed(newest)),
    ]


def _readers(state: LogState) -> list[dict[str, Any]]:
    rows = Reader.objects.order_by("name")
    return [
        {"reader": row, "behind": max(0, state.size - row.position), "is_stale": _is_stale(row, state)} for row in rows
    ]


def _is_stale(reader: Reader, state: LogState) -> bool:
    """Whether it failed, or has not come as far as the log although there was time."""
    is_late = reader.read_at is None or timezone.now() - reader.read_at > UNSIGNED
    return bool(reader.fault) or (reader.position < state.size and is_late)


def _witnessed(newest: Checkpoint | None) -> Any:
    if newest is None or newest.witnessed_at is not None:
        return newest.witnessed_at if newest else None
    return _("Not yet") if settings.WITNESS_VKEY.strip() else _("No witness is configured")


def _partitions() -> list[dict[str, str]]:
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_PARTITIONS)
        rows = cursor.fetchall()
    return [
        {"name": name, "bounds": _word_bounds(str(bounds)), "size": filesizeformat(size)} for name, bounds, size in rows
    ]


def _word_bounds(bounds: str) -> str:
    """FOR VALUES FROM ('0') TO ('10000000') holds 0 to 9999999; anything else as the database words it."""
    numbers = [int(digits) for digits in re.findall(r"'(\d+)'", bounds)]
    if len(numbers) != len(("from", "to")):
        return bounds.removeprefix("FOR VALUES ")
    return _("%(low)s to %(high)s") % {"low": f"{numbers[0]:,}", "high": f"{numbers[1] - 1:,}"}
