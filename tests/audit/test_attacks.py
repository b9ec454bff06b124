"""The attacks of a database superuser, with every trigger off: each has someone who notices, and who does not."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from audit.cosigning import WitnessRefused
from audit.signing import SigningRefused
from byok_portal.boundary.identifiers import new_id
from tests import spawning
from tests.audit import inbox
from tests.audit.attacks import FIRST, MORE, Scene
from tests.audit.witness.witnessing import WitnessThread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

SIZE: Final = 2 * (FIRST + MORE)
SIGNED: Final = 2 * FIRST
OK, WITNESS, NOT_IN_TREE, CHANGED, MISSING, NOT_EXTENDED, ROLLED_BACK, SILENT = 0, 12, 13, 14, 15, 18, 19, 20

EDIT: Final = "UPDATE audit_entry SET leaf = replace(leaf, 'allowed', 'ollowed') WHERE idx = 100"
DELETE: Final = "DELETE FROM audit_entry WHERE idx = 100"
BACKDATE: Final = 'UPDATE audit_entry SET leaf = replace(leaf, \'"time":"20\', \'"time":"19\') WHERE idx = 100'
COLUMN: Final = "UPDATE audit_entry SET tenant_id = %(other)s WHERE idx = 100"
STRIP: Final = "UPDATE audit_checkpoint SET note = regexp_replace(note, '\u2014 witness[^\n]*\n', '')"
BOTH: Final = (
    "UPDATE audit_entry SET tenant_id = %(other)s, leaf = replace(leaf, %(victim)s::text, %(other)s::text) "
    "WHERE idx = 100"
)


@pytest.fixture(scope="module")
def built(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One log and its witness per module."""
    from audit.signing import LogSigner  # noqa: PLC0415  # settings must be ready

    signer = LogSigner.from_settings()
    assert signer is not None
    folder = tmp_path_factory.mktemp("scene")
    with WitnessThread(folder, signer.signers[0].vkey) as witness:
        scene = Scene.build(folder, witness)
        yield scene
        scene.close()


@pytest.fixture
def scene(built: Scene, tmp_path: Path) -> Iterator[Scene]:
    """Whole again after the test, the witness's memory included."""
    shutil.copytree(built.witness.state, tmp_path / "witness-state")
    yield built
    built.restore()
    built.witness.stop()
    shutil.rmtree(built.witness.state)
    shutil.copytree(tmp_path / "witness-state", built.witness.state)
    built.witness.start()


def test_an_untouched_log_is_well_for_everyone(scene: Scene, tmp_path: Path) -> None:
    answer = scene.check(tmp_path)
    assert answer.code == OK, answer.out + answer.err
    report = scene.rebuild()
    assert (report.faults, report.size, report.checkpoints, report.tenants) == ([], SIZE, 2, 2)
    grown = scene.grow(1)
    assert grown is not None
    assert grown.size == SIZE + 2


@pytest.mark.parametrize(
    ("attack", "tenant", "auditor"),
    [
        pytest.param((EDIT,), CHANGED, {"leaf_differs", "root_differs"}, id="edit a row"),
        pytest.param((DELETE,), MISSING, {"gap", "missing"}, id="delete a row"),
        pytest.param((BACKDATE,), CHANGED, {"leaf_differs", "root_differs"}, id="backdate a row"),
        pytest.param((COLUMN,), MISSING, {"missing", "duplicate"}, id="swap the tenant column"),
        pytest.param((BOTH,), MISSING, {"leaf_differs", "root_differs"}, id="swap the tenant in column and leaf"),
    ],
)
def test_changed_rows_are_seen_by_tenant_and_auditor_but_not_by_the_signer(
    scene: Scene, tmp_path: Path, attack: tuple[str, ...], tenant: int, auditor: set[str]
) -> None:
    for statement in attack:
        scene.run(statement)
    answer = scene.check(tmp_path)
    assert answer.code == tenant, answer.out + answer.err
    assert scene.kinds() >= auditor
    assert scene.grow(1) is not None


def test_reordered_rows_of_two_tenants_are_seen_by_the_auditor_alone(scene: Scene, tmp_path: Path) -> None:
    partition = "audit_entry_000000000000"
    for old, new in ((100, 5_000_000), (101, 100), (5_000_000, 101)):
        scene.run(f"UPDATE {partition} SET idx = {new} WHERE idx = {old}")  # noqa: S608  # numbers from this test
    assert scene.check(tmp_path).code == OK
    faults = scene.rebuild().faults
    assert {fault.number for fault in faults if fault.kind.value == "leaf_differs"} == {100, 101}
    assert scene.grow(1) is not None


def test_a_tail_that_was_cut_with_all_caches_is_seen_by_everyone(scene: Scene, tmp_path: Path) -> None:
    scene.cut(SIGNED - 100)
    scene.run("DELETE FROM audit_checkpoint")
    assert {"older_than_pin"} <= scene.kinds()
    with pytest.raises(SigningRefused, match="some are lost"):
        scene.grow(1)
    scene.forge()
    scene.download(tmp_path)
    answer = scene.check_file(tmp_path, kept=scene.kept)
    assert answer.code in {WITNESS, NOT_EXTENDED, ROLLED_BACK}, answer.out + answer.err
    assert str(SIGNED) in answer.out


