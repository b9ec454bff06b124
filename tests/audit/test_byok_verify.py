"""The stand-alone verifier: what it accepts, and each class of fault with its exit code and its sentence."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZIP_STORED

import pytest

from tests.audit.exporting import (
    ACME,
    GLOBEX,
    ORIGIN,
    WITNESS,
    Log,
    edit_lines,
    write_folder,
    write_zip,
)
from tests.audit.verifying import check, run_copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Lines = list[bytes]


@pytest.fixture(scope="module")
def log() -> Log:
    return Log().fill(24)


def test_an_export_verifies_unpacked_and_as_zip_with_one_sentence(tmp_path: Path, log: Log) -> None:
    files = log.export()
    folder = write_folder(tmp_path / "export", files)
    stored = write_zip(tmp_path / "stored.zip", files, ZIP_STORED)
    deflated = write_zip(tmp_path / "deflated.zip", files, ZIP_DEFLATED)
    answers = [
        run_copy(tmp_path, export, "--log-key", folder / "log.vkey", "--witness-key", folder / "witness.vkey")
        for export in (folder, stored, deflated)
    ]
    assert [answer.code for answer in answers] == [0, 0, 0]
    assert len({answer.out for answer in answers}) == 1
    seen = (log.time + timedelta(minutes=1)).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert answers[0].out == (
        f"Verified: all 24 entries of tenant {ACME}, numbers 1 to 24, from 2026-03-01T12:01:00.000000Z to "
        f"2026-03-01T12:46:00.000000Z, are complete, in order and unchanged in the log {ORIGIN}, whose tree has "
        f"{len(log.leaves)} entries, witnessed by {WITNESS} at {seen}.\n"
    )


def test_keys_from_the_export_are_warned_of_and_can_be_refused(tmp_path: Path, log: Log) -> None:
    export = write_folder(tmp_path / "export", log.export())
    answer = run_copy(tmp_path, export)
    assert answer.code == 0
    assert "compare them with the ones that you got another way" in answer.err
    assert log.signers[0].vkey in answer.err
    assert log.witness.vkey in answer.err
    strict = run_copy(tmp_path, export, "--require-known-keys")
    assert strict.code == 24
    assert "The keys of the log came only with the export." in strict.out


def test_json_says_what_the_sentences_say(tmp_path: Path, log: Log) -> None:
    good = json.loads(check(tmp_path, log, log.export(), "--json").out)
    assert (good["verified"], good["exit_code"], good["faults"]) == (True, 0, [])
    assert good["facts"]["entries"] == 24
    bad = json.loads(check(tmp_path, log, edit_lines(log.export(), drop_fifth), "--json").out)
    assert (bad["verified"], bad["exit_code"]) == (False, 15)
    assert bad["faults"] == [
        {"code": 15, "name": "missing", "text": "Entry 5 is missing: entry 6 comes in that place."}
    ]


def test_quiet_prints_nothing_but_faults(tmp_path: Path, log: Log) -> None:
    assert check(tmp_path, log, log.export(), "--quiet") == (0, "", "")
    answer = check(tmp_path, log, edit_lines(log.export(), drop_fifth), "--quiet")
    assert answer == (15, "Entry 5 is missing: entry 6 comes in that place.\n", "")


def drop_fifth(lines: Lines) -> Lines:
    return lines[:4] + lines[5:]


def drop_three(lines: Lines) -> Lines:
    return lines[:4] + lines[7:]


def edit_fifth(lines: Lines) -> Lines:
    return [*lines[:4], lines[4].replace(b'"allowed"', b'"denied"'), *lines[5:]]


def edit_last(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1].replace(b'"allowed"', b'"denied"')]


def reformat_fifth(lines: Lines) -> Lines:
    return [*lines[:4], lines[4].replace(b'"seq":5', b'"seq": 5'), *lines[5:]]


def swap(lines: Lines) -> Lines:
    return [*lines[:4], lines[5], lines[4], *lines[6:]]


def move_far(lines: Lines) -> Lines:
    return [*lines[:4], *lines[5:20], lines[4], *lines[20:]]


def repeat(lines: Lines) -> Lines:
    return [*lines[:5], lines[4], *lines[5:]]


def cut_tail(lines: Lines) -> Lines:
    return lines[:-1]


def cut_start(lines: Lines) -> Lines:
    return lines[3:]


def drop_newline(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1].rstrip(b"\n")]


def lengthen(lines: Lines) -> Lines:
    return [*lines[:4], b"x" * 70_000 + b"\n", *lines[4:]]


def garble_fifth(lines: Lines) -> Lines:
    return [*lines[:4], b"{}\n", *lines[5:]]


def garble_last(lines: Lines) -> Lines:
    return [*lines[:-1], b"\xff\n"]


def empty(_: Lines) -> Lines:
    return []


@pytest.mark.parametrize(
    ("edit", "code", "sentence"),
    [
        (drop_fifth, 15, "Entry 5 is missing: entry 6 comes in that place."),
        (drop_three, 15, "Entries 5 to 7 are missing: entry 8 comes in that place."),
        (edit_fifth, 14, "Entry 5 was changed: entry 6 links to another content."),
        (edit_last, 13, "Entry 24, the last one, is not in the signed tree: it was changed"),
        (reformat_fifth, 14, "Line 5 of entries.jsonl was changed: it is not an entry as the log writes them."),
        (swap, 16, "Entry 5 stands after a later one: the order was changed."),
        (move_far, 16, "Entry 5 stands after a later one: the order was changed."),
        (repeat, 16, "Entry 5 is there twice."),
        (cut_tail, 13, "Entry 23, the last one, is not in the signed tree"),
        (cut_start, 21, "The export begins with entry 4: nothing shows that the earlier ones were pruned."),
        (drop_newline, 10, "entries.jsonl does not end with a newline"),
        (lengthen, 14, "Line 5 of entries.jsonl was changed"),
        (garble_fifth, 14, "Line 5 of entries.jsonl was changed"),
        (garble_last, 14, "Line 24 of entries.jsonl was changed"),
        (empty, 10, "The export has no entries."),
    ],
)
def test_each_change_to_the_entries_has_its_code_and_its_sentence(
    tmp_path: Path, log: Log, edit: Callable[[Lines], Lines], code: int, sentence: str
) -> None:
    answer = check(tmp_path, log, edit_lines(log.export(), edit))
    assert (answer.code, answer.out.count("\n")) == (code, 1), answer.out
    assert sentence in answer.out


def test_all_faults_are_named_and_the_first_gives_the_code(tmp_path: Path, log: Log) -> None:
    files = edit_lines(log.export(), lambda lines: edit_last(swap(edit_fifth(lines[:10]) + lines[12:])))
    answer = check(tmp_path, log, files)
    assert answer.code == 16
    assert "Entries 11 to 12 are missing" in answer.out
    assert "Entry 24, the last one, is not in the signed tree" in answer.out


def test_an_entry_of_another_tenant_is_named(tmp_path: Path, log: Log) -> None:
    foreign = log.leaves[log.chains[GLOBEX][4]] + b"\n"
    for edit in (lambda lines: [*lines[:4], foreign, *lines[4:]], lambda lines: [*lines[:4], foreign, *lines[5:]]):
        answer = check(tmp_path, log, edit_lines(log.export(), edit))
        assert answer.code == 17
        assert f"Line 5 of entries.jsonl is an entry of another tenant: {GLOBEX}." in answer.out
    assert check(tmp_path, log, log.export(GLOBEX)).code == 0
    assert check(tmp_path, log, log.export(GLOBEX), "--tenant", ACME).code == 17


@pytest.mark.parametrize("name", ["entries.jsonl", "head.tlog-proof"])
def test_a_missing_file_is_named(tmp_path: Path, log: Log, name: str) -> None:
    files = log.export()
    del files[name]
    answer = check(tmp_path, log, files)
    assert (answer.code, answer.out) == (10, f"{name} is not in the export.\n")


@pytest.mark.parametrize("arguments", [(), ("a", "--proof", "b"), ("--proof", "b"), ("a", "--max-age", "nan")])
def test_wrong_use_has_its_own_code(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run_copy(tmp_path, *arguments).code == 2


def test_a_file_that_is_not_there_or_no_key_is_wrong_use(tmp_path: Path, log: Log) -> None:
    export = write_folder(tmp_path / "export", log.export())
    assert run_copy(tmp_path, tmp_path / "none").code == 2
    assert run_copy(tmp_path, export, "--since", tmp_path / "none").code == 2
    for option, key in (("--log-key", log.witness.vkey), ("--witness-key", log.signers[0].vkey), ("--log-key", "x")):
        assert run_copy(tmp_path, export, option, key).code == 2


def test_the_evidence_of_one_entry_verifies_alone(tmp_path: Path, log: Log) -> None:
    place = log.chains[ACME][7]
    proof, entry = tmp_path / "entry.tlog-proof", tmp_path / "entry.json"
    proof.write_text(log.prove(place, log.checkpoint()))
    entry.write_bytes(log.leaves[place])
    keys = ("--log-key", log.signers[0].vkey, "--witness-key", log.witness.vkey)
    answer = run_copy(tmp_path, "--proof", proof, "--entry", entry, *keys)
    assert answer.code == 0
    assert answer.out.startswith(f"Verified: entry 8 of tenant {ACME} (key.used, ")
    assert run_copy(tmp_path, "--proof", proof, "--entry", entry, *keys, "--tenant", GLOBEX).code == 17
    assert run_copy(tmp_path, "--proof", proof, "--entry", entry).code == 2
    entry.write_bytes(log.leaves[place].replace(b"allowed", b"refused"))
    changed = run_copy(tmp_path, "--proof", proof, "--entry", entry, *keys)
    assert (changed.code, changed.out.split(":")[0]) == (13, "The entry is not in the signed tree")
