"""Reads that may lag: from a streaming replica when it has all that was ever acknowledged, else from the primary.

See docs/decisions/0017-reads-from-a-replica.md. Must never answer a decision, a sign-in or anything that writes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from django.conf import settings
from django.db import Error, OperationalError, connections

from byok_portal.boundary import binding

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("byok.replica")
R = TypeVar("R")

WAIT: Final = 0.03
"""Seconds that a read waits for the replica to catch up: it is mostly a few milliseconds behind."""
STEP: Final = 0.002
APART: Final = 1.0
"""Seconds that a replica which did not catch up in that time is not asked."""
GONE: Final = 5.0
"""Seconds that one which did not answer is not asked; then one request tries, at the risk of waiting for nothing."""

# What was acknowledged was flushed before.
_POSITION: Final = "SELECT pg_current_wal_flush_lsn()::text"
# A server that follows nobody, promoted or cut off, may have gone another way: its position says nothing.
_REACHED: Final = """
SELECT pg_is_in_recovery() AND EXISTS (SELECT FROM pg_stat_get_wal_receiver() WHERE pid IS NOT NULL),
       pg_last_wal_replay_lsn() >= %s::pg_lsn,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
"""


class ReplicaLostError(Exception):
    """The replica broke off in the middle of a read; the primary can answer it."""


class _State:
    away_until: float = 0.0
    is_gone: bool = False


def choose() -> str:
    """The alias to read from now: the replica only if it shows everything that anybody was told before this call."""
    if binding.REPLICA not in connections.settings or time.monotonic() < _State.away_until:
        return binding.DEFAULT
    if _State.is_gone:
        _State.away_until = time.monotonic() + GONE
    position = _ask(binding.DEFAULT, _POSITION)[0]
    deadline = time.monotonic() + WAIT
    try:
        while True:
            follows, reached, _ = _ask(binding.REPLICA, _REACHED, position)
            if follows and reached:
                _State.is_gone, _State.away_until = False, 0.0
                return binding.REPLICA
            if not follows or time.monotonic() > deadline:
                _State.away_until = time.monotonic() + APART
                return binding.DEFAULT
            time.sleep(STEP)
    except Error as error:
        leave(error)
        return binding.DEFAULT


def read(work: Callable[[], R], *, alias: str) -> R:
    """What `work` reads in one transaction on `alias`; it is done again on the primary when the replica breaks off."""
    if alias == binding.REPLICA:
        try:
            with binding.use_alias(alias), binding.reading():
                return work()
        except OperationalError as error:
            leave(error)
            alias = binding.DEFAULT
    with binding.use_alias(alias), binding.reading():
        return work()


def leave(error: Exception) -> None:
    """Read from the primary for a while. Only the error's type is logged."""
    _State.is_gone, _State.away_until = True, time.monotonic() + GONE
    log.warning("replica_left", error=type(error).__name__)
    with suppress(Error):
        connections[binding.REPLICA].close()


def find_state() -> str | None:
    """`ok`, `behind` (further than REPLICA_LAG_MAX) or `down`; None where no replica is configured."""
    if binding.REPLICA not in connections.settings:
        return None
    try:
        position = _ask(binding.DEFAULT, _POSITION)[0]
        follows, reached, lag = _ask(binding.REPLICA, _REACHED, position)
    except Error:
        return "down"
    if not follows:
        return "down"
    return "ok" if reached or (lag is not None and lag <= settings.REPLICA_LAG_MAX) else "behind"


def _ask(alias: str, query: str, *values: Any) -> tuple[Any, ...]:
    """One row that belongs to no tenant, past Django's cursor, which refuses such a question while one is bound."""
    wrapper: Any = connections[alias]
    wrapper.close_if_health_check_failed()
    wrapper.ensure_connection()
    with wrapper.wrap_database_errors:
        row: tuple[Any, ...] = wrapper.connection.execute(query, values).fetchone()
    return row
