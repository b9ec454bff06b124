"""A fake at the internet's edge: an HTTP server whose routes a test writes, and one that misbehaves on
purpose.
"""
# ruff: noqa: N815, A002  # http.server's names

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What to say. `seconds` waits before the head, `trickle` sends the body byte by byte."""

    status: int = 200
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    seconds: float = 0.0
    trickle: float = 0.0
    lengthless: bool = False

    @property
    def body(self) -> bytes:
        return self.raw if self.raw is not None else json.dumps(self.document).encode()


Handler = Callable[[Seen], Answer]


class Edge:
    """The running server, its address and everything that reached it."""

    def __init__(self, server: ThreadingHTTPServer, seen: list[Seen]) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.seen = seen


@contextmanager
def serve(handler: Handler) -> Iterator[Edge]:
    """Serves on a free loopback port until the block ends."""
    seen: list[Seen] = []

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen.append(Seen(self.command, self.path, headers, self.rfile.read(length)))
            reply = handler(seen[-1])
            time.sleep(reply.seconds)
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                if reply.lengthless:
                    self.send_header("Connection", "close")
                else:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.write(reply)
            except OSError:
                self.close_connection = True

        def write(self, reply: Answer) -> None:
            if not reply.trickle:
                self.wfile.write(reply.body)
                return
            for byte in reply.body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(reply.trickle)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_LIST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Edge(server, seen)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
