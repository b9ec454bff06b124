"""Gates behind a pooler that gives each transaction another server connection: nobody notices."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.gate import gates
from tests.gate.test_durability import Callers
from tests.scale import pooler

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.world import World

ENOUGH = 300


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The gate's login goes by way of PgBouncer."""
    place = urlsplit(os.environ["DATABASE_URL_GATE"])
    login, passwords = place.username or "", {place.username or "": place.password or ""}
    with tempfile.TemporaryDirectory(prefix="byok-pool-") as folder:
        Path(folder).chmod(0o711)
        running = pooler.running(
            Path(folder) / "pool", database=place.path.removeprefix("/"), passwords=passwords, primary=place.port or 0
        )
        with running as pool:
            monkeypatch.setenv("DATABASE_URL_GATE", pool.url(login))
            yield


@pytest.mark.usefixtures("pooled")
def test_two_gates_behind_a_pooler_answer_every_use(
    world: World, admin_connection: psycopg.Connection, tmp_path: Path
) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    path = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"
    with gates.running(tmp_path) as one, gates.running(tmp_path) as other:
        callers = [Callers(port, path, credential, 4) for port in (one, other)]
        for each in callers:
            each.wait_for(ENOUGH)
        answers = [answer for each in callers for answer in each.stop()]
    assert {(status, code) for status, _, code in answers} == {(200, "allowed")}
    ids = [audit_id for _, audit_id, _ in answers]
    found = admin_connection.execute(
        "SELECT count(*) FROM (SELECT event_id FROM audit_inbox UNION ALL SELECT event_id FROM audit_entry) e "
        "WHERE event_id = ANY(%s::uuid[])",
        [ids],
    ).fetchone()
    assert found == (len(set(ids)),)
    assert len(set(ids)) == len(ids) >= 2 * ENOUGH
