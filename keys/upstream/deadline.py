"""Ends a call that trickles: each short read is in time, their sum is not. One thread watches all calls.

Must never end a call that was taken out of its watch.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection


class Deadline:
    """Of one call. Closes what was not taken out."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> Self:
        _WATCH.add(self, time.monotonic() + self._seconds)
        return self

    def __exit__(self, *error: object) -> None:
        _WATCH.remove(self)
        if self._connection is not None:
            self._connection.close()

    @property
    def connection(self) -> HTTPConnection:
        """The connection being watched."""
        if self._connection is None:
            message = "no connection is being watched"
            raise ValueError(message)
        return self._connection

    def watch(self, connection: HTTPConnection) -> HTTPConnection:
        """Replaces the connection being watched; the former one is closed."""
        if self._connection is not None:
            self._connection.close()
        self._connection = connection
        return connection

    def take(self) -> HTTPConnection:
        """The connection, no longer watched: it outlives the call."""
        _WATCH.remove(self)
        connection, self._connection = self.connection, None
        return connection

    def cut(self) -> None:
        """The time is over."""
        self.passed = True
        sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Watch:
    """Calls under way and when they end. A thread for each, as `threading.Timer` has, costs more than the call."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked process, which has none of its parent's threads or calls."""
        self._changed = threading.Condition()
        self._ends: dict[Deadline, float] = {}
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline, end: float) -> None:
        with self._changed:
            self._ends[deadline] = end
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif end < self._wakes:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        with self._changed:
            self._ends.pop(deadline, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [each for each, end in self._ends.items() if end <= now]:
                    del self._ends[deadline]
                    deadline.cut()
                self._wakes = min(self._ends.values(), default=float("inf"))
                self._changed.wait(self._wakes - now if self._ends else None)


_WATCH: Final = _Watch()
os.register_at_fork(after_in_child=_WATCH.forget)
