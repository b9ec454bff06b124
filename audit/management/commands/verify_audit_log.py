"""`manage.py verify_audit_log`: say whether the stored log is intact, and if not, what was done to it and where."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from audit.verification import Report, find_tenants, verify_log
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import parse_id

if TYPE_CHECKING:
    from uuid import UUID

AUDITOR = "auditor"


class Command(BaseCommand):
    """Prefers the auditor's login, which sees every chain; the web login sees one tenant at a time."""

    help = "Verify the audit log. Exit code 0: intact. 1: faults, each in one sentence. 2: wrong use."
    requires_system_checks: list[str] = []  # an auditor's machine has only its own login

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="Only this tenant's chain: its id, or with the auditor's login its slug.")
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="One JSON document instead of sentences."
        )

    def handle(self, *_args: Any, tenant: str | None, as_json: bool, **_options: Any) -> None:
        alias = AUDITOR if AUDITOR in connections else binding.DEFAULT
        tenant_id = self._find(alias, tenant)
        report = _verify(alias, tenant_id)
        if tenant_id is not None and not report.tenants and report.intact:
            message = "The log has no entry of this tenant."
            raise CommandError(message, returncode=2)
        if as_json:
            self.stdout.write(json.dumps(_document(report)))
        else:
            self._tell(report)
        if not report.intact:
            sys.exit(1)

    def _find(self, alias: str, reference: str | None) -> UUID | None:
        tenant_id = parse_id(reference) if reference else None
        if alias == binding.DEFAULT and tenant_id is None:
            message = "Without DATABASE_URL_AUDITOR only one tenant at a time can be verified: name it by its id."
            raise CommandError(message, returncode=2)
        if reference is None or tenant_id is not None:
            return tenant_id
        found = find_tenants(alias, reference)
        if len(found) != 1:
            message = f"The log has {len(found)} tenants that were opened as {reference!r}: name one by its id."
            raise CommandError(message, returncode=2)
        return found[0]

    def _tell(self, report: Report) -> None:
        for fault in report.faults:
            self.stdout.write(str(fault))
        if report.found > len(report.faults):
            self.stdout.write(f"… and {report.found - len(report.faults)} more faults.")
        read = f"{report.entries} entries of {report.tenants} tenants read in {report.seconds:.1f} seconds"
        self.stdout.write(f"Intact: {read}." if report.intact else f"{report.found} faults: {read}.")


def _verify(alias: str, tenant_id: UUID | None) -> Report:
    with ExitStack() as stack:
        if alias == binding.DEFAULT and tenant_id is not None:
            stack.enter_context(binding.bind_tenant(tenant_id))
        if not sys.stderr.isatty():
            return verify_log(alias, tenant_id=tenant_id)
        columns = (
            TextColumn("{task.description}"),
            TextColumn("{task.completed:.0f} entries"),
            TimeElapsedColumn(),
        )
        progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        task = progress.add_task("Verifying", total=None)
        return verify_log(alias, tenant_id=tenant_id, progress=lambda n: progress.update(task, completed=n))


def _document(report: Report) -> dict[str, Any]:
    return {
        "intact": report.intact,
        "entries": report.entries,
        "tenants": report.tenants,
        "seconds": round(report.seconds, 3),
        "found": report.found,
        "faults": [
            {
                "kind": fault.kind.value,
                "tenant": str(fault.tenant_id) if fault.tenant_id else None,
                "number": fault.number,
                "detail": fault.detail,
            }
            for fault in report.faults
        ],
    }
