"""`manage.py sequencer`: number audit events and sign the tree until told to stop. A second one waits as a standby."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from audit.sequencer import ALIAS, BATCH, Sequencer
from audit.signing import LogSigner
from byok_portal.boundary.serving import keep_serving, poll
from byok_portal.errors import PortalError, Unavailable

if TYPE_CHECKING:
    import threading

log = structlog.get_logger("byok.sequencer")


class Command(BaseCommand):
    """Runs until told to stop; starts over when the database went away."""

    help = "Number audit events: move the inbox into the per-tenant chains."
    requires_system_checks: list[str] = []  # it serves no address, so a broken page must not stop it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Number what waits now, then exit.")
        parser.add_argument("--poll", type=float, default=0.02, help="Seconds between looks at an empty inbox.")

    def handle(self, *_args: Any, once: bool, poll: float, **_options: Any) -> None:
        def serve(stop: threading.Event) -> None:
            _serve(stop, poll, once=once)

        try:
            keep_serving(serve, alias=ALIAS, once=once, failed=_note)
        except Unavailable as error:
            raise CommandError(error.detail) from None


def _note(error: Exception) -> None:
    log.warning("database_error", error=type(error).__name__)


def _serve(stop: threading.Event, pause: float, *, once: bool) -> None:
    sequencer = Sequencer()
    while not sequencer.acquire():
        if once or stop.wait(1):
            return  # the other sequencer numbers what waits

    def step() -> int:
        numbered = sequencer.run_once()
        if not once:
            publisher.keep_up()
        elif not numbered:
            publisher.publish()
        # What is left over after a short batch comes with the next: many small ones would cost the writers their time.
        return numbered if once or numbered == BATCH else 0

    with closing(_Publisher(sequencer, LogSigner.from_settings())) as publisher:
        poll(step, stop, pause=pause, once=once)


class _Publisher:
    """Signs at most every few seconds, beside the numbering: a witness that hangs must not hold events up.

    A refusal stops the signing, never the numbering, and shows in the log state.
    """

    def __init__(self, sequencer: Sequencer, signer: LogSigner | None) -> None:
        self._sequencer = sequencer
        self._signer = signer
        self._next = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._running: Future[None] | None = None

    def keep_up(self) -> None:
        """Publish when it is time and the last run is over. Raises what that run raised."""
        if self._running is not None and self._running.done():
            running, self._running = self._running, None
            self._next = time.monotonic() + settings.CHECKPOINT_SECONDS
            running.result()
        if self._signer is not None and self._running is None and time.monotonic() >= self._next:
            self._running = self._thread.submit(self.publish)

    def close(self) -> None:
        """Let a run that has begun come to its end."""
        self._thread.submit(connections[ALIAS].close)
        self._thread.shutdown()

    def publish(self) -> None:
        """Publish a checkpoint if the log grew."""
        if self._signer is None:
            return
        try:
            published = self._signer.publish(ALIAS)
        except PortalError as error:
            # No traceback: the sentence says what is wrong with the log or the witness.
            log.error("not_signed", code=error.code, reason=str(error))  # noqa: TRY400
            self._sequencer.note_fault(str(error))
        except OSError as error:
            reason = f"the pin file cannot be used: {error.strerror}"
            log.error("not_signed", code="pin_unusable", reason=reason)  # noqa: TRY400  # names no content
            self._sequencer.note_fault(reason)
        else:
            self._sequencer.note_fault("")
            if published:
                log.info("checkpoint", size=published.size)
