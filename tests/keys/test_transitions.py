"""The database's transition triggers say exactly what the tables in the code say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from keys.states import (
    GRANT_TRANSITIONS,
    INCIDENT_TRANSITIONS,
    SUCCESSION_TRANSITIONS,
    TASK_TRANSITIONS,
    VERSION_TRANSITIONS,
)
from tenants.states import TENANT_TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from tests.world import World

TABLES: dict[str, Mapping[Any, frozenset[Any]]] = {
    "keys_keyversion": VERSION_TRANSITIONS,
    "keys_grant": GRANT_TRANSITIONS,
    "keys_incident": INCIDENT_TRANSITIONS,
    "keys_incidenttask": TASK_TRANSITIONS,
    "keys_succession": SUCCESSION_TRANSITIONS,
    "tenants_tenant": TENANT_TRANSITIONS,
}


@pytest.mark.parametrize("table", TABLES)
def test_the_trigger_allows_the_moves_of_the_table_and_no_others(
    world: World, admin_connection: psycopg.Connection, table: str
) -> None:
    row = admin_connection.execute("SELECT prosrc FROM pg_proc WHERE proname = %s", [f"{table}_transition"]).fetchone()
    assert row is not None
    in_database = set(re.findall(r"\('(\w+)', '(\w+)'\)", row[0]))
    assert in_database == pairs(TABLES[table])


def pairs(transitions: Mapping[Any, frozenset[Any]]) -> set[tuple[str, str]]:
    return {(str(old), str(new)) for old, news in transitions.items() for new in news}
