"""`/healthz`: this process answers. `/readyz`: what it needs is there. Neither tells a stranger more than a word."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import Error, connections
from django.http import JsonResponse
from django.utils import timezone

from audit.models import LogState
from byok_portal.boundary import jobs, replica
from byok_portal.errors import PortalError
from keys.services.custody import local_wrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

FRESH: Final = timedelta(seconds=30)


def healthz(_request: HttpRequest) -> JsonResponse:
    """The web process is alive."""
    return JsonResponse({"status": "ok"})


def readyz(_request: HttpRequest) -> JsonResponse:
    """503 unless database, key file, worker and sequencer are there. Use keeps working while the last two lag."""
    checks = {name: _passes(check) for name, check in _CHECKS.items()}
    ready = all(checks.values())
    words = {name: "ok" if up else "down" for name, up in checks.items()}
    state = replica.find_state()
    if state is not None:
        words["replica"] = state  # a warning: without it everything is read from the primary
    body = {"status": "ok" if ready else "unready", "checks": words}
    return JsonResponse(body, status=200 if ready else 503)


def _passes(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except (Error, PortalError, OSError):
        return False


def _database() -> bool:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone())


def _custody() -> bool:
    return bool(settings.KEY_FILE) and local_wrapper() is not None


def _worker() -> bool:
    beat = jobs.find_pulse()
    return beat is not None and timezone.now() - beat < FRESH


def _sequencer() -> bool:
    state = LogState.objects.first()
    return state is not None and timezone.now() - state.beat_at < FRESH


_CHECKS: Final = {"database": _database, "custody": _custody, "worker": _worker, "sequencer": _sequencer}
