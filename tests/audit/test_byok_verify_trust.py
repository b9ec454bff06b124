"""The stand-alone verifier and whom it trusts: signatures, witnesses, the checkpoint that was kept, pruned starts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from audit.notes import CosignatureSigner, SignatureLine, Signer
from tests.audit.exporting import ACME, ORIGIN, PLATFORM, WITNESS, Files, Log, write_folder
from tests.audit.verifying import check, run_copy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def log() -> Log:
    return Log().fill(24)


def keep(folder: Path, text: str) -> Path:
    (folder / "kept").write_text(text)
    return folder / "kept"


def test_the_logs_signature_must_be_there_and_right(tmp_path: Path, log: Log) -> None:
    export = write_folder(tmp_path / "export", log.export())
    other = run_copy(tmp_path, export, "--log-key", Signer.generate(ORIGIN).vkey)
    assert other.code == 11
    assert f"No known key of the log {ORIGIN} signed the checkpoint." in other.out
    elsewhere = run_copy(tmp_path, export, "--log-key", Signer.generate("other.example/log").vkey)
    assert elsewhere.code == 11
    assert f"The checkpoint is of the log {ORIGIN}; the key is of other.example/log." in elsewhere.out
    stranger = Signer.generate("other.example/log")
    body = log.checkpoint(witnessed=False).split("\n\n")[0] + "\n"
    foreign = log.export(
        note=f"{body}\n{stranger.sign(body)}{log.witness.cosign(body, time=int(log.time.timestamp()))}"
    )
    assert check(tmp_path, log, foreign, "--log-key", stranger.vkey).code == 11
    forged = Log([Signer.generate(ORIGIN)], log.witness).fill(3)
    assert check(tmp_path, log, forged.export()).code == 11
    assert run_copy(tmp_path, write_folder(export, log.export() | {"log.vkey": b""})).code == 11


def test_a_wrong_signature_of_a_known_key_is_a_fault_whoever_else_signed(tmp_path: Path, log: Log) -> None:
    body = log.checkpoint().split("\n\n")[0] + "\n"
    good, wrong = log.signers[0].sign(body), log.signers[0].sign(body.replace(f"\n{len(log.leaves)}\n", "\n1\n"))
    witness = log.witness.cosign(body, time=int(log.time.timestamp()))
    answer = check(tmp_path, log, log.export(note=f"{body}\n{good}{wrong}{witness}"))
    assert (answer.code, answer.out) == (11, f"The signature of the log {ORIGIN} on the checkpoint is wrong.\n")
    unknown = Signer.generate(ORIGIN).sign(body)
    assert check(tmp_path, log, log.export(note=f"{body}\n{unknown}{good}{witness}")).code == 0


def test_a_witness_that_was_named_must_have_cosigned(tmp_path: Path, log: Log) -> None:
    unwitnessed = log.export(note=log.checkpoint(witnessed=False))
    answer = check(tmp_path, log, unwitnessed)
    assert (answer.code, answer.out) == (12, f"The checkpoint lacks a cosignature of {WITNESS}.\n")
    second = CosignatureSigner.generate("witness.example/w2")
    assert check(tmp_path, log, log.export(), "--witness-key", second.vkey).code == 12
    rotated = CosignatureSigner.generate(WITNESS)
    assert check(tmp_path, log, log.export(), "--witness-key", rotated.vkey).code == 0
    body = log.checkpoint().split("\n\n")[0] + "\n"
    line = SignatureLine.parse(log.witness.cosign(body, time=int(log.time.timestamp())))
    later = replace(line, signature=bytes(4) + b"\x7f\0\0\0" + line.signature[8:])
    wrong = check(tmp_path, log, log.export(note=f"{body}\n{log.signers[0].sign(body)}{later.text}"))
    assert (wrong.code, wrong.out) == (12, f"The signature of the witness {WITNESS} on the checkpoint is wrong.\n")


def test_an_unwitnessed_export_is_measured_by_the_clock_and_warned_of(tmp_path: Path, log: Log) -> None:
    files = log.export(note=log.checkpoint(witnessed=False)) | {"witness.vkey": b""}
    export = write_folder(tmp_path / "export", files)
    key = ("--log-key", log.signers[0].vkey)
    answer = run_copy(tmp_path, export, *key)
    assert answer.code == 20
    assert "older than now: later entries may be withheld." in answer.out
    assert "No witness is known" in answer.err
    assert run_copy(tmp_path, export, *key, "--no-heartbeat").code == 0
    soon = (log.time + timedelta(hours=25)).isoformat()
    assert run_copy(tmp_path, export, *key, "--now", soon).code == 0
    assert run_copy(tmp_path, export, *key, "--now", soon, "--max-age", "24").code == 20


def test_the_heartbeat_unmasks_a_withheld_tail(tmp_path: Path) -> None:
    log = Log().fill(4)
    assert check(tmp_path, log, log.export(note=log.checkpoint(after=timedelta(hours=26)))).code == 0
    stale = log.export(note=log.checkpoint(after=timedelta(hours=27)))
    answer = check(tmp_path, log, stale)
    text = "Entry 4, the last one, is 27 hours older than the witness time: later entries may be withheld.\n"
    assert (answer.code, answer.out) == (20, text)
    assert check(tmp_path, log, stale, "--no-heartbeat").code == 0
    early = check(tmp_path, log, log.export(note=log.checkpoint(after=timedelta(hours=-2))))
    assert early.code == 20
    assert "Entry 4, the last one, is dated 2026-03-01 12:07:00 UTC, after it was seen" in early.out
    log.append(ACME, "tenant.offboarded")
    assert check(tmp_path, log, log.export(note=log.checkpoint(after=timedelta(days=300)))).code == 0


def test_while_a_key_is_rotated_either_key_verifies(tmp_path: Path) -> None:
    old, new = Signer.generate(ORIGIN), Signer.generate(ORIGIN)
    log = Log([old, new]).fill(3)
    export = write_folder(tmp_path / "export", log.export())
    for key in (old, new):
        assert run_copy(tmp_path, export, "--log-key", key.vkey).code == 0
    assert run_copy(tmp_path, export).code == 0


@pytest.mark.parametrize("form", ["checkpoint", "proof"])
def test_an_export_extends_the_checkpoint_that_was_kept(tmp_path: Path, form: str) -> None:
    log = Log().fill(9)
    old = log.checkpoint()
    kept = keep(tmp_path, old if form == "checkpoint" else log.export(note=old)["head.tlog-proof"].decode())
    assert check(tmp_path, log, log.export(note=old), "--since", kept).code == 0
    log.fill(9)
    answer = check(tmp_path, log, log.export(since=old), "--since", kept)
    assert answer.code == 0
    assert f"It extends the tree of {old.split()[1]} entries that you kept." in answer.out


def test_what_does_not_extend_the_kept_checkpoint_has_its_code(tmp_path: Path) -> None:
    log = Log().fill(9)
    old, size = log.checkpoint(), len(log.leaves)
    kept = keep(tmp_path, old)
    log.fill(2)
    middle = log.checkpoint()
    log.fill(2)
    for files in (log.export(), log.export(since=middle)):
        answer = check(tmp_path, log, files, "--since", kept)
        text = f"The export has no proof that it extends your checkpoint of size {size}: export again, from that size."
        assert (answer.code, answer.out) == (23, text + "\n")
    rewritten = Log(log.signers, log.witness)
    rewritten.append(ACME)
    rewritten.fill(12)
    proof = {"consistency.json": rewritten.export(since=rewritten.checkpoint(size=size))["consistency.json"]}
    forged = json.loads(proof["consistency.json"]) | {"old": old}
    files = rewritten.export() | {"consistency.json": json.dumps(forged).encode()}
    answer = check(tmp_path, log, files, "--since", kept)
    assert answer.code == 18
    assert "was rewritten. Keep both files, they are the evidence." in answer.out
    back = check(tmp_path, log, log.export(note=old), "--since", keep(tmp_path, middle))
    assert back.code == 19
    assert f"this export's only {size}" in back.out


def test_a_log_that_was_opened_anew_has_its_own_fault(tmp_path: Path) -> None:
    log, again = Log().fill(3), Log([Signer.generate(f"{ORIGIN}/2")]).fill(4)
    kept = keep(tmp_path, log.checkpoint())
    answer = check(tmp_path, again, again.export(), "--since", kept)
    assert answer.code == 22
    assert f"You kept a checkpoint of the log {ORIGIN}, this export is of {ORIGIN}/2" in answer.out


def prune(log: Log, upto: int, end: int) -> Files:
    """The export without entries up to this number, in a log that says that it pruned its places below `end`."""
    place = log.append(PLATFORM, "audit.pruned", {"from": 0, "to": end})
    log.append(ACME)
    return log.prune(log.export(), ACME, upto, place=place, size=len(log.leaves))


def test_a_pruned_start_is_accepted_with_its_evidence(tmp_path: Path) -> None:
    log = Log().fill(20)
    cut = log.chains[ACME][9]
    answer = check(tmp_path, log, prune(log, 9, cut))
    assert answer.code == 0
    assert "numbers 10 to 21" in answer.out
    assert "Entries 1 to 9 were pruned, as the log records." in answer.out


def test_a_pruned_start_is_refused_where_the_evidence_does_not_fit(tmp_path: Path) -> None:
    log = Log().fill(20)
    cut = log.chains[ACME][9]
    answer = check(tmp_path, log, prune(log, 10, cut))
    assert answer.code == 21
    assert "but the entry before it is not among those that were pruned" in answer.out
    files = prune(log, 9, cut)
    before = json.loads(files["before.json"])
    other = {"leaf": log.leaves[3].decode(), "index": 3, "hashes": before["hashes"]}
    eighth = json.loads(log.prune(files, ACME, 8, place=4, size=len(log.leaves))["before.json"])
    changes = [
        {"seq": 8},
        {name: eighth[name] for name in ("index", "hash", "hashes")},
        {"index": before["index"] + 1},
        {"hash": before["hashes"][0]},
        {"hashes": before["hashes"][1:]},
        {"pruned": before["pruned"] | {"leaf": before["pruned"]["leaf"].replace('"from":0', '"from":1')}},
        {"pruned": other},
    ]
    for change in changes:
        changed = files | {"before.json": json.dumps(before | change).encode()}
        assert check(tmp_path, log, changed).code == 21, change
    assert check(tmp_path, log, files | {"before.json": b"{}"}).code == 10
    assert check(tmp_path, log, prune(log, 9, len(log.leaves) + 5)).code == 21


def test_the_witness_time_is_told_when_it_is_long_ago(tmp_path: Path, log: Log) -> None:
    late = (datetime(2027, 1, 1, tzinfo=UTC)).isoformat()
    assert "nothing is proven about later times" in check(tmp_path, log, log.export(), "--now", late).err
    soon = (log.time + timedelta(hours=1)).isoformat()
    assert check(tmp_path, log, log.export(), "--now", soon).err == ""


def test_a_tenants_own_entry_cannot_speak_for_the_log(tmp_path: Path) -> None:
    log = Log().fill(20)
    place = log.append(ACME, "audit.pruned", {"from": 0, "to": log.chains[ACME][9]})
    files = log.prune(log.export(), ACME, 9, place=place, size=len(log.leaves))
    answer = check(tmp_path, log, files)
    assert answer.code == 21
    assert "about something else" in answer.out
