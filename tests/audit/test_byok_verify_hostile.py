"""The stand-alone verifier meets exports that someone made to fool it, to crash it or to tie it up."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zipfile import ZIP_DEFLATED, ZIP_STORED

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.audit.exporting import ACME, PLATFORM, Files, Log, edit_lines, write_folder, write_zip
from tests.audit.verifying import InMemory, load_module, run_copy, verify_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_log(count: int) -> Log:
    log = Log()
    for number in range(count):
        log.append(ACME, detail={"n": number})
        log.append(uuid4())
    return log


LOG = make_log(3)
FILES = LOG.export()
KEYS = ("--log-key", LOG.signers[0].vkey, "--witness-key", LOG.witness.vkey)


def run_here(capsys: pytest.CaptureFixture[str], export: Path) -> tuple[int, str]:
    code = load_module().main([str(export), *KEYS, "--jobs", "1"])
    return code, capsys.readouterr().out


def is_refused(check: Callable[[], None]) -> bool:
    try:
        check()
    except load_module().Found:
        return True
    return False


def flips(document: dict[str, Any], *path: str | int) -> Iterator[bytes]:
    """The JSON document with each bit of one of its texts flipped."""
    *parents, name = path
    changed = copy.deepcopy(document)
    holder: Any = changed
    for step in parents:
        holder = holder[step]
    text = holder[name]
    for place, char in enumerate(text):
        for bit in range(7):
            holder[name] = text[:place] + chr(ord(char) ^ 1 << bit) + text[place + 1 :]
            yield json.dumps(changed).encode()


@pytest.mark.parametrize("name", ["entries.jsonl", "head.tlog-proof"])
def test_every_byte_of_entries_and_proof_counts(name: str) -> None:
    """Two bits of each, other ones from byte to byte."""
    assert verify_in_memory(FILES, *KEYS) == []
    data = FILES[name]
    for place in range(len(data)):
        for bit in (place % 8, (place + 3) % 8):
            changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            assert verify_in_memory(FILES | {name: changed}, *KEYS), (place, bit)


def test_every_single_bit_of_the_pruning_evidence_counts() -> None:
    log = make_log(3)
    place = log.append(PLATFORM, "audit.pruned", {"from": 0, "to": log.chains[ACME][2]})
    log.append(ACME)
    files = log.prune(log.export(), ACME, 2, place=place, size=len(log.leaves))
    program = load_module()
    checkpoint = program.parse_proof(files["head.tlog-proof"].decode(), "it").checkpoint
    first = program.parse_entry(files["entries.jsonl"].split(b"\n")[0])

    def refuses(before: bytes) -> bool:
        export = InMemory(files | {"before.json": before})
        return is_refused(lambda: program.check_start(first, export, checkpoint))

    assert not refuses(files["before.json"])
    before = json.loads(files["before.json"])
    paths: list[tuple[str | int, ...]] = [("hash",), ("pruned", "leaf")]
    paths += [("hashes", index) for index in range(len(before["hashes"]))]
    paths += [("pruned", "hashes", index) for index in range(len(before["pruned"]["hashes"]))]
    for path in paths:
        assert all(refuses(changed) for changed in flips(before, *path)), path


def test_every_single_bit_of_the_extension_counts() -> None:
    log = make_log(3)
    kept = log.checkpoint()
    log.append(ACME)
    files = log.export(since=kept)
    program = load_module()
    checkpoint = program.parse_proof(files["head.tlog-proof"].decode(), "it").checkpoint
    older = program.parse_kept(kept)

    def refuses(consistency: bytes) -> bool:
        export = InMemory(files | {"consistency.json": consistency})
        return is_refused(lambda: program.check_extension(export, older, checkpoint))

    assert not refuses(files["consistency.json"])
    consistency = json.loads(files["consistency.json"])
    for index in range(len(consistency["hashes"])):
        assert all(refuses(changed) for changed in flips(consistency, "hashes", index))


@QUICK
@given(st.binary(max_size=300))
def test_random_bytes_are_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(data)
    code, out = run_here(capsys, path)
    assert (code, out) == (10, "The export is neither a folder nor a readable ZIP file.\n")


@QUICK
@given(st.data())
def test_a_damaged_zip_never_crashes_and_verifies_only_with_the_same_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    compression = data.draw(st.sampled_from([ZIP_STORED, ZIP_DEFLATED]))
    path = write_zip(tmp_path / "export.zip", FILES, compression)
    whole = bytearray(path.read_bytes())
    # The tables of a ZIP are at its end: half of the changes go there.
    places = st.one_of(st.integers(0, len(whole) - 1), st.integers(len(whole) - 400, len(whole) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        whole[place] = value
    path.write_bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole) - 1, len(whole) // 2]))])
    code, out = run_here(capsys, path)
    assert bool(code) != out.startswith("Verified")
    if code == 0:
        assert same_content(path)


def same_content(path: Path) -> bool:
    """Whether the verifier read what was exported (others may refuse the file, for a checksum that is off)."""
    program = load_module()
    with program.open_export(path) as export:
        entries = export.part("entries.jsonl")
        blocks = entries.blocks() if isinstance(entries, program.Part) else entries
        proof = export.find("head.tlog-proof")
        return b"".join(blocks) == FILES["entries.jsonl"] and proof.encode() == FILES["head.tlog-proof"]


@QUICK
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=40), st.integers(0, 3000), st.integers(0, 60))
def test_a_file_with_bytes_exchanged_never_crashes_nor_verifies(name: str, data: bytes, at: int, count: int) -> None:
    at %= len(FILES[name]) + 1
    changed = FILES[name][:at] + data + FILES[name][at + count :]
    faults = verify_in_memory(FILES | {name: changed}, *KEYS)
    if changed != FILES[name] and name in {"entries.jsonl", "head.tlog-proof"}:
        assert faults
    else:
        assert faults == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["leaf", "index", "hashes"]), inner),
    max_leaves=8,
)
BEFORE = st.fixed_dictionaries(
    {}, optional={name: JSON | st.integers(0, 9) for name in ("seq", "index", "hash", "hashes", "pruned", "old")}
)


@QUICK
@given(BEFORE | JSON)
def test_made_up_evidence_never_crashes_nor_replaces_the_start(document: Any) -> None:
    files = edit_lines(FILES, lambda lines: lines[1:]) | {"before.json": json.dumps(document).encode()}
    assert verify_in_memory(files, *KEYS)


@QUICK
@given(st.text(max_size=200) | st.text("\n—+ abc=19", max_size=200))
def test_a_made_up_proof_never_crashes_nor_verifies(text: str) -> None:
    head = FILES["head.tlog-proof"].decode()
    for made_up in (text, f"c2sp.org/tlog-proof@v1\n{text}", f"{head}{text}\n", text + head.partition("\n\n")[2]):
        data = made_up.encode(errors="replace")
        assert verify_in_memory(FILES | {"head.tlog-proof": data}, *KEYS)


def test_deep_nesting_and_huge_numbers_are_faults(tmp_path: Path) -> None:
    for line in (b"[" * 60_000, b'{"a":' * 10_000, b"1" * 60_000, b'{"body":{"a":%b}}' % (b"9" * 30_000)):
        files = FILES | {"entries.jsonl": line + b"\n" + FILES["entries.jsonl"]}
        export = write_folder(tmp_path / "export", files)
        answer = run_copy(tmp_path, export, *KEYS)
        assert (answer.code, answer.out.split(":")[0]) == (14, "Line 1 of entries.jsonl was changed")
    files = edit_lines(FILES, lambda lines: lines[1:]) | {"before.json": b"[" * 200_000}
    assert run_copy(tmp_path, write_folder(tmp_path / "export", files), *KEYS).code == 10


def test_lines_of_ever_new_shapes_do_not_fill_the_memory() -> None:
    program = load_module()
    shapes = program.Shapes()
    for number in range(2000):
        shapes.learn(b'{"body":{"action":"%d","b%d":1}}' % (number, number))
        shapes.learn(b'{"body":{"action":"same","b%d":1}}' % number)
    assert sum(len(patterns) for patterns in shapes._patterns.values()) <= 128
    assert len(shapes._patterns) <= 128


def files_with(lines: list[bytes]) -> Files:
    return FILES | {"entries.jsonl": b"".join(lines)}


def test_faults_without_end_are_not_followed_to_the_end(tmp_path: Path) -> None:
    answer = run_copy(tmp_path, write_folder(tmp_path / "x", files_with([b"{}\n"] * 50_000)), *KEYS)
    assert answer.code == 14
    assert answer.out.count("\n") == 21
    assert answer.out.endswith("And 980 more.\n")