def test_a_backdated_new_event_is_seen_by_the_auditor_alone(scene: Scene, tmp_path: Path) -> None:
    assert scene.grow(1, moment=datetime.now(UTC) - timedelta(hours=2)) is not None
    assert {(fault.kind.value, fault.number) for fault in scene.rebuild().faults} == {
        ("backdated", SIZE),
        ("backdated", SIZE + 1),
    }
    assert scene.check(tmp_path).code == OK


def test_a_database_that_was_rewritten_as_a_whole_is_seen_by_everyone(scene: Scene, tmp_path: Path) -> None:
    scene.rechain("allowed", "denied")
    assert scene.check(tmp_path).code == NOT_IN_TREE
    assert {"root_differs", "fork_at_pin"} <= scene.kinds()
    with pytest.raises(SigningRefused, match="it was rewritten"):
        scene.grow(1)


@pytest.mark.parametrize("size", [SIZE, SIGNED - 100])
def test_a_stolen_log_key_lacks_the_witness(scene: Scene, tmp_path: Path, size: int) -> None:
    if size == SIZE:
        scene.rechain("allowed", "denied")
    else:
        scene.cut(size)
    note = scene.forge()
    scene.download(tmp_path)
    answer = scene.check_file(tmp_path)
    assert answer.code == WITNESS, answer.out + answer.err
    assert scene.kinds() >= ({"fork_at_pin"} if size == SIZE else {"older_than_pin"})
    refusal = scene.witness.add(f"old {SIZE}\n\n{note}".encode())
    if size == SIZE:
        assert refusal.status in {409, 422}, refusal
        assert refusal.status == 422 or refusal.text == f"{SIZE}\n"
    else:
        assert refusal.status in {400, 409}, refusal
    # Without its pin the signer asks the witness what it saw last.
    scene.signer.pin.path.unlink()
    with pytest.raises((SigningRefused, WitnessRefused)):
        scene.grow(1)


def test_a_stolen_log_key_with_a_colluding_witness_is_seen_by_those_who_kept_something(
    scene: Scene, tmp_path: Path
) -> None:
    scene.rechain("allowed", "denied")
    scene.collude()
    scene.download(tmp_path)
    assert scene.check_file(tmp_path).code == OK
    assert scene.check(tmp_path).code == NOT_EXTENDED
    assert scene.kinds() == {"fork_at_pin"}


def test_an_old_checkpoint_that_is_replayed_is_seen_with_a_newer_one_kept(scene: Scene, tmp_path: Path) -> None:
    newest = scene.export().members["head.tlog-proof"]
    scene.run("DELETE FROM audit_checkpoint WHERE size > %(size)s", size=SIGNED)
    scene.download(tmp_path)
    answer = scene.check_file(tmp_path, kept=newest)
    assert answer.code == ROLLED_BACK, answer.out + answer.err
    assert f"Your checkpoint has {SIZE} entries of the log, this export's only {SIGNED}" in answer.out
    later = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"
    answer = scene.check(tmp_path, "--now", later)
    # Whoever kept nothing newer learns only when the witness saw this tree.
    assert answer.code == OK
    assert "nothing is proven about later times" in answer.err


def test_an_old_checkpoint_that_is_replayed_is_seen_by_the_auditor(scene: Scene) -> None:
    report, kept = scene.rebuild(), scene.pinned
    assert kept is not None
    scene.pinned = kept._replace(size=report.size, root=report.root, signed=report.signed)
    scene.run("DELETE FROM audit_checkpoint WHERE size > %(size)s", size=SIGNED)
    found, scene.pinned = scene.rebuild(), kept
    assert [(fault.kind.value, fault.number) for fault in found.faults] == [("older_than_pin", SIGNED)]


def test_a_tail_that_is_withheld_is_seen_by_the_tenant_a_day_later(scene: Scene, tmp_path: Path) -> None:
    """Every active tenant gets an entry a day: what hides longer than that shows as silence."""
    scene.withhold(tmp_path, 5)
    answer = scene.check_file(tmp_path)
    assert answer.code == OK, answer.out + answer.err
    assert scene.grow(1, moment=datetime.now(UTC) - timedelta(hours=27)) is not None
    assert scene.grow(1) is not None
    scene.withhold(tmp_path, 1)
    answer = scene.check_file(tmp_path)
    assert answer.code == SILENT, answer.out + answer.err
    assert "withheld" in answer.out
    assert scene.check(tmp_path).code == OK


