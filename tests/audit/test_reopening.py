"""After a restore with loss the log goes on under a new name, and everybody can see that and why."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.test import override_settings

from audit import exports
from audit.notes import CosignatureVerifier, Signer, open_note, parse_checkpoint
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.secrets import Secret
from tests.audit.cells import Cell, wait_until
from tests.audit.verifying import run_copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

BACKED_UP, LOST, SINCE = 4, 6, 3
SIGNED: Final = BACKED_UP + LOST
OTHER_LOG: Final = 22


@pytest.fixture(scope="module")
def built(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """One log per module: it was backed up, it grew, it was signed, and the backup came back and grew otherwise."""
    made = Cell.build(tmp_path_factory.mktemp("cell"))
    try:
        made.number(BACKED_UP)
        made.back_up()
        made.number(LOST)
        made.keep("whole")
        (made.folder / "kept.tlog-proof").write_text(export(made, made.folder / "kept.zip"))
        made.restore()
        made.number(SINCE)
        made.keep()
        yield made
    finally:
        made.close()


@pytest.fixture
def whole(built: Cell) -> Cell:
    """A log that lost nothing."""
    built.reset("whole")
    return built


@pytest.fixture
def cell(built: Cell) -> Cell:
    """Entries that were signed are lost: since then it is numbered, and not signed any more."""
    built.reset()
    assert built.fault
    return built


@contextmanager
def reading(cell: Cell) -> Iterator[None]:
    """As the web host of the cell, in this process."""
    alias = "cell_default"
    connections.settings[alias] = {**connections.settings["default"], "NAME": cell.name}
    keys = {"LOG_VKEY": cell.key.vkey, "WITNESS_VKEY": cell.witness.vkey}
    try:
        with override_settings(**keys), binding.use_alias(alias):
            yield
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


def export(cell: Cell, path: Path) -> str:
    """The tenant's export as a file; returns the proof that it would keep."""
    with reading(cell):
        with binding.bind_tenant(cell.tenant), binding.reading():
            made = exports.prepare()
        path.write_bytes(b"".join(exports.stream(made, "cell_default")))
    return made.members["head.tlog-proof"]


def reopen(cell: Cell, *options: str, typed: str = "", **changes: str) -> CompletedProcess[str]:
    key = cell.folder / "key-2.txt"
    return cell.manage("log_reopen", "--key", str(key), *options, typed=typed, **changes)


def go_on(cell: Cell) -> Signer:
    """What the operator does next: the new key on every host. Returns the old one."""
    old = cell.key
    cell.store_key(Signer.parse(Secret((cell.folder / "key-2.txt").read_text().strip())))
    cell.witness.trust(old.vkey, cell.key.vkey)
    cell.witness.restart()
    return old


def records(cell: Cell) -> list[tuple[int, dict[str, Any]]]:
    """(position, detail) of every opening that the platform's chain has."""
    query = "SELECT idx, leaf FROM audit_entry WHERE tenant_id = %s ORDER BY idx"
    found = [(idx, json.loads(leaf)["body"]) for idx, leaf in cell.admin.execute(query, [PLATFORM]).fetchall()]
    return [(idx, body["detail"]) for idx, body in found if body["action"] == "audit.reopened"]


def test_a_log_that_lost_entries_goes_on_under_a_new_name(cell: Cell) -> None:
    done = reopen(cell, typed=f"{cell.key.name}/2\n")
    assert done.returncode == 0, done.stderr
    assert f"Signed as {cell.key.name}: {SIGNED} entries" in done.stdout
    old = go_on(cell)
    assert cell.key.name == f"{old.name}/2"
    assert cell.key.vkey in done.stdout
    cell.number(2)
    size = BACKED_UP + SINCE + 1 + 2
    assert cell.published() == [(old.name, BACKED_UP), (cell.key.name, size)]
    cell.assert_whole(old.verifier)
    ((place, detail),) = records(cell)
    assert BACKED_UP + SINCE <= place < size
    assert (detail["old_origin"], detail["old_size"], detail["origin"]) == (old.name, SIGNED, cell.key.name)
    quoted = parse_checkpoint(open_note(detail["old_note"], [old.verifier]).body)
    assert (quoted.origin, quoted.size) == (old.name, SIGNED)
    open_note(detail["old_note"], [CosignatureVerifier.parse(cell.witness.vkey)])  # raises unless it cosigned
    # What was signed as the old name is never signed again, whoever still has its key.
    cell.number(1, BYOK_LOG_KEY_FILE=str(save(cell, old)), BYOK_LOG_VKEY=old.vkey)
    assert f"the pin file is of the log {cell.key.name}" in cell.fault
    cell.number(0)
    cell.assert_whole(old.verifier)


def save(cell: Cell, key: Signer) -> Path:
    path = cell.folder / "old-key.txt"
    path.write_text(key.text.reveal_text())
    return path


def test_tenants_and_auditors_verify_the_new_name_and_see_the_break(cell: Cell) -> None:
    assert reopen(cell, "--yes").returncode == 0
    go_on(cell)
    cell.number(1)
    export(cell, cell.folder / "export.zip")
    keys = ("--log-key", cell.key.vkey, "--witness-key", cell.witness.vkey)
    answer = run_copy(cell.folder, cell.folder / "export.zip", *keys)
    assert answer.code == 0, answer.out + answer.err
    answer = run_copy(cell.folder, cell.folder / "export.zip", *keys, "--since", cell.folder / "kept.tlog-proof")
    assert answer.code == OTHER_LOG, answer.out + answer.err
    assert "the log was opened anew" in answer.out
    auditor = urlsplit(os.environ["DATABASE_URL_AUDITOR"])._replace(path=f"/{cell.name}").geturl()
    done = cell.manage("audit_rebuild", DATABASE_URL_AUDITOR=auditor)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", ["the witness", "an older pin and the witness", "a file"])
