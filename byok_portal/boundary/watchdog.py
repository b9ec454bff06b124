"""Keeps a django-q2 cluster honest: wakes due jobs, asks for a sign of life, restarts a cluster that gives none.

django-q2 wedges for ever when an idle worker is killed, and loses nothing that our own job records remember
(ecosystem.md section 6). Runs beside the cluster, never inside it.
"""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from typing import Final

import structlog
from django.db import Error, close_old_connections
from django.utils import timezone

from byok_portal.boundary import jobs
from byok_portal.boundary.supervisor import Child, Supervisor

log = structlog.get_logger("byok.watchdog")

EVERY: Final = 3.0
SILENCE: Final = timedelta(seconds=20)


def serve(*, every: float = EVERY, silence: timedelta = SILENCE) -> None:
    """Run a cluster under watch until SIGTERM or SIGINT. Call it in the main thread."""
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(stop, every), daemon=True)
    watcher.start()
    cluster = Child(
        name="cluster",
        argv=[sys.executable, "manage.py", "qcluster"],
        is_alive=lambda: takes_work(silence),
        grace=max(15.0, silence.total_seconds()),
        interval=every,
    )
    try:
        Supervisor([cluster]).run()
    finally:
        stop.set()
        watcher.join(timeout=5)


def takes_work(silence: timedelta) -> bool:
    """Whether a worker answered lately or is at work. Raises when the database cannot be asked: no verdict."""
    close_old_connections()
    beat = jobs.find_pulse()
    return (beat is not None and timezone.now() - beat < silence) or jobs.is_working()


def _watch(stop: threading.Event, every: float) -> None:
    while not stop.wait(every):
        try:
            close_old_connections()
            jobs.watch()
        except Error as error:
            log.warning("database_error", error=type(error).__name__)
