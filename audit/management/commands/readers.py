"""`manage.py readers`: keep usage counts and the search index up to the log until told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.readers.cursor import ALIAS, rebuild, require_login
from audit.readers.running import READERS, Rounds, get_reader
from byok_portal.boundary.serving import keep_serving, poll
from byok_portal.errors import PortalError

if TYPE_CHECKING:
    import threading

    from audit.readers.cursor import Reader

log = structlog.get_logger("byok.readers")


class Command(BaseCommand):
    """Runs until told to stop; starts over when the database went away. Several may run: each batch has one reader."""

    help = "Read the numbered log into usage counts and the search index."
    requires_system_checks: list[str] = []  # it serves no address, so a broken page must not stop it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Read to the end of the log, then exit.")
        parser.add_argument("--poll", type=float, default=0.5, help="Seconds between looks at the end of the log.")
        names = [reader.name for reader in READERS]
        parser.add_argument("--rebuild", choices=names, help="Make what this reader made anew, from the beginning.")

    def handle(self, *_args: Any, once: bool, poll: float, rebuild: str | None, **_options: Any) -> None:
        try:
            require_login()
        except PortalError as error:
            raise CommandError(str(error)) from None
        todo = [get_reader(rebuild)] if rebuild else []

        def serve(stop: threading.Event) -> None:
            while todo:
                _rebuild(todo[0])
                todo.clear()
            _serve(stop, poll, once=once)

        keep_serving(serve, alias=ALIAS, once=once, failed=_note)


def _note(error: Exception) -> None:
    log.warning("database_error", error=type(error).__name__)


def _rebuild(reader: Reader) -> None:
    start = rebuild(reader)
    # Above 0 where retention removed entries: what they would have added is not made again.
    log.info("rebuilding", reader=reader.name, position=start)


def _serve(stop: threading.Event, pause: float, *, once: bool) -> None:
    rounds = Rounds()
    poll(rounds.run_once, stop, pause=pause, once=once)
    if once and rounds.faults:
        message = f"failed: {', '.join(sorted(rounds.faults))}; see audit_reader.fault and the log"
        raise CommandError(message)
