"""`manage.py siem`: deliver the log as OCSF events to a file or a collector until told to stop."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from audit.readers.cursor import ALIAS, note_fault, require_login
from audit.readers.delivery import open_delivery
from audit.readers.destinations import parse_destination
from byok_portal.boundary.secrets import Secret
from byok_portal.boundary.serving import keep_serving, poll
from byok_portal.errors import PortalError

if TYPE_CHECKING:
    import threading

    from audit.readers.destinations import Destination

log = structlog.get_logger("byok.siem")

FAULTS: Final = (Error, PortalError, OSError)


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
        stream = _Stream(to, destination, tenant)

        def serve(stop: threading.Event) -> None:
            stream.serve(stop, pause=poll, once=once)

        try:
            keep_serving(serve, alias=ALIAS, once=once, failed=stream.note, faults=FAULTS, retry=retry)
        except FAULTS as error:
            message = f"not delivered: {error if isinstance(error, PortalError) else type(error).__name__}"
            raise CommandError(message) from None


class _Stream:
    """One delivery, opened anew after each fault."""

    def __init__(self, to: str, destination: Destination, tenant: UUID | None) -> None:
        self._to = to
        self._destination = destination
        self._tenant = tenant
        self._name = ""

    def serve(self, stop: threading.Event, *, pause: float, once: bool) -> None:
        """Deliver until told to stop, or with `once` to the end of the log."""
        delivery = open_delivery(self._to, self._destination, tenant_id=self._tenant)
        self._name = delivery.name
        poll(delivery.run_once, stop, pause=pause, once=once)

    def note(self, error: Exception) -> None:
        """Say in the log and on the reader's row that it does not go on."""
        reason = getattr(error, "code", "")
        log.warning("not_delivered", reader=self._name, error=type(error).__name__, reason=reason)
        if self._name and not isinstance(error, Error):
            with suppress(Error):
                note_fault(self._name, error)


def _read_token() -> Secret | None:
    """From BYOK_SIEM_TOKEN or the file that BYOK_SIEM_TOKEN_FILE names: never from the command line."""
    text = os.environ.get("BYOK_SIEM_TOKEN", "")
    if not text and (path := os.environ.get("BYOK_SIEM_TOKEN_FILE", "")):
        text = Path(path).read_text(encoding="utf-8").strip()
    return Secret(text) if text else None
