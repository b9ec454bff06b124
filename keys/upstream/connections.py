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

MAX_IDLE: Final = 64
MAX_IDLE_PER_KEY: Final = 16
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
    """Idle connections, the one used last taken first, the oldest dropped first. Safe for threads."""

    def __init__(self) -> None:
        self._idle: OrderedDict[HTTPConnection, tuple[PoolKey, float]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: PoolKey) -> HTTPConnection | None:
        """Takes an idle connection out, if there is one that still lives."""
        while True:
            with self._lock:
                found = next((each for each in reversed(self._idle) if self._idle[each][0] == key), None)
                if found is None:
                    return None
                _, since = self._idle.pop(found)
            if time.monotonic() - since < MAX_IDLE_SECONDS and found.is_connected:
                return found
            found.close()

    def clear(self) -> None:
        """Closes every idle connection."""
        with self._lock:
            dropped = list(self._idle)
            self._idle.clear()
        for each in dropped:
            each.close()

    def forget(self) -> None:
        """For a process that was just forked: on a shared connection it would get answers that are for its parent."""
        inherited = list(self._idle)
        # The lock may have been held by a thread that does not exist here.
        self._idle, self._lock = OrderedDict(), threading.Lock()
        for each in inherited:
            each.close()

    def list_idle(self) -> list[HTTPConnection]:
        """Those that wait to be used again, the oldest first."""
        with self._lock:
            return list(self._idle)

    def release(self, key: PoolKey, connection: HTTPConnection) -> None:
        """Keeps the connection when it can be used again; closes what is then one too many."""
        if connection.is_closed or connection.sock is None:
            return
        dropped: list[HTTPConnection] = []
        with self._lock:
            self._idle[connection] = (key, time.monotonic())
            same = [each for each, (kept, _) in self._idle.items() if kept == key]
            dropped += same[: max(0, len(same) - MAX_IDLE_PER_KEY)]
            dropped += [each for each in list(self._idle)[: max(0, len(self._idle) - MAX_IDLE)] if each not in dropped]
            for each in dropped:
                del self._idle[each]
        for each in dropped:
            each.close()
