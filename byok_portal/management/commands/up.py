"""`manage.py up`: everything on one machine, for a newcomer: database, demo upstream and every process of the portal.

Not for production: there each process is started by the host's own supervisor (docs/operations.md).
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from byok_portal import demo, environment
from byok_portal.boundary.supervisor import Child, Supervisor
from byok_portal.management.commands.demo import describe


class Command(BaseCommand):
    """Sets up, starts, prints, and stops everything at the end."""

    help = "Set up and run the whole portal with demo data. Ctrl-C stops it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-demo", action="store_true", help="No demo tenants and no demo OpenBao.")

    def handle(self, *_args: Any, no_demo: bool, **_options: Any) -> None:
        port = int(os.environ.get("BYOK_PORT", "8000"))
        _require_free(port)
        call_command("migrate", database="owner", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        call_command("sequencer", "--once")
        text = f"\n  Portal        {settings.BASE_URL}/\n" if no_demo else describe(demo.ensure())
        connections.close_all()
        self.stdout.write(text)
        self.stdout.write("  Ready in a moment; Ctrl-C stops everything.\n")
        self.stdout.flush()
        try:
            Supervisor(_children(port)).run()
        finally:
            if not no_demo:
                demo.upstream().stop()
            environment.cluster().stop()


def _children(port: int) -> list[Child]:
    """One origin: the gate answers uses and hands everything else to the web behind it."""
    manage = [sys.executable, "manage.py"]
    behind = _free_port()
    web = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(behind), "--workers", "2", "--blocking-threads", "4", "--log-level", "warning"),
        "byok_portal.wsgi:application",
    ]
    gate = [*manage, "gate", "--host", os.environ.get("BYOK_HOST", "127.0.0.1"), "--port", str(port)]
    gate += ["--web", f"http://127.0.0.1:{behind}"]
    return [
        Child(name="web", argv=web, env=_environment("STAFF") | {"TRUSTED_PROXY_COUNT": "1"}),
        Child(name="gate", argv=gate, env=_environment() | {"DATABASE_URL": os.environ["DATABASE_URL_GATE"]}),
        Child(name="worker", argv=[*manage, "worker"], env=_environment()),
        Child(name="sequencer", argv=[*manage, "sequencer"], env=_environment("SEQUENCER")),
        Child(name="readers", argv=[*manage, "readers"], env=_environment("READER")),
    ]


def _environment(*logins: str) -> dict[str, str]:
    """The process's own logins only: nobody at run time holds the migration role's, one process the log's key."""
    kept = {f"DATABASE_URL_{login}" for login in logins}
    held = ("DATABASE_URL_", *(() if "SEQUENCER" in logins else ("BYOK_LOG_KEY_FILE", "BYOK_LOG_PIN_FILE")))
    return {name: value for name, value in os.environ.items() if not name.startswith(held) or name in kept}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            message = f"Port {port} is taken. Stop what uses it, or choose another: BYOK_PORT=8001 make run"
            raise CommandError(message) from None
