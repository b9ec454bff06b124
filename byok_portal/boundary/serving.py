"""How a command serves until told to stop: stop signals, looking again after a pause, starting over when it must.

Knows nothing of what is served. A session that broke must never be used again: its locks are gone with it.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Final

from django.db import Error, connections

if TYPE_CHECKING:
    from collections.abc import Callable

DATABASE: Final[tuple[type[Exception], ...]] = (Error,)


def keep_serving(
    serve: Callable[[threading.Event], None],
    *,
    alias: str,
    once: bool,
    failed: Callable[[Exception], None],
    faults: tuple[type[Exception], ...] = DATABASE,
    retry: float = 1.0,
) -> None:
    """Call `serve` with what tells it to stop; after one of `faults` again, on a fresh connection to `alias`.

    With `once` signals are left alone, a fault is raised, and `serve` is called one time. `failed` hears of each fault.
    """
    stop = threading.Event() if once else listen_for_stop()
    while not stop.is_set():
        try:
            serve(stop)
        except faults as error:
            failed(error)
            if once:
                raise
            stop.wait(retry)
        finally:
            # Locks belong to the session: a caller that lives on must not keep them from another process.
            connections[alias].close()
        if once:
            return


def poll(step: Callable[[], int], stop: threading.Event, *, pause: float, once: bool) -> None:
    """Repeat `step` while it finds something, and look again after a pause; with `once` return instead."""
    while not stop.is_set():
        if step():
            continue
        if once:
            return
        stop.wait(pause)


def listen_for_stop() -> threading.Event:
    """Set by SIGTERM or SIGINT from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