def test_an_event_that_a_superuser_makes_up_is_no_question_of_the_tree(scene: Scene, tmp_path: Path) -> None:
    """A log proves what it was told and when. Nobody was answered with this id, and nothing opens its commitment."""
    event = new_id()
    body = inbox.document(event, time=datetime.now(UTC).isoformat().replace("+00:00", "Z"))
    scene.admin.execute(inbox.INSERT, [event, scene.victim, inbox.text(body)])
    assert scene.grow(1) is not None
    assert scene.rows()[SIZE][1:3] == (scene.victim, FIRST + MORE + 1)
    assert scene.check(tmp_path).code == OK
    assert scene.rebuild().intact
    # A real event leaves its sealed detail in the same transaction; a superuser has no key to seal one under.
    found = scene.admin.execute("SELECT count(*) FROM audit_private WHERE event_id = %s", [event]).fetchone()
    assert found == (0,)


def test_a_row_that_left_the_inbox_before_it_was_numbered_is_seen_by_nobody_here(scene: Scene, tmp_path: Path) -> None:
    """Only the receipt of the API call shows it (test_evidence)."""
    event = new_id()
    scene.run("ALTER TABLE audit_inbox DISABLE TRIGGER only_sequencer")
    scene.admin.execute(inbox.INSERT, [event, scene.victim, inbox.text(inbox.document(event))])
    scene.run("DELETE FROM audit_inbox")
    scene.run("ALTER TABLE audit_inbox ENABLE ALWAYS TRIGGER only_sequencer")
    assert scene.grow(1) is not None
    assert scene.check(tmp_path).code == OK
    assert scene.rebuild().intact


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        ("UPDATE audit_tile SET hashes = set_byte(hashes, 33, 255 - get_byte(hashes, 33)) WHERE n = 1", "leaf_differs"),
        ("DELETE FROM audit_tile WHERE n = 1", "tile_differs"),
        ("INSERT INTO audit_tile SELECT 0, 9, hashes FROM audit_tile WHERE n = 0", "extra_tile"),
        ("INSERT INTO audit_tile SELECT 9, 0, hashes FROM audit_tile WHERE n = 0", "extra_tile"),
        ("UPDATE audit_edge SET hashes = sha256(hashes) WHERE level = 1", "edge_differs"),
        ("DELETE FROM audit_edge WHERE level = 0", "edge_differs"),
        ("UPDATE audit_checkpoint SET root = sha256('x') WHERE size = 600", "checkpoint_differs"),
        ("UPDATE audit_checkpoint SET witnessed_at = witnessed_at - interval '1 day'", "checkpoint_differs"),
        ("UPDATE audit_checkpoint SET note = replace(note, E'\n600\n', E'\n601\n')", "signature"),
        ("UPDATE audit_checkpoint SET note = 'none'", "signature"),
        (f"{STRIP} WHERE size = 700", "unwitnessed"),
        (STRIP, "unwitnessed"),
        ("UPDATE audit_checkpoint SET size = 800 WHERE size = 700", "tail_cut"),
    ],
)  # fmt: skip
def test_every_stored_hash_and_signature_is_compared(scene: Scene, attack: str, kind: str) -> None:
    scene.run(attack)
    assert kind in scene.kinds()


def rebuild(scene: Scene, *arguments: object, **changes: str) -> CompletedProcess[str]:
    """The command with the auditor's login and public keys only."""
    url = urlsplit(os.environ["DATABASE_URL_AUDITOR"])._replace(path=f"/{scene.name}").geturl()
    keys = {"DATABASE_URL_AUDITOR": url, "BYOK_WITNESS_VKEY": scene.witness.vkey}
    return spawning.run("audit_rebuild", *map(str, arguments), env={**os.environ, **keys, **changes})


def test_the_command_pins_what_it_saw_and_tells_faults_in_sentences(scene: Scene, tmp_path: Path) -> None:
    pin = tmp_path / "pin.json"
    done = rebuild(scene, "--pin", pin)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Intact: {SIZE} entries of 2 tenants and 2 checkpoints rebuilt in ")
    pinned = json.loads(pin.read_text())
    assert (pinned["size"], pinned["signed"]) == (SIZE, SIZE)
    scene.cut(SIGNED)
    scene.run("DELETE FROM audit_checkpoint WHERE size > %(size)s", size=SIGNED)
    done = rebuild(scene, "--pin", pin)
    assert done.returncode == 1
    assert f"Log position {SIGNED}: older than pin; the last rebuild read {SIZE} entries" in done.stdout
    assert json.loads(pin.read_text()) == pinned
    assert rebuild(scene, "--json").returncode == 0
    scene.run(EDIT)
    answer = json.loads(rebuild(scene, "--json").stdout)
    assert {"kind": "leaf_differs", "number": 100}.items() <= answer["faults"][0].items()


def test_wrong_use_of_the_command_exits_with_2(scene: Scene, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[]")
    tries = [
        rebuild(scene, "--pin", bad),
        rebuild(scene, BYOK_LOG_VKEY=""),
        rebuild(scene, DATABASE_URL_AUDITOR=""),
    ]
    for done, words in zip(tries, ("pin file", "BYOK_LOG_VKEY", "DATABASE_URL_AUDITOR"), strict=True):
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("CommandError: ")
        assert words in done.stderr
        assert done.stdout == ""
