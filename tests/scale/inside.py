"""The tests' own Django on a cell: its aliases lead there for a while; more are the replica and a pooled session."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import connections

from byok_portal.boundary import replica
from tests.scale.cell import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.scale.cell import Cell

ALIASES: Final = ("default", "staff", "sequencer", "auditor", "reader", "owner")
POOLED: Final = "pooled"


@contextmanager
def standing_in(cell: Cell) -> Iterator[None]:
    """Every alias at the cell's primary, `replica` at its standby, `pooled` at a PgBouncer with one server session."""
    known = dict(connections.settings)
    before = {name: getattr(settings, name) for name in ("LOG_PIN_FILE", "LOG_KEY_FILE", "LOG_VKEY")}
    primary = {"PORT": cell.primary.port, "NAME": "byok"}
    there = {alias: {**known[alias], **primary} for alias in ALIASES}
    there["replica"] = {**known["default"], **primary, "PORT": cell.standby.port}
    there[POOLED] = {**known["default"], "PORT": cell.pool.port, "NAME": "byok_one"}
    _lead(there)
    for name in before:
        setattr(settings, name, cell.settings[f"BYOK_{name}"])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)
        _lead(known)


def _lead(places: dict[str, dict[str, Any]]) -> None:
    connections.close_all()
    for alias in list(connections.settings):
        with suppress(AttributeError):  # nobody asked for it yet
            del connections[alias]
    connections.settings.clear()
    connections.settings.update(places)
    return_to_replica()


def return_to_replica() -> None:
    """Ask it again at once, as if the second of keeping away had passed."""
    replica._State.away_until = 0.0  # instead of waiting


class Watched:
    """The statements of the block, by alias."""

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = {"default": [], "replica": []}

    @contextmanager
    def watching(self) -> Iterator[Watched]:
        def note(execute: Any, sql: Any, params: Any, many: Any, context: dict[str, Any]) -> Any:
            self.seen[context["connection"].alias].append(str(sql))
            return execute(sql, params, many, context)

        with connections["default"].execute_wrapper(note), connections["replica"].execute_wrapper(note):
            yield self

    def touches(self, alias: str, table: str) -> bool:
        return any(table in sql for sql in self.seen[alias])


@contextmanager
def standing_still(cell: Cell) -> Iterator[None]:
    """The standby receives and does not replay."""
    with cell.admin(cell.standby) as admin:
        admin.execute("SELECT pg_wal_replay_pause()")
        wait_until(lambda: admin.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",), cell.logs)
        try:
            yield
        finally:
            admin.execute("SELECT pg_wal_replay_resume()")


def count_scans(admin: psycopg.Connection) -> int:
    """How often entries were looked for on this server."""
    query = "SELECT sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)) FROM pg_stat_user_tables WHERE relname LIKE %s"
    row = admin.execute(query, ["audit_entry%"]).fetchone()
    assert row is not None
    return int(row[0])
