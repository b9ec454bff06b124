"""`manage.py audit_tiles --to FOLDER`: the whole log as static files in the C2SP paths, for an auditor's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from audit import proofs
from audit.archive import write_checkpoint, write_log
from audit.models import LogState
from audit.tiles import WIDTH
from byok_portal.errors import IntegrityError

AUDITOR: Final = "auditor"


class Command(BaseCommand):
    """Writes tiles, entry bundles and, last, the checkpoint that covers them. Full files that are there stay."""

    help = "Write the published log as static tiles and entry bundles (C2SP tlog-tiles). Holds every tenant's entries."
    requires_system_checks: list[str] = []  # an auditor's machine has only its own login

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", required=True, type=Path, help="A folder; made if it is missing.")

    def handle(self, *_args: Any, to: Path, **_options: Any) -> None:
        if AUDITOR not in connections:
            message = "DATABASE_URL_AUDITOR is not set: only the auditor's login sees the whole log."
            raise CommandError(message, returncode=2)
        checkpoint = proofs.list_published().using(AUDITOR).first()
        if checkpoint is None:
            message = "No checkpoint is published yet."
            raise CommandError(message, returncode=1)
        # Of the bundle in which retention ended, the beginning is gone.
        start = -(-LogState.objects.using(AUDITOR).get().pruned_to // WIDTH) * WIDTH
        try:
            written = sum(1 for _ in write_log(AUDITOR, to, checkpoint.size, start=start))
        except IntegrityError as error:
            raise CommandError(error.detail, returncode=1) from None
        write_checkpoint(to, checkpoint.note)
        self.stdout.write(f"{checkpoint.size} entries, {written} files written; checkpoint of {checkpoint.origin}.")
        if start:
            self.stdout.write(f"Minimum index {start}: retention removed what came before.")
