"""Log health in the staff door: is the log numbered, signed and read in time. Shows no tenant data, counts no row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.db import connections
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _

from audit import proofs
from audit.models import LogState, Reader
from byok_portal.boundary import binding
from byok_portal.boundary.staff import StaffAdmin

if TYPE_CHECKING:
    from django.http import HttpRequest

PAGE: Final = "admin/audit/log_health.html"
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
            readers=_readers(state),
            partitions=_partitions(),
        )


def _facts(state: LogState) -> list[tuple[str, Any]]:
    """What the sequencer says of itself, and the newest checkpoint."""
    newest = proofs.find_checkpoint()
    age = max(0, int((timezone.now() - state.beat_at).total_seconds()))
    return [
        (_("Entries in the log"), state.size),
        (_("Not covered by a signed checkpoint yet"), state.size - (newest.size if newest else 0)),
        (_("Delay of the last batch"), _("%(lag)s ms") % {"lag": state.lag_ms}),
        (_("Last sign of life of the sequencer"), _("%(age)s s ago") % {"age": age}),
        (_("Sequencer"), state.sequencer),
        (_("Events that were refused and wait"), state.waiting),
        (_("Removed by retention, below position"), state.pruned_to),
        (_("Last checkpoint"), newest.size if newest else _("None is published yet")),
        (_("Log"), newest.origin if newest else ""),
        (_("Signed"), newest.signed_at if newest else None),
        (_("Witnessed"), newest.witnessed_at if newest else None),
    ]


def _readers(state: LogState) -> list[dict[str, Any]]:
    rows = Reader.objects.order_by("name")
    return [{"reader": row, "behind": max(0, state.size - row.position)} for row in rows]


def _partitions() -> list[dict[str, str]]:
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_PARTITIONS)
        rows = cursor.fetchall()
    return [
        {"name": name, "bounds": str(bounds).removeprefix("FOR VALUES "), "size": filesizeformat(size)}
        for name, bounds, size in rows
    ]
