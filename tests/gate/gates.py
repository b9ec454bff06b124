"""A gate in a process of its own on the test database, and calls to it with a plain HTTP client."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.portal import ROOT, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def running(folder: Path, *, web: str = "", port: int | None = None) -> Iterator[int]:
    """The port of a gate, stopped at the end."""
    port = port or free_port()
    process = start(folder, port=port, web=web)
    try:
        wait_open(port, folder)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def start(folder: Path, *, port: int, web: str = "") -> subprocess.Popen[bytes]:
    """A gate under its own login, as in production."""
    settings = {**os.environ, "DATABASE_URL": os.environ["DATABASE_URL_GATE"], "ALLOWED_HOSTS": "testserver,localhost"}
    command = [sys.executable, "manage.py", "gate", "--port", str(port), "--web", web]
    with (folder / f"gate-{port}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log)


def wait_open(port: int, folder: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.connect()
            connection.close()
            return
        time.sleep(0.05)
    raise AssertionError((folder / f"gate-{port}.log").read_text(errors="replace")[-3000:])


def call(
    port: int, path: str, body: bytes, headers: dict[str, str], method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers in small letters, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body or None, {"Host": "testserver", **headers})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()
