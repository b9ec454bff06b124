"""A real PgBouncer in transaction mode, with the configuration that docs/operations.md gives."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from byok_portal.quickstart import daemons, state, unprivileged
from tests.portal import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_INI: Final = """\
[databases]
byok = host=127.0.0.1 port={primary} dbname={database}
; One server connection for everybody, to see that tenants who share it never mix.
byok_one = host=127.0.0.1 port={primary} dbname={database} pool_size=1

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = 10
max_client_conn = 300
server_login_retry = 1
query_wait_timeout = 10
server_connect_timeout = 3
log_connections = 0
log_disconnections = 0
"""
_STOP: Final = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


def find_program() -> str:
    """Where PgBouncer is. Skips the test without one, but in CI."""
    places = (os.environ.get("PGBOUNCER"), shutil.which("pgbouncer"), "/usr/sbin/pgbouncer")
    found = next((place for place in places if place and os.access(place, os.X_OK)), None)
    if found is None:
        assert os.environ.get("CI") != "true", "PgBouncer is not installed (.ci/pgbouncer)"
        pytest.skip("PgBouncer is not installed")
    return found


@dataclass(slots=True)
class Pooler:
    """In `folder`, which its account must reach; `passwords` by login."""

    folder: Path
    database: str
    passwords: Mapping[str, str]
    port: int = field(default_factory=free_port)
    _pid: int = 0

    def start(self, *, primary: int) -> None:
        program = find_program()
        self.folder.mkdir(mode=0o711)
        account = unprivileged.choose_account(self.folder) if state.is_root() else None
        users = "".join(f'"{login}" "{password}"\n' for login, password in self.passwords.items())
        state.write_private(self._users, users)
        if account is not None:
            os.chown(self._users, account.uid, account.gid)
        self._write(primary)
        self._pid = daemons.launch(
            [program, str(self._ini)], log=self.folder / "log", env=daemons.clean_environment(), account=account
        )
        assert daemons.wait_until(self._answers, seconds=15), (self.folder / "log").read_text()[-2000:]

    def point_to(self, primary: int) -> None:
        """Another PostgreSQL from now on: write the file, reload. Clients stay connected."""
        self._write(primary)
        os.kill(self._pid, signal.SIGHUP)

    def stop(self) -> None:
        if self._pid:
            daemons.stop(self._pid, is_ours=lambda pid: str(self._ini) in daemons.argv_of(pid), signals=_STOP)

    def url(self, login: str, *, database: str = "byok") -> str:
        return f"postgres://{login}:{self.passwords[login]}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        login = next(iter(self.passwords))
        try:
            with psycopg.connect(self.url(login), connect_timeout=3) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _write(self, primary: int) -> None:
        text = _INI.format(primary=primary, database=self.database, port=self.port, users=self._users)
        state.write_private(self._ini, text)
        self._ini.chmod(0o644)  # names no password

    @property
    def _ini(self) -> Path:
        return self.folder / "pgbouncer.ini"

    @property
    def _users(self) -> Path:
        return self.folder / "users.txt"


@contextmanager
def running(folder: Path, *, database: str, passwords: Mapping[str, str], primary: int) -> Iterator[Pooler]:
    """Stopped at the end."""
    pooler = Pooler(folder, database, passwords)
    try:
        pooler.start(primary=primary)
        yield pooler
    finally:
        pooler.stop()
