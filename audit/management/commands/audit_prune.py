"""`manage.py audit_prune`: remove the log's oldest partitions, once they are archived and that is recorded.

Killed at any step, it goes on when it is run again with the same words.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from audit import archive, retention
from audit.checkpoints import parse_checkpoint
from audit.notes import open_note, parse_verifiers
from audit.services.pruning import record_pruning
from byok_portal.boundary import actors, binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audit.checkpoints import Checkpoint
    from audit.retention import Plan, Record


class Command(BaseCommand):
    """Needs the migration login, the application's own for the record, and a running sequencer."""

    help = "Archive and remove the oldest partitions of the audit log. Exit code 0: done, or nothing to do. 1: stopped."
    requires_system_checks: list[str] = []  # it serves no address, so a broken page must not stop it

    def add_arguments(self, parser: CommandParser) -> None:
        age = parser.add_mutually_exclusive_group(required=True)
        age.add_argument("--keep-days", type=int, metavar="N", help="Remove what was signed more than N days ago.")
        age.add_argument("--before", type=_moment, metavar="DATE", help="Remove what was signed before DATE (UTC).")
        parser.add_argument("--archive", type=Path, metavar="FOLDER", help="Where the entries are kept as files.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would go, and leave it.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument("--wait", type=float, default=120, metavar="SECONDS", help="For sequencer and checkpoint.")

    def handle(self, *_args: Any, **options: Any) -> None:
        if retention.ALIAS not in connections.settings:
            message = "DATABASE_URL_OWNER is not set: only the migration login may remove entries."
            raise CommandError(message, returncode=2)
        if not options["dry_run"] and options["archive"] is None:
            message = "--archive FOLDER is missing: entries are kept as files before they are removed."
            raise CommandError(message, returncode=2)
        try:
            with retention.alone():
                self._run(_cutoff(options), options)
        except PortalError as error:
            if error.code == "nothing_to_prune":
                self.stdout.write(error.detail)
                return
            raise CommandError(f"Stopped: {error.detail.rstrip('.')}.", returncode=1) from None

    def _run(self, before: datetime, options: dict[str, Any]) -> None:
        keys = parse_verifiers(settings.LOG_VKEY.strip())
        if not keys:
            message = "BYOK_LOG_VKEY is not set: the archive is checked against what the log signed."
            raise CommandError(message, returncode=2)
        plan = retention.make_plan(before, origin=keys[0].name)
        checkpoint = parse_checkpoint(open_note(plan.note, keys).body)
        first, last = plan.span.start, plan.span.stop - 1
        self.stdout.write(
            f"Positions {first} to {last}: {len(plan.span)} entries, {filesizeformat(plan.size)}, "
            f"{len(plan.partitions)} partitions, all signed before {before:%Y-%m-%d %H:%M %Z}."
        )
        if options["dry_run"]:
            return
        if not options["yes"] and input("Archive and remove them? Type yes: ").strip() != "yes":
            raise CommandError("Nothing was removed.", returncode=1)
        self._archive(plan, checkpoint, options["archive"].resolve())
        record = self._record(plan, checkpoint.origin, options["wait"])
        for partition in plan.partitions:
            retention.remove(partition, record)
            self.stdout.write(f"Removed positions {partition.start} to {partition.end - 1}.")

    def _archive(self, plan: Plan, checkpoint: Checkpoint, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with _progress("Archiving", plan.span) as report:
            archive.write_range(retention.ALIAS, folder, checkpoint.size, plan.span, report)
        with _progress("Reading back", plan.span) as report:
            archive.verify_range(retention.ALIAS, folder, checkpoint, plan.span, report)
        archive.write_checkpoint(folder, plan.note)
        self.stdout.write(f"Archived and read back: every entry is in the tree of {checkpoint.size} that was signed.")

    def _record(self, plan: Plan, origin: str, seconds: float) -> Record:
        """The entry about this removal: an earlier run's, or a new one; signed before anything goes."""
        upto = plan.span.stop
        found = retention.find_record(upto)
        event_id = found.event_id if found else _append(upto)
        record = retention.wait_for_record(event_id, upto, origin=origin, seconds=seconds)
        self.stdout.write(f"Recorded as audit.pruned at position {record.idx}, under a signed checkpoint.")
        return record


def _append(upto: int) -> Any:
    with binding.bind_tenant(PLATFORM):
        return record_pruning(actor=actors.worker(PLATFORM), upto=upto)


def _cutoff(options: dict[str, Any]) -> datetime:
    before: datetime | None = options["before"]
    if before is not None:
        return min(before, timezone.now())
    if options["keep_days"] < 0:
        raise CommandError("--keep-days is a number of days from 0.", returncode=2)
    return timezone.now() - timedelta(days=options["keep_days"])


def _moment(text: str) -> datetime:
    """Midnight of a date. argparse names a ValueError."""
    return datetime.combine(datetime.strptime(text, "%Y-%m-%d").date(), time(), UTC)  # noqa: DTZ007  # a date has none


@contextmanager
def _progress(title: str, span: range) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=len(span))
        yield lambda position: progress.update(task, completed=position - span.start)
