"""`manage.py witness`: cosign a log's checkpoints for another administrator. Must never open a database."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any, Final

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.witness import state
from audit.witness.server import WitnessServer, parse_listen
from audit.witness.service import Witness, parse_logs
from byok_portal.errors import PortalError

log = structlog.get_logger("byok.witness")

_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS: Final = 0.1
"""How long the listening thread may take to notice the end."""


class Command(BaseCommand):
    """Makes a witness's key, or serves the witness until told to stop."""

    help = "Serve a C2SP transparency log witness. Needs no database and none of the portal's settings."
    requires_system_checks: list[str] = []  # the checks are of the portal, which is not here

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--state", type=Path, required=True, help="Folder of the witness's key and memory.")
        parser.add_argument("--name", default="", help="Name of the witness, such as witness.example/w1.")
        parser.add_argument("--log-key-file", type=Path, help="Verifier keys of the logs to trust, one a line.")
        parser.add_argument("--listen", default="127.0.0.1:8090", help="host:port to serve plain HTTP on.")
        parser.add_argument("--init", action="store_true", help="Make the key, print its verifier key, and exit.")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            if options["init"]:
                self.stdout.write(_create(options["state"], options["name"]))
            else:
                _serve(options)
        except PortalError as error:
            raise CommandError(error.detail) from None
        except OSError as error:
            raise CommandError(f"{error.filename or options['listen']}: {error.strerror}") from None


def _create(folder: Path, name: str) -> str:
    if not name:
        raise CommandError("--init needs --name, such as witness.example/w1")
    return state.create_key(folder, name=name).vkey


def _serve(options: dict[str, Any]) -> None:
    if options["log_key_file"] is None:
        raise CommandError("--log-key-file names the logs that this witness trusts")
    host, port = parse_listen(options["listen"])
    logs = parse_logs(options["log_key_file"].read_text(encoding="utf-8", errors="replace"))
    signer = state.load_key(options["state"])
    if options["name"] not in {"", signer.name}:
        raise CommandError(f"the key in this folder belongs to {signer.name}")
    # Blocked in every thread and waited for: a handler could run its C half in a thread of a request, and then nobody
    # wakes the main thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    with state.locked(options["state"]):
        store = state.CheckpointStore(options["state"], signer.verifier)
        witness = Witness(signer=signer, logs=logs, store=store, clock=time.time)
        with WitnessServer(host, port, witness) as server:
            threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()
            log.info("listening", witness=signer.name, port=server.port, logs=len(logs))
            signal.sigwait(_STOP)
            server.shutdown()
    log.info("stopped", witness=signer.name)
