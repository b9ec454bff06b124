"""`manage.py siem`: deliver the log as OCSF events to a file or a collector until told to stop."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connections

from audit.readers.cursor import ALIAS, note_fault, require_login
from audit.readers.delivery import open_delivery
from audit.readers.destinations import parse_destination
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import PortalError

log = structlog.get_logger("byok.siem")


class Command(BaseCommand):
    """Runs until told to stop; tries again when the destination or the database is away."""

    help = "Deliver audit events to a security system (OCSF, JSON lines). The token is BYOK_SIEM_TOKEN."
    requires_system_checks: list[str] = []  # it serves no address, so a broken page must not stop it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", required=True, metavar="URL|PATH", help="https:// collector, or absolute path.")
        parser.add_argument("--tenant", type=UUID, metavar="ID", help="Deliver this tenant's events only.")
        parser.add_argument("--once", action="store_true", help="Deliver to the end of the log, then exit.")
        parser.add_argument("--poll", type=float, default=1.0, help="Seconds between looks at the end of the log.")
        parser.add_argument("--retry", type=float, default=10.0, help="Seconds before a failed delivery comes again.")

    def handle(
        self, *_args: Any, to: str, tenant: UUID | None, once: bool, poll: float, retry: float, **_options: Any
    ) -> None:
        try:
            require_login()
            destination = parse_destination(to, plaintext=_read_token())
        except PortalError as error:
            raise CommandError(str(error)) from None
        stop = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            name = ""
            try:
                delivery = open_delivery(to, destination, tenant_id=tenant)
                name = delivery.name
                while not stop.is_set():
                    if not delivery.run_once():
                        if once:
                            return
                        stop.wait(poll)
            except (Error, PortalError, OSError) as error:
                _note(name, error)
                if once:
                    message = f"not delivered: {error if isinstance(error, PortalError) else type(error).__name__}"
                    raise CommandError(message) from None
                stop.wait(retry)
            finally:
                connections[ALIAS].close()


def _note(name: str, error: Exception) -> None:
    log.warning("not_delivered", reader=name, error=type(error).__name__, reason=getattr(error, "code", ""))
    if name and not isinstance(error, Error):
        with suppress(Error):
            note_fault(name, error)


def _read_token() -> Secret | None:
    """From BYOK_SIEM_TOKEN or the file that BYOK_SIEM_TOKEN_FILE names: never from the command line."""
    text = os.environ.get("BYOK_SIEM_TOKEN", "")
    if not text and (path := os.environ.get("BYOK_SIEM_TOKEN_FILE", "")):
        text = Path(path).read_text(encoding="utf-8").strip()
    return Secret(text) if text else None
