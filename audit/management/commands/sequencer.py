"""`manage.py sequencer`: number audit events and sign the tree until told to stop. A second one waits as a standby."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error, connections

from audit.sequencer import ALIAS, Sequencer
from audit.signing import LogSigner
from byok_portal.errors import PortalError

log = structlog.get_logger("byok.sequencer")


class Command(BaseCommand):
    """Runs until told to stop; starts over when the database went away."""

    help = "Number audit events: move the inbox into the per-tenant chains."
    requires_system_checks: list[str] = []  # it serves no address, so a broken page must not stop it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Number what waits now, then exit.")
        parser.add_argument("--poll", type=float, default=0.1, help="Seconds between looks at an empty inbox.")

    def handle(self, *_args: Any, once: bool, poll: float, **_options: Any) -> None:
        stop = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                _serve(stop, poll, once=once)
            except Error as error:
                # The database went away: the lock is gone with the session, so start over.
                log.warning("database_error", error=type(error).__name__)
                if once:
                    raise
                stop.wait(1)
            finally:
                # The lock belongs to the session: a caller that lives on must not keep it from a real sequencer.
                connections[ALIAS].close()
            if once:
                return


def _serve(stop: threading.Event, poll: float, *, once: bool) -> None:
    sequencer = Sequencer()
    while not sequencer.acquire():
        if once or stop.wait(1):
            return  # the other sequencer numbers what waits
    publisher = _Publisher(sequencer, LogSigner.from_settings())
    while not stop.is_set():
        idle = not sequencer.run_once()
        if publisher.is_due or (idle and once):
            publisher.publish()
        if idle:
            if once:
                return
            stop.wait(poll)


class _Publisher:
    """Signs at most every few seconds. A refusal stops the signing, never the numbering, and shows in the log state."""

    def __init__(self, sequencer: Sequencer, signer: LogSigner | None) -> None:
        self._sequencer = sequencer
        self._signer = signer
        self._next = 0.0

    @property
    def is_due(self) -> bool:
        return self._signer is not None and time.monotonic() >= self._next

    def publish(self) -> None:
        """Publish a checkpoint if the log grew."""
        if self._signer is None:
            return
        self._next = time.monotonic() + settings.CHECKPOINT_SECONDS
        try:
            published = self._signer.publish(ALIAS)
        except PortalError as error:
            # No traceback: the sentence says what is wrong with the log or the witness.
            log.error("not_signed", code=error.code, reason=str(error))  # noqa: TRY400
            self._sequencer.note_fault(str(error))
        else:
            self._sequencer.note_fault("")
            if published:
                log.info("checkpoint", size=published.size)
