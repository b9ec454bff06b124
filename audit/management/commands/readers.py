"""`manage.py readers`: keep usage counts and the search index up to the log until told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connections

from audit.readers.cursor import ALIAS, rebuild, require_login
from audit.readers.running import READERS, Rounds, get_reader
from byok_portal.errors import PortalError

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
        stop = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                if rebuild:
                    _rebuild(rebuild)
                    rebuild = None
                _serve(stop, poll, once=once)
            except Error as error:
                log.warning("database_error", error=type(error).__name__)
                if once:
                    raise
                stop.wait(1)
            finally:
                connections[ALIAS].close()
            if once:
                return


def _rebuild(name: str) -> None:
    rebuild(get_reader(name))
    log.info("rebuilding", reader=name)


def _serve(stop: threading.Event, poll: float, *, once: bool) -> None:
    rounds = Rounds()
    while not stop.is_set():
        if rounds.run_once():
            continue
        if once:
            if rounds.faults:
                message = f"failed: {', '.join(sorted(rounds.faults))}; see audit_reader.fault and the log"
                raise CommandError(message)
            return
        stop.wait(poll)
