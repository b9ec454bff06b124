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
def running(folder: Path, *, web: str = "", port: int | None = None, metrics: int = 0) -> Iterator[int]:
    """The port of a gate, stopped at the end."""
    port = port or free_port()
    process = start(folder, port=port, web=web, metrics=metrics)
    try:
        wait_open(port, folder)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def start(folder: Path, *, port: int, web: str = "", metrics: int = 0) -> subprocess.Popen[bytes]:
    """A gate under its own login, as in production."""
    settings = {**os.environ, "DATABASE_URL": os.environ["DATABASE_URL_GATE"], "ALLOWED_HOSTS": "testserver,localhost"}
    command = [sys.executable, "manage.py", "gate", "--port", str(port), "--web", web]
    command += ["--metrics-port", str(metrics)]
    with (folder / f"gate-{port}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log)


def wait_open(port: int, folder: Path, *, log: str = "") -> None:
    """Until something listens there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.connect()
            connection.close()
            return
        time.sleep(0.05)
    raise AssertionError((folder / (log or f"gate-{port}.log")).read_text(errors="replace")[-3000:])


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


@contextlib.contextmanager
def web(folder: Path) -> Iterator[int]:
    """The port of a web process that keeps its connections to the database, as in production."""
    port, settings = free_port(), {**os.environ, "CONN_MAX_AGE": "60"}
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--blocking-threads", "4", "byok_portal.wsgi:application"]
    with (folder / "web.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log)
    try:
        wait_open(port, folder, log="web.log")
        yield port
    finally:
        process.terminate()
        process.wait(20)
