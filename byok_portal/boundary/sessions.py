"""Locks that belong to a database session. Must never be taken through a pooler, which shares sessions out."""

from __future__ import annotations

from typing import Any

from django.db import connections

from byok_portal.errors import Unavailable


def take_lock(alias: str, key: int) -> bool:
    """Whether this session has the advisory lock `key` now; it ends with the session, crash or not.

    Raises Unavailable behind a pooler: the lock would stay with a server session that anybody may be given next.
    """
    wrapper: Any = connections[alias]
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_try_advisory_lock(%s)", [key])
        pid, taken = cursor.fetchone()
        # A pooler tells its clients a number of its own, as cancelling must go through it.
        if pid == wrapper.connection.info.backend_pid:
            return bool(taken)
        if taken:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
    message = (
        f"The connection {alias} goes through a pooler, but its lock needs a session of its own: "
        f"let DATABASE_URL_{alias.upper()} name PostgreSQL itself (docs/operations.md)."
    )
    raise Unavailable(message, code="pooler")
