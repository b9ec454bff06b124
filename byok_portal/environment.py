"""The quick start's own settings: made once on `manage.py up`, read by every later command. Never for production."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from audit.notes import Signer
from byok_portal.boundary.secrets import Secret
from byok_portal.quickstart import roles, state
from byok_portal.quickstart.postgres import Cluster
from keys.wrappers.local import generate_key_file

DATABASE: Final = "byok_3"
"""Renamed when migrations were edited before the first release: an older demo stays, unused, beside this one."""
LOG_ORIGIN: Final = "localhost/audit/cell-1"
"""Name of the quick start's log; nobody outside this machine knows it."""


def cluster() -> Cluster:
    """The quick start's PostgreSQL, with real durability."""
    return Cluster(state.state_folder("postgres"), durable=True)


def load(*, prepare: bool) -> None:
    """Put the settings into the process's environment. `prepare` starts PostgreSQL and makes what is missing."""
    if not prepare and not _settings_file().exists():
        sys.exit("No settings: set DATABASE_URL and SECRET_KEY, or run `make run` once to set up a quick start.")
    server = cluster()
    server.start()
    settings = _prepare(server) if prepare else _read()
    # The port is chosen anew when another program took it while the portal was down.
    settings |= roles.login_urls(server.admin_url(), name=DATABASE, passwords=settings["passwords"])
    settings["BASE_URL"] = f"http://localhost:{os.environ.get('BYOK_PORT', '8000')}"
    settings |= _log_settings(_settings_file().parent, LOG_ORIGIN)
    # The mails of the quick start stay on this machine, and its mailbox page shows them.
    mail = state.state_folder("mail")
    settings |= {"EMAIL_URL": f"filemail://{mail}", "BYOK_MAILBOX": str(mail), "BYOK_DIGEST_WAIT_SECONDS": "20"}
    settings["STATIC_ROOT"] = str(state.state_folder("static"))
    for name, value in settings.items():
        if isinstance(value, str):
            os.environ.setdefault(name, value)
    # The servers' commands use relative paths, and a newcomer may call from any folder.
    os.chdir(state.CHECKOUT)


def throwaway(admin_url: str, *, name: str, passwords: dict[str, str], origin: str) -> dict[str, str]:
    """Settings of a portal that lives no longer than its process, for tests and benchmarks: own keys and own log."""
    folder = Path(tempfile.mkdtemp(prefix="byok-"))
    generate_key_file(folder / "keys.txt")
    return {
        **roles.login_urls(admin_url, name=name, passwords=passwords),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "BYOK_KEY_FILE": str(folder / "keys.txt"),
        "EMAIL_URL": f"filemail://{folder}",
        "BASE_URL": "http://localhost:8000",
        **_log_settings(folder, origin),
    }


def _prepare(server: Cluster) -> dict[str, Any]:
    path = _settings_file()
    with state.locked(path.parent):
        settings = _read() if path.exists() else _make()
        # A later release may know more roles than the file was made with.
        settings["passwords"] = {short: secrets.token_urlsafe(24) for short in roles.LOGINS} | settings["passwords"]
        state.write_private(path, json.dumps(settings, indent=1))
        roles.set_up(server.admin_url(), name=DATABASE, passwords=settings["passwords"])
    return settings


def _make() -> dict[str, Any]:
    key_file = _settings_file().parent / "keys.txt"
    if not key_file.exists():
        generate_key_file(key_file)
    settings: dict[str, Any] = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "BYOK_KEY_FILE": str(key_file),
        "LOG_PLAIN": "true",
        "LOG_LEVEL": "WARNING",
        "passwords": {short: secrets.token_urlsafe(24) for short in roles.LOGINS},
    }
    state.write_private(_settings_file(), json.dumps(settings, indent=1))
    return settings


def _log_settings(folder: Path, origin: str) -> dict[str, str]:
    """The log's own key, made once; in production it lies on the sequencer's host alone (docs/operations.md)."""
    key_file = folder / "log-key.txt"
    with state.locked(folder):
        if not key_file.exists():
            state.write_private(key_file, f"{Signer.generate(origin).text.reveal_text()}\n")
    return {
        "BYOK_LOG_KEY_FILE": str(key_file),
        "BYOK_LOG_PIN_FILE": str(folder / "log-pin.json"),
        "BYOK_LOG_VKEY": Signer.parse(Secret(key_file.read_text(encoding="utf-8"))).vkey,
    }


def _read() -> dict[str, Any]:
    return dict(json.loads(_settings_file().read_text(encoding="utf-8")))


def _settings_file() -> Path:
    return state.state_folder("portal") / "settings.json"
