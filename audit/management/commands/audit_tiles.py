"""`manage.py audit_tiles --to FOLDER`: the whole log as static files in the C2SP paths, for an auditor's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, transaction

from audit.bulk import bulk_cursor
from audit.merkle import HASH_BYTES
from audit.models import Checkpoint
from audit.tiles import WIDTH, encode_bundle, entries_path, tile_path, tiles_of
from audit.tree import read_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

AUDITOR: Final = "auditor"
_LEAVES: Final = "SELECT leaf FROM audit_entry WHERE idx >= %b AND idx < %b ORDER BY idx"


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
        checkpoint = Checkpoint.objects.using(AUDITOR).order_by("-size").first()
        if checkpoint is None:
            message = "No checkpoint is published yet."
            raise CommandError(message, returncode=1)
        written = sum(_write(to / path, data) for path, data in _files(checkpoint.size, to))
        _write(to / "checkpoint", checkpoint.note.encode())
        self.stdout.write(f"{checkpoint.size} entries, {written} files written; checkpoint of {checkpoint.origin}.")


def _files(size: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    for level, n, width in tiles_of(size):
        path = tile_path(level, n, width)
        if not (folder / path).is_file():
            with transaction.atomic(using=AUDITOR):
                tile = read_tiles(AUDITOR, [(level, n)])[level, n]
            yield path, tile[: width * HASH_BYTES]
        if level == 0 and not (folder / entries_path(n, width)).is_file():
            yield entries_path(n, width), encode_bundle(_leaves(n * WIDTH, width))


def _leaves(start: int, width: int) -> list[bytes]:
    with transaction.atomic(using=AUDITOR), bulk_cursor(AUDITOR) as cursor:
        cursor.execute(_LEAVES, [start, start + width])
        leaves = [leaf.encode() for (leaf,) in cursor.fetchall()]
    if len(leaves) != width:
        message = f"Entries from position {start} on are missing: {width} are signed, {len(leaves)} are there."
        raise CommandError(message, returncode=1)
    return leaves


def _write(path: Path, data: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_bytes(data)
    fresh.replace(path)
    return True