def test_the_old_head_comes_from_whoever_kept_the_newest(cell: Cell, source: str) -> None:
    options: tuple[str, ...] = ()
    changes: dict[str, str] = {}
    if source == "an older pin and the witness":
        document = json.loads(cell.pin.read_text())
        cell.pin.write_text(json.dumps({**document, "size": 1, "root": "00" * 32, "note": ""}))
    else:
        cell.pin.unlink()
    if source == "a file":
        options, changes = ("--old", str(cell.folder / "kept.tlog-proof")), {"BYOK_WITNESS_URL": "http://127.0.0.1:9"}
    done = reopen(cell, "--yes", *options, **changes)
    assert done.returncode == 0, done.stderr
    ((_, detail),) = records(cell)
    assert detail["old_size"] == SIGNED
    assert parse_checkpoint(open_note(detail["old_note"], [cell.witness.verifier]).body).size == SIGNED
    assert cell.pinned() == (f"{cell.key.name}/2", cell.size)


def test_an_opening_that_was_cut_off_is_finished_and_recorded_once(cell: Cell) -> None:
    before = cell.pin.read_bytes()
    assert reopen(cell, "--yes").returncode == 0
    cell.pin.write_bytes(before)
    done = reopen(cell, "--yes")
    assert done.returncode == 0, done.stderr
    assert len(records(cell)) == 1
    go_on(cell)
    cell.number(0)
    assert cell.published()[-1] == (cell.key.name, cell.size)
    # And never again: the pin is of the new name.
    again = reopen(cell, "--yes")
    assert again.returncode == 1
    assert "whole" in again.stderr


def test_a_second_loss_gets_a_third_name(cell: Cell) -> None:
    assert reopen(cell, "--yes").returncode == 0
    old = go_on(cell)
    cell.number(1)
    cell.back_up()
    cell.number(2)
    cell.restore()
    done = cell.manage("log_reopen", "--key", str(cell.folder / "key-3.txt"), "--yes", "--origin", old.name)
    assert f"was open as {old.name} before" in done.stderr
    done = cell.manage("log_reopen", "--key", str(cell.folder / "key-3.txt"), "--yes")
    assert done.returncode == 0, done.stderr
    assert [detail["origin"] for _, detail in records(cell)] == [f"{old.name}/2", f"{old.name}/3"]


def test_a_whole_log_is_not_opened_anew(whole: Cell) -> None:
    done = reopen(whole, "--yes")
    assert (done.returncode, records(whole)) == (1, [])
    assert f"the log is whole: its {SIGNED} entries extend the {SIGNED} that were signed" in done.stderr
    assert not (whole.folder / "key-2.txt").exists()


def test_a_new_key_alone_opens_nothing(whole: Cell) -> None:
    whole.store_key(Signer.generate(f"{whole.key.name}/2"))
    whole.witness.trust(whole.key.vkey)
    whole.witness.restart()
    kept = whole.pin.read_bytes()
    whole.number(1)
    assert "the pin file is of the log" in whole.fault
    whole.pin.unlink()
    whole.number(1)
    assert "only `manage.py log_reopen` opens it as" in whole.fault
    assert len(whole.published()) == 2
    whole.pin.write_bytes(kept)


def test_what_is_not_clear_is_refused_and_changes_nothing(cell: Cell) -> None:
    before, pin = cell.size, cell.pin.read_bytes()
    stranger = cell.folder / "stranger.tlog-proof"
    stranger.write_text((cell.folder / "kept.tlog-proof").read_text().replace(f"\n{SIGNED}\n", f"\n{SIGNED + 1}\n"))
    key = str(cell.folder / "key.txt")
    tries = {
        "Nothing was changed": reopen(cell),
        "Nothing was changed.": reopen(cell, typed="yes\n"),
        f"was open as {cell.key.name} before": reopen(cell, "--yes", "--origin", cell.key.name),
        f"is of the log {cell.key.name}, not of": cell.manage("log_reopen", "--key", key, "--yes"),
        "Not opened anew": reopen(cell, "--yes", "--old", str(stranger)),
        "The connection to the witness failed": reopen(cell, "--yes", BYOK_WITNESS_URL="http://127.0.0.1:9"),
    }
    for words, done in tries.items():
        assert done.returncode == 1, done.stdout
        assert words in done.stderr
    cell.pin.unlink()
    cell.admin.execute("ALTER TABLE audit_checkpoint DISABLE TRIGGER append_only")
    cell.admin.execute("DELETE FROM audit_checkpoint")
    done = reopen(cell, "--yes", BYOK_WITNESS_URL="")
    assert "no old checkpoint is at hand" in done.stderr
    cell.pin.write_bytes(pin)
    with cell.sequencer():
        wait_until(cell.lock_is_taken)
        assert "a sequencer is running" in reopen(cell, "--yes").stderr
    assert (cell.size, cell.pin.read_bytes(), records(cell)) == (before, pin, [])
