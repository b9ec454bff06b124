"""A server that speaks and is gone at once: the link must not wait for it. On the loop that gates run on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
import uvloop

from keys.gate.links import Link, Statement
from tests.gate.test_links import url

if TYPE_CHECKING:
    from collections.abc import Iterator

SLEEP: Final = Statement("test_lost", "SELECT pg_sleep(30)")
FIELDS: Final = b"SWARNING\0C57P02\0Mterminating connection because of crash of another server process\0\0"
NOTICE: Final = b"N" + struct.pack("!i", 4 + len(FIELDS)) + FIELDS
RESET: Final = struct.pack("ii", 1, 0)
PATIENCE: Final = 10


class Between:
    """Carries one connection to PostgreSQL until it is told to `crash`."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._place = place
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def crash(self) -> None:
        """As a server does whose neighbour crashed: a last word, and a reset, as not all was read that came."""
        self._stop.send(b"x")
        self._thread.join(PATIENCE)

    def close(self) -> None:
        self.crash()
        for each in (self._stop, self._stopped, self._listening):
            each.close()

    def _carry(self) -> None:
        client, _ = self._listening.accept()
        with client, socket.create_connection(self._place) as server:
            while True:
                ready, _, _ = select.select([client, server, self._stopped], [], [])
                if self._stopped in ready:
                    with contextlib.suppress(OSError):
                        client.sendall(NOTICE)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return
                for each in ready:
                    (server if each is client else client).sendall(each.recv(65536))


@pytest.fixture
def between() -> Iterator[Between]:
    place = urlsplit(os.environ["BYOK_TEST_ADMIN_URL"])
    with contextlib.closing(Between((place.hostname or "", place.port or 0))) as found:
        yield found


def test_a_last_word_and_a_reset_that_come_together_end_the_link(world: Any, between: Between) -> None:
    async def work() -> None:
        link = await Link.open({"conninfo": url(), "host": "127.0.0.1", "port": between.port})
        await link.prepare(SLEEP)
        asking = asyncio.ensure_future(link.run(SLEEP, ()))
        await asyncio.sleep(0)
        between.crash()  # the loop stands still meanwhile: it hears of both at once
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(asking, PATIENCE)
        assert link.is_closed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
