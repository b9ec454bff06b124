"""Idle connections, few and short-lived. A connection is shared only for the same checked address, port and
name.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

MAX_IDLE: Final = 32
# Shorter than any server's keep-alive we know of: there are no retries, so a stale connection would be a
# failed call.
MAX_IDLE_SECONDS: Final = 4.0


class PoolKey(NamedTuple):
    """`address` is the checked IP address; `host` the name that the certificate was verified for."""

    scheme: str
    address: str
    port: int
    host: str


class Pool:
    """One idle connection per key at most, oldest dropped first. Safe for threads."""

    def __init__(self) -> None:
        self._idle: OrderedDict[PoolKey, tuple[HTTPConnection, float]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: PoolKey) -> HTTPConnection | None:
        """Takes the idle connection out, if there is one that still lives."""
        with self._lock:
            connection, since = self._idle.pop(key, (None, 0.0))
        if connection is None:
            return None
        if time.monotonic() - since < MAX_IDLE_SECONDS and connection.is_connected:
            return connection
        connection.close()
        return None

    def clear(self) -> None:
        """Closes every idle connection."""
        with self._lock:
            dropped = [connection for connection, _ in self._idle.values()]
            self._idle.clear()
        for each in dropped:
            each.close()

    def forget(self) -> None:
        """For a process that was just forked: on a shared connection it would get answers that are for its parent."""
        inherited = [connection for connection, _ in self._idle.values()]
        # The lock may have been held by a thread that does not exist here.
        self._idle, self._lock = OrderedDict(), threading.Lock()
        for each in inherited:
            each.close()

    def release(self, key: PoolKey, connection: HTTPConnection) -> None:
        """Keeps the connection when it can be used again; closes it, or the one it replaces, when not."""
        dropped: list[HTTPConnection] = []
        with self._lock:
            if connection.is_closed or connection.sock is None:
                return
            previous = self._idle.pop(key, None)
            dropped += [previous[0]] if previous else []
            self._idle[key] = (connection, time.monotonic())
            while len(self._idle) > MAX_IDLE:
                dropped.append(self._idle.popitem(last=False)[1][0])
        for each in dropped:
            each.close()
