"""A streaming standby of a `Cluster`, in a folder and on a port of its own, which can take its place.

Must never be promoted while its primary can still be written to: both would acknowledge what the other never sees.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from byok_portal.errors import Unavailable
from byok_portal.quickstart import daemons
from byok_portal.quickstart.postgres import Cluster
from byok_portal.quickstart.state import remove_tree, write_private

if TYPE_CHECKING:
    from pathlib import Path

LOGIN: Final = "byok_standby"
_STREAMING_SECONDS: Final = 60.0
_PROMOTION_SECONDS: Final = 60


class Standby(Cluster):
    """Follows `primary`, which must be running whenever this starts for the first time.

    `name` is its slot and what `synchronous_standby_names` calls it: small letters, digits and underscores.
    """

    def __init__(self, folder: Path, *, primary: Cluster, name: str = "byok_standby_1") -> None:
        super().__init__(folder, durable=primary.durable, max_connections=primary.max_connections)
        self.primary = primary
        self.name = name

    def wait_until_streaming(self, *, seconds: float = _STREAMING_SECONDS) -> None:
        """Raises Unavailable when the primary does not see it stream in time."""
        self._wait_for("state = 'streaming'", seconds=seconds)

    def make_synchronous(self) -> None:
        """From now on the primary acknowledges nothing that is not flushed here too. Raises Unavailable."""
        with psycopg.connect(self.primary.admin_url(), autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(self.name)))
            admin.execute("SELECT pg_reload_conf()")
        self._wait_for("sync_state = 'sync'", seconds=_STREAMING_SECONDS)

    def measure_lag(self) -> int:
        """Bytes of the primary's log that are not replayed here yet. Raises Unavailable when it does not stream."""
        row = self._seen("pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint", "true")
        if row is None or row[0] is None:
            reason = f"the standby {self.name} does not stream"
            raise Unavailable(reason)
        return int(str(row[0]))

    def promote(self) -> None:
        """Become a primary, and return when it takes writes. Raises Unavailable."""
        with psycopg.connect(self.admin_url(), autocommit=True) as admin:
            row = admin.execute("SELECT pg_promote(true, %s)", [_PROMOTION_SECONDS]).fetchone()
        if row is None or not row[0]:
            reason = f"{self.folder} was not promoted in {_PROMOTION_SECONDS} s"
            raise Unavailable(reason)

    def _create(self) -> None:
        """A copy of the primary in a staging folder, renamed when complete."""
        staging = self.folder / "data.new"
        remove_tree(staging)
        staging.mkdir(mode=0o700)
        account = self._account
        if account is not None:
            os.chown(staging, account.uid, account.gid)
        self._prepare_primary()
        program = str(self._programs / "bin" / "pg_basebackup")
        arguments = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", f"--slot={self.name}"]
        if not self.durable:
            arguments.append("--no-sync")
        daemons.run_as(account, [program, "-D", str(staging), "-d", self._conninfo(), *arguments])
        # Settings that were changed by SQL are the primary's: promoted, this would wait for a standby, for itself.
        (staging / "postgresql.auto.conf").unlink(missing_ok=True)
        write_private(self._password_file, self.primary._password_file.read_text())  # noqa: SLF001  # the same superuser
        staging.rename(self._data)

    def _prepare_primary(self) -> None:
        """Its login, with a password that only this standby's account reads, and its slot."""
        password = secrets.token_urlsafe(32)
        write_private(self._pass_file, f"*:*:*:{LOGIN}_{self.name}:{password}\n")
        if self._account is not None:
            os.chown(self._pass_file, self._account.uid, self._account.gid)
        login = sql.Identifier(f"{LOGIN}_{self.name}")
        with psycopg.connect(self.primary.admin_url(), autocommit=True) as admin:
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [f"{LOGIN}_{self.name}"]).fetchone():
                admin.execute(sql.SQL("CREATE ROLE {}").format(login))
            statement = sql.SQL("ALTER ROLE {} LOGIN REPLICATION NOSUPERUSER PASSWORD {}")
            admin.execute(statement.format(login, sql.Literal(password)))
            if not admin.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", [self.name]).fetchone():
                admin.execute("SELECT pg_create_physical_replication_slot(%s, true)", [self.name])

    def _settings(self, port: int) -> dict[str, str]:
        """They matter only while `data` says that it is a standby."""
        return super()._settings(port) | {
            "primary_conninfo": _quote(self._conninfo()),
            "primary_slot_name": _quote(self.name),
            # Else what the primary cleans up cancels reads here; the price is that long reads hold its vacuum up.
            "hot_standby_feedback": "on",
            "wal_retrieve_retry_interval": "'500ms'",
        }

    def _conninfo(self) -> str:
        return make_conninfo(
            host=daemons.LOOPBACK,
            port=self.primary.port,
            user=f"{LOGIN}_{self.name}",
            passfile=str(self._pass_file),
            application_name=self.name,
            require_auth="scram-sha-256",
        )

    @property
    def _pass_file(self) -> Path:
        return self.folder / "standby.pass"

    def _wait_for(self, condition: str, *, seconds: float) -> None:
        if not daemons.wait_until(lambda: self._seen("1", condition) is not None, seconds=seconds):
            reason = f"the standby {self.name} did not come to {condition} in {seconds:g} s:\n{self.log_end()}"
            raise Unavailable(reason)

    def _seen(self, column: str, condition: str) -> tuple[object, ...] | None:
        """What the primary says about it; both arguments are SQL of ours."""
        query = sql.SQL("SELECT {} FROM pg_stat_replication WHERE application_name = {} AND {}")
        with psycopg.connect(self.primary.admin_url(), connect_timeout=5) as admin:
            return admin.execute(query.format(sql.SQL(column), sql.Literal(self.name), sql.SQL(condition))).fetchone()


def _quote(value: str) -> str:
    """A value in postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
