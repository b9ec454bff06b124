"""Runs the readers of this database in turn. One that fails notes its fault and must never hold up the others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from django.db import InterfaceError, OperationalError

from audit.readers import cursor
from audit.readers.counting import UsageReader
from audit.readers.indexing import SearchReader
from byok_portal.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.readers.cursor import Reader

log = structlog.get_logger("byok.readers")

READERS: Final[tuple[Reader, ...]] = (UsageReader(), SearchReader())
PAUSE: Final = 5.0
"""Seconds before a reader that failed is tried again."""


def get_reader(name: str) -> Reader:
    """The reader of that name. Raises NotFound."""
    for reader in READERS:
        if reader.name == name:
            return reader
    message = f"there is no reader {name}; there are {', '.join(reader.name for reader in READERS)}"
    raise NotFound(message)


class Rounds:
    """Batches of every reader in turn. `faults`: readers that failed, and when (monotonic) to try them again."""

    def __init__(self, readers: Sequence[Reader] = READERS) -> None:
        self.readers = readers
        self.faults: dict[str, float] = {}
        for reader in readers:
            cursor.ensure(reader.name)

    def run_once(self) -> int:
        """One batch of each. Returns how many entries were read: 0 when all have come to the end or wait.

        Raises OperationalError or InterfaceError when the database is away.
        """
        return sum(self._read(reader) for reader in self.readers)

    def _read(self, reader: Reader) -> int:
        if time.monotonic() < self.faults.get(reader.name, 0):
            return 0
        try:
            count = cursor.read_batch(reader)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            # Whatever is wrong with one reader, the others go on.
            log.exception("reader_failed", reader=reader.name)
            self.faults[reader.name] = time.monotonic() + PAUSE
            cursor.note_fault(reader.name, error)
            return 0
        self.faults.pop(reader.name, None)
        return count
