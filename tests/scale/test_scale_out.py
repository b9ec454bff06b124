"""A primary dies with everything running on it, and nothing that was acknowledged is lost."""

from __future__ import annotations

import io
import time
import urllib.request
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from audit.sequencer import LOCK
from tests.audit.verifying import run_copy
from tests.scale import cell as cells
from tests.scale.cell import read_ready, wait_until
from tests.scale.traffic import callers_of, flowing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from tests.scale.cell import Cell
    from tests.scale.traffic import Caller

BEFORE = 15
AFTER = 15
JOBS = 20
RECOVERY = 120.0
OWNERS = 2
REMINDERS = "SELECT recipient_id, count(*) FROM tenants_notice WHERE dedupe LIKE 'key_end:%' GROUP BY 1"
SIGNED = "SELECT (SELECT max(size) FROM audit_checkpoint) >= (SELECT max(idx) + 1 FROM audit_entry)"
QUEUE = """
INSERT INTO boundary_job (id, tenant_id, created_at, kind, subject_id, state, attempts, max_attempts, run_after,
                          last_error, done_steps, total_steps)
SELECT gen_random_uuid(), %s, now(), 'mail.gather', gen_random_uuid(), 'queued', 0, 3, now(), '', 0, 0
FROM generate_series(1, %s)
"""


@pytest.fixture
def cell() -> Iterator[Cell]:
    with cells.running(seeds=True) as found:
        yield found


def test_a_failover_loses_nothing_that_was_acknowledged(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell.start_doors()
    callers = callers_of(cell.gates, cell.webs, cell.tenants)
    with flowing(callers):
        wait_until(lambda: all(caller.count_since(0) >= BEFORE for caller in callers), lambda: tell(cell, callers))
        wait_until(lambda: count_reminders(cell) == len(cell.tenants) * OWNERS, cell.logs)
        fallen = time.monotonic()
        cell.kill_primary()
        cell.standby.promote()
        cell.pool.point_to(cell.standby.port)
        promoted = time.monotonic()
        wait_until(
            lambda: all(caller.count_since(promoted) >= AFTER for caller in callers),
            lambda: tell(cell, callers),
            seconds=RECOVERY,
        )
    with capsys.disabled():
        report(callers, fallen, promoted)
    # Meanwhile everybody was told to try again, and nothing else.
    unexpected = [body for caller in callers for body in caller.unexpected]
    assert unexpected == [], "\n".join([*unexpected, cell.errors()])
    for port in cell.webs:
        assert read_ready(port)["checks"]["replica"] == "down", "it has become the primary"
    with cell.admin(cell.standby) as admin:
        wait_until(lambda: is_drained(admin), cell.logs)
        assert_recorded_once(admin, callers)
        wait_until(lambda: is_signed(admin), cell.logs)
        assert read(admin, "SELECT waiting, fault FROM audit_logstate") == [(0, "")]
        holders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = %s"
        assert read(admin, holders, LOCK) == [(1,)]
        assert_reminded_once(admin, cell)
        assert_jobs_run_once(admin, cell)
    for process in cell.processes.values():
        assert process.poll() is None
    for tenant in cell.tenants:
        verify_export(cell, tenant, tmp_path)


def report(callers: list[Caller], fallen: float, promoted: float) -> None:
    """The seconds that docs/operations.md speaks of; nothing asserts a speed."""
    print(f"\nstandby promoted and PgBouncer repointed {promoted - fallen:.2f} s after the kill; next answer:")  # noqa: T201
    for caller in callers:
        counts = f"{len(caller.acknowledged)} acknowledged, {caller.broken} broken"
        refused = Counter(caller.refused).most_common(3)
        print(f"  {caller.door}: {caller.seconds_to_answer(promoted):.2f} s ({counts}, refused {refused})")  # noqa: T201


def tell(cell: Cell, callers: list[Caller]) -> str:
    lines = [
        f"{each.door}: {len(each.acknowledged)}, {each.broken} broken, {Counter(each.refused)}" for each in callers
    ]
    return "\n".join([*lines, cell.logs()])


def read(admin: psycopg.Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return admin.execute(query.encode(), values or None).fetchall()


def is_drained(admin: psycopg.Connection) -> bool:
    return read(admin, "SELECT count(*) FROM audit_inbox") == [(0,)]


def is_signed(admin: psycopg.Connection) -> bool:
    """Whether a checkpoint covers everything that is numbered now."""
    return bool(read(admin, SIGNED)[0][0])


def assert_recorded_once(admin: psycopg.Connection, callers: list[Caller]) -> None:
    counts = dict(read(admin, "SELECT event_id::text, count(*) FROM audit_entry GROUP BY event_id"))
    acknowledged = [audit_id for caller in callers for _, audit_id in caller.acknowledged]
    promised = [audit_id for caller in callers for _, audit_id in caller.promised]
    assert [each for each in promised if each not in counts] == []
    assert len(acknowledged) == len(set(acknowledged))
    assert [each for each in acknowledged if counts.get(each) != 1] == []
    assert set(counts.values()) == {1}
    gaps = "SELECT count(*) FROM (SELECT tenant_id FROM audit_entry GROUP BY 1 HAVING max(tseq) <> count(*)) t"
    assert read(admin, gaps) == [(0,)]


def count_reminders(cell: Cell) -> int:
    """Of the key that ends soon, to its owner and its backup owner."""
    with cell.admin(cell.primary) as admin:
        return len(read(admin, REMINDERS))


def assert_reminded_once(admin: psycopg.Connection, cell: Cell) -> None:
    """Both clusters look for deadlines and send mails; each person was told once, whatever died meanwhile."""
    wait_until(lambda: read(admin, "SELECT count(*) FROM tenants_mail WHERE state = 'queued'") == [(0,)], cell.logs)
    assert [count for _, count in read(admin, REMINDERS)] == [1] * len(cell.tenants) * OWNERS
    texts = "".join(path.read_text() for path in (cell.folder / "mails").iterdir())
    sent = Counter(line for line in texts.splitlines() if line.startswith("Message-ID: "))
    assert set(sent.values()) <= {1}
    states = Counter(row[0] for row in read(admin, "SELECT state FROM tenants_mail"))
    assert set(states) <= {"sent", "unconfirmed"}, "cut off while it was sent, nobody knows, and nobody tries again"
    assert states["sent"] <= len(sent)


def assert_jobs_run_once(admin: psycopg.Connection, cell: Cell) -> None:
    """After the failover, jobs that both watchdogs wake."""
    admin.execute(QUEUE, [cell.tenants[0]["id"], JOBS])
    done = "SELECT attempts, count(*) FROM boundary_job WHERE kind = 'mail.gather' AND state = 'done' GROUP BY 1"
    wait_until(lambda: sum(row[1] for row in read(admin, done)) >= JOBS, cell.logs)
    assert [row[0] for row in read(admin, done)] == [1]


def verify_export(cell: Cell, tenant: dict[str, Any], folder: Path) -> None:
    address = f"http://127.0.0.1:{cell.webs[0]}/api/v1/tenants/{tenant['slug']}/audit/export/"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {tenant['token']}"})  # our own address
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        data = answer.read()
    target = folder / f"{tenant['slug']}.zip"
    target.write_bytes(data)
    (folder / "log.vkey").write_text(cell.settings["BYOK_LOG_VKEY"])
    found = run_copy(folder, target, "--log-key", folder / "log.vkey")
    assert found.code == 0, found
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
