"""`manage.py gate`: the data plane, one process per call. Its DATABASE_URL is that of the login byok_gate."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import uvicorn
from django.core.management.base import BaseCommand, CommandError, CommandParser
from prometheus_client import start_http_server

from keys.gate.app import Gate
from keys.gate.serving import GateProtocol


class Command(BaseCommand):
    """Serves until told to stop; what is under way is answered first."""

    help = "Answer uses of keys, and pass everything else on to the web processes."
    requires_system_checks: list[str] = []  # Django's attribute

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--web", default="", help="Origin of the web processes, such as http://127.0.0.1:8001.")
        parser.add_argument("--metrics-port", type=int, default=0, help="Prometheus metrics on this port of loopback.")
        parser.add_argument("--reuse-port", action="store_true", help="Several gates of one host share the port.")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["metrics_port"]:
            start_http_server(options["metrics_port"], addr="127.0.0.1")
        config = uvicorn.Config(
            Gate(web=options["web"]),
            loop="uvloop",
            http=GateProtocol,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=30,
            backlog=4096,
        )
        with suppress(KeyboardInterrupt):  # what SIGINT leaves behind when everything has been answered
            uvicorn.Server(config).run(
                sockets=[_listen(options["host"], options["port"], shared=options["reuse_port"])]
            )


def _listen(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        message = f"--host {host} --port {port}: {error.strerror}"
        raise CommandError(message) from None
    listening.set_inheritable(True)
    return listening
