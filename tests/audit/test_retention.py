"""Retention: what goes, in which order, what stands in the way, and a run that was killed."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from audit import retention
from audit.notes import SignedNote, parse_checkpoint
from audit.tiles import WIDTH as TILE
from audit.tiles import decode_bundle, entries_path
from byok_portal.boundary.identifiers import PLATFORM
from tests import spawning
from tests.audit.pruning import GONE, WIDTH, PrunableLog
from tests.portal import wait_until


@pytest.fixture
def log(prunable: PrunableLog) -> PrunableLog:
    """A copy to prune."""
    return prunable


def counts(log: PrunableLog) -> dict[str, Any]:
    tables = ("audit_entry", "audit_private", "audit_searchblock", "audit_prunedhead", "audit_tile")
    return {table: log.one(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608  # names from here


def test_a_dry_run_names_what_would_go_and_changes_nothing(log: PrunableLog) -> None:
    before = counts(log)
    said = log.prune("--dry-run")
    assert f"Positions 0 to {GONE - 1}: {GONE} entries" in said
    assert "3 partitions" in said
    assert counts(log) == before
    assert not (log.folder / "archive").exists()
    assert log.one("SELECT count(*) FROM audit_entry WHERE tenant_id = %s", PLATFORM) == 0


def test_whole_partitions_go_with_all_that_belongs_to_them_and_tiles_stay(log: PrunableLog) -> None:
    before = counts(log)
    said = log.prune()
    after = counts(log)
    assert f"Removed positions 600 to {GONE - 1}." in said
    assert log.one("SELECT min(idx) FROM audit_entry") == GONE
    assert before["audit_private"] > 2 * WIDTH
    assert after["audit_private"] == 1  # the record's own
    assert after["audit_tile"] == before["audit_tile"] > 0
    assert after["audit_searchblock"] < before["audit_searchblock"]
    assert log.one("SELECT pruned_to FROM audit_logstate") == GONE
    record = json.loads(str(log.one("SELECT pruned_leaf FROM audit_logstate")))
    assert (record["tenant"], record["body"]["action"]) == (str(PLATFORM), "audit.pruned")
    assert record["body"]["detail"] == {"from": 0, "to": GONE}


def test_the_archive_holds_every_entry_that_went(log: PrunableLog) -> None:
    with log.admin() as admin:
        rows = admin.execute("SELECT leaf FROM audit_entry WHERE idx < %s ORDER BY idx", [GONE]).fetchall()
    log.prune()
    bundles = [log.folder / "archive" / entries_path(n) for n in range(-(-GONE // TILE))]
    leaves = [leaf.decode() for bundle in bundles for leaf in decode_bundle(bundle.read_bytes())]
    assert leaves[:GONE] == [row[0] for row in rows]
    note = SignedNote.parse((log.folder / "archive" / "checkpoint").read_text())
    assert parse_checkpoint(note.body).size > len(leaves)


def test_a_second_removal_needs_no_earlier_archive(log: PrunableLog) -> None:
    with log.admin() as admin:
        admin.execute("ALTER TABLE audit_checkpoint DISABLE TRIGGER ALL")
        admin.execute("UPDATE audit_checkpoint SET signed_at = now() - interval '9 days' WHERE size < 800")
    assert "Removed positions 300 to 599." in log.prune(days=8)
    (log.folder / "archive").rename(log.folder / "elsewhere")
    assert "Positions 600 to 899" in log.prune()
    assert (log.folder / "archive" / "tile/entries/002.from/88").is_file()
    report = log.rebuild()
    assert (report.faults, report.pruned_to) == ([], GONE)
    assert log.check(log.download(log.both)).code == 0


def test_an_archive_that_was_changed_stops_the_removal(log: PrunableLog) -> None:
    path = log.folder / "archive" / entries_path(0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x00\x01x")
    with pytest.raises(CommandError, match="tile/entries/000 is not what is in the tree"):
        log.prune()
    assert log.one("SELECT min(idx) FROM audit_entry") == 0


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("UPDATE audit_reader SET position = 10 WHERE name = 'search'", "the reader search stands at position 10"),
        ("DELETE FROM audit_reader WHERE name = 'usage'", "the reader usage stands at position 0"),
        ("INSERT INTO audit_reader VALUES ('siem:all:x', 5, 0, NULL, '')", "the reader siem:all:x stands at"),
        ("DELETE FROM audit_checkpoint", "no checkpoint is published"),
        ("DELETE FROM audit_checkpoint WHERE size > 100", "no checkpoint is published"),
    ],
)
def test_what_stands_in_the_way_is_said_in_one_sentence(log: PrunableLog, obstacle: str, reason: str) -> None:
    with log.admin() as admin:
        admin.execute("ALTER TABLE audit_checkpoint DISABLE TRIGGER ALL")
        admin.execute(obstacle)
    said = log.prune("--dry-run")
    assert said.startswith("Nothing can be removed: ")
    assert reason in said
    assert said.count("\n") == 1


def test_nothing_goes_unless_the_question_is_answered_with_yes(
    log: PrunableLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(CommandError, match="Nothing was removed"):
        call_command("audit_prune", "--before", "2099-01-01", "--archive", str(log.folder / "archive"))
    with pytest.raises(CommandError, match="--archive FOLDER is missing"):
        call_command("audit_prune", "--keep-days", "0", "--yes")
    assert log.one("SELECT min(idx) FROM audit_entry") == 0


def test_young_entries_stay(log: PrunableLog) -> None:
    assert "hold entries that were signed after" in log.prune("--dry-run", days=1)
    out = StringIO()
    call_command("audit_prune", "--before", "2026-01-01", "--dry-run", stdout=out)
    assert "hold entries that were signed after 2026-01-01" in out.getvalue()
    assert "hold entries that were signed after" in log.prune(days=1)
    assert log.one("SELECT min(idx) FROM audit_entry") == 0


def test_a_delivery_of_one_quiet_tenant_does_not_stand_in_the_way(log: PrunableLog) -> None:
    read = log.one("SELECT max(idx) + 1 FROM audit_entry WHERE tenant_id = %s", log.early)
    with log.admin() as admin:
        admin.execute("INSERT INTO audit_reader VALUES (%s, %s, 0, NULL, '')", [f"siem:{log.early}:x", read])
    assert f"Positions 0 to {GONE - 1}" in log.prune("--dry-run")


def test_without_a_sequencer_nothing_goes_and_the_next_run_uses_the_same_record(log: PrunableLog) -> None:
    words = ["--keep-days", "0", "--archive", str(log.folder / "archive"), "--yes", "--wait", "0.3"]
    for _ in range(2):
        with pytest.raises(CommandError, match="no sequencer numbered that"):
            call_command("audit_prune", *words)
    assert log.one("SELECT min(idx) FROM audit_entry") == 0
    assert log.one("SELECT count(*) FROM audit_inbox WHERE tenant_id = %s", PLATFORM) == 1
    log.prune()
    assert log.one("SELECT count(*) FROM audit_entry WHERE tenant_id = %s", PLATFORM) == 1


def test_a_record_that_gets_its_number_while_it_is_looked_for_is_found(log: PrunableLog) -> None:
    """Whichever table is looked into first: between the two, the sequencer takes it from the inbox to the log."""
    words = ["--keep-days", "0", "--archive", str(log.folder / "archive"), "--yes", "--wait", "0.1"]
    with pytest.raises(CommandError, match="no sequencer numbered that"):
        call_command("audit_prune", *words)
    asked: list[str] = []

    def number_between(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001  # Django's
        result = execute(sql, params, many, context)
        asked.append(sql)
        if len(asked) == 1:
            log.sequence()
        return result

    with connections[retention.ALIAS].execute_wrapper(number_between):
        found = retention.find_record(GONE)
    assert len(asked) == 2
    assert found is not None
    assert found.event_id == log.one("SELECT event_id FROM audit_entry WHERE tenant_id = %s", PLATFORM)


BLOCKS = {
    "removing": ("LOCK TABLE audit_prunedhead IN EXCLUSIVE MODE", 0),
    "between": ("SELECT FROM audit_private WHERE event_id = '{event}' FOR UPDATE", WIDTH),
}
"""What a run stops at in the middle of its removals, and the first position that is left then."""


@pytest.mark.parametrize("step", ["archiving", "recording", *BLOCKS])
def test_a_run_that_was_killed_is_finished_by_the_next(log: PrunableLog, step: str) -> None:
    archive = log.folder / "archive"
    command = ["audit_prune", "--keep-days", "0", "--archive", str(archive), "--yes"]
    event = log.one("SELECT event_id FROM audit_entry WHERE idx = %s", WIDTH + 100)
    with log.admin() as admin, log.admin() as blocker:
        if step in BLOCKS:
            with blocker.transaction(), log.sequencing():
                blocker.execute(BLOCKS[step][0].format(event=event))
                process = spawning.start(*command, env=log.environment)
                waiting = (
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename = 'byok_owner' "
                    "AND wait_event_type = 'Lock' AND %s = (SELECT min(idx) FROM audit_entry)"
                )
                left = BLOCKS[step][1]
                wait_until(lambda: admin.execute(waiting, [left]).fetchone() is not None)
                process.kill()
                process.wait(10)
        else:
            process = spawning.start(*command, env=log.environment)
            recorded = f"SELECT FROM audit_inbox WHERE tenant_id = '{PLATFORM}'"  # a constant
            seen = {
                "archiving": (archive / "tile/entries/000").is_file,
                "recording": lambda: admin.execute(recorded).fetchone() is not None,
            }[step]
            wait_until(seen, every=0.005)
            process.kill()
            process.wait(10)
        # A killed client's session ends when the server notices.
        held = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename = 'byok_owner'"
        wait_until(lambda: admin.execute(held).fetchone() is None)
    assert log.one("SELECT min(idx) FROM audit_entry") == BLOCKS.get(step, ("", 0))[1]
    assert "Removed positions 600 to 899." in log.prune()
    assert log.one("SELECT count(*) FROM audit_entry WHERE tenant_id = %s", PLATFORM) == 1
    assert log.rebuild().faults == []


def test_only_the_owner_prunes_and_only_by_its_own_switch(log: PrunableLog) -> None:
    for login in ("", "_STAFF", "_SEQUENCER", "_AUDITOR", "_READER"):
        with psycopg.connect(log.environment[f"DATABASE_URL{login}"], autocommit=True) as connection:
            connection.execute(f"SET app.tenant_id = '{log.both}'; SET app.pruning = 'on'")
            attempts = ["DROP TABLE audit_entry_000000000000", "INSERT INTO audit_prunedhead DEFAULT VALUES"]
            # The web login erases its own tenant's personal data, and no other.
            for attempt in [*attempts, "DELETE FROM audit_private"] if login else attempts:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(attempt)
    with psycopg.connect(log.environment["DATABASE_URL_OWNER"], autocommit=True) as owner:
        owner.execute("SET app.maintenance = 'on'")
        for table in ("audit_private", "audit_entry", "audit_tile"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(f"DELETE FROM {table}")  # noqa: S608  # names from here


def test_readers_that_begin_anew_begin_where_the_log_begins(log: PrunableLog) -> None:
    log.prune()
    call_command("readers", "--once", "--rebuild", "search")
    assert log.one("SELECT position FROM audit_reader WHERE name = 'search'") == log.one(
        "SELECT size FROM audit_logstate"
    )
    assert (
        log.one("SELECT min(number) FROM audit_searchblock WHERE tenant_id = %s", log.both)
        == (log.one("SELECT min(tseq) FROM audit_entry WHERE tenant_id = %s", log.both) - 1) // 256
    )
