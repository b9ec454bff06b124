"""`manage.py audit_rebuild`: derive the log anew from its entries and compare all that was signed with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from audit.endorsements import AuditorPin, Endorsements, read_pin, write_pin
from audit.rebuild import Rebuilt, rebuild_log
from byok_portal.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from audit.comparison import TreeFault
    from audit.inspection import Fault

AUDITOR = "auditor"


class Command(BaseCommand):
    """Needs the auditor's login, which sees every entry, and the public keys of the log; no secret."""

    help = "Rebuild the audit log's tree from its entries. Exit code 0: intact. 1: faults. 2: wrong use."
    requires_system_checks: list[str] = []  # an auditor's machine has only its own login

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--pin", type=Path, help="A file that remembers the tree of the last good rebuild; keep it outside."
        )
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="One JSON document instead of sentences."
        )

    def handle(self, *_args: Any, pin: Path | None, as_json: bool, **_options: Any) -> None:
        if AUDITOR not in connections:
            message = "A rebuild reads every tenant's entries: it needs the auditor's login in DATABASE_URL_AUDITOR."
            raise CommandError(message, returncode=2)
        try:
            keys = Endorsements.parse(log=settings.LOG_VKEY, witness=settings.WITNESS_VKEY)
            pinned = read_pin(pin, keys.origin) if pin else None
            report = _rebuild(keys, pinned)
        except (InvalidInput, Conflict) as error:
            raise CommandError(error.detail, returncode=2) from None
        if pin and report.intact:
            write_pin(pin, AuditorPin(keys.origin, report.size, report.root, report.signed))
        if as_json:
            self.stdout.write(json.dumps(_document(report)))
        else:
            self._tell(report)
        if not report.intact:
            sys.exit(1)

    def _tell(self, report: Rebuilt) -> None:
        for fault in report.faults:
            self.stdout.write(str(fault))
        if report.found > len(report.faults):
            self.stdout.write(f"… and {report.found - len(report.faults)} more faults.")
        read = (
            f"{report.size} entries of {report.tenants} tenants and {report.checkpoints} checkpoints "
            f"rebuilt in {report.seconds:.1f} seconds"
        )
        if report.pruned_to:
            read += f"; of those below position {report.pruned_to}, which retention removed, by their hashes"
        self.stdout.write(f"Intact: {read}." if report.intact else f"{report.found} faults: {read}.")


def _rebuild(keys: Endorsements, pinned: AuditorPin | None) -> Rebuilt:
    if not sys.stderr.isatty():
        return rebuild_log(AUDITOR, keys, pinned=pinned)
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:.0f} entries"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Rebuilding", total=None)
        return rebuild_log(AUDITOR, keys, pinned=pinned, progress=lambda n: progress.update(task, completed=n))


def _document(report: Rebuilt) -> dict[str, Any]:
    return {
        "intact": report.intact,
        "size": report.size,
        "root": report.root.hex(),
        "tenants": report.tenants,
        "checkpoints": report.checkpoints,
        "signed": report.signed,
        "pruned_to": report.pruned_to,
        "seconds": round(report.seconds, 3),
        "found": report.found,
        "faults": [_fault(fault) for fault in report.faults],
    }


def _fault(fault: Fault | TreeFault) -> dict[str, Any]:
    return {
        "kind": fault.kind.value,
        "tenant": str(fault.tenant_id) if fault.tenant_id else None,
        "number": fault.number,
        "detail": fault.detail,
    }
