"""The stand-alone verifier inside: it shares no code with the portal, agrees with it, and its short cuts are sound."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import canonicalise
from audit.canonical import parse_canonical as parse_as_the_portal
from audit.merkle import consistency_proof, inclusion_proof
from byok_portal.errors import IntegrityError, InvalidInput
from tests.audit.exporting import ACME, GLOBEX, Log, edit_lines, write_folder, write_zip
from tests.audit.verifying import PROJECT, SOURCE, load_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPTH = 33
QUICK = settings(max_examples=300, deadline=None)


@pytest.fixture(scope="module")
def log() -> Log:
    return Log().fill(240)


def test_the_file_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    nodes = list(ast.walk(ast.parse(SOURCE.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"cryptography"}


def test_the_package_offers_the_command_and_needs_no_more_than_the_file() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"byok-verify": "byok_verify:main"}
    assert project["tool"]["setuptools"]["py-modules"] == [SOURCE.stem]
    assert [name.split(">")[0] for name in project["project"]["dependencies"]] == ["cryptography"]
    assert callable(load_module().main)


def test_file_and_readme_list_every_exit_code() -> None:
    program = load_module()
    readme = (PROJECT / "README.md").read_text()
    for code in [0, 2, *program.Code]:
        assert f"\n    {int(code):2}  " in program.__doc__
        assert f"\n| {int(code)} | " in readme


def test_the_example_of_the_signed_note_standard_verifies() -> None:
    program = load_module()
    key = program.parse_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = program.parse_note(
        "This is an example message.\n\n\u2014 example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n",
        "it",
    )
    assert program.verified_signers(note, [key]) == {"example.com/foo": 0}
    changed = note._replace(body="This is another message.\n")
    with pytest.raises(program.Found) as caught:
        program.verified_signers(changed, [key])
    assert caught.value.fault.code == 11


def test_the_portals_own_proofs_verify_at_every_size() -> None:
    program, log = load_module(), Log().fill(20)
    notes = [log.checkpoint(witnessed=False, size=size) for size in range(1, len(log.leaves) + 1)]
    trees = [program.parse_checkpoint(note, "it") for note in notes]
    for new in trees:
        for index in range(new.size):
            path = inclusion_proof(index, new.size, log.read)
            assert program.is_included(log.hashes[index], index, new, path)
            assert not program.is_included(log.hashes[index], index + 1, new, path)
            assert not program.is_included(log.hashes[index], index, new, [*path, bytes(32)])
            assert not path or not program.is_included(log.hashes[index], index, new, path[1:])
        for old in trees[: new.size]:
            path = consistency_proof(old.size, new.size, log.read)
            assert program.is_extension(old, new, path)
            assert old == new or not program.is_extension(old._replace(root=bytes(32)), new, path)
            assert old == new or not program.is_extension(new, old, path)
            assert not path or not program.is_extension(old, new, path[:-1])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=6) | st.just("\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=5)


def parse_both(line: bytes) -> tuple[Any, Any]:
    """What the verifier and the portal read, None for what they refuse."""
    try:
        ours = load_module().parse_canonical(line)
    except (ValueError, RecursionError):
        ours = None
    try:
        portals = parse_as_the_portal(line, depth_max=DEPTH)
    except IntegrityError:
        portals = None
    return ours, portals


@QUICK
@given(DOCUMENTS, st.data())
def test_verifier_and_portal_agree_on_what_is_canonical(document: dict[str, Any], data: st.DataObject) -> None:
    escaped, sort = data.draw(st.booleans()), data.draw(st.booleans())
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ":"), (",", ": ")]))
    text = json.dumps(document, ensure_ascii=escaped, sort_keys=sort, separators=separators)
    ours, portals = parse_both(text.encode(errors="surrogatepass"))
    assert ours == portals


NOT_CANONICAL = [
    b'{"a":1,"a":1}',
    b'{"b":1,"a":1}',
    b'{"a":1} ',
    b' {"a":1}',
    b'{"a":1}{}',
    b'{"a":-0}',
    b'{"a":01}',
    b'{"a":1e3}',
    b'{"a":1.0}',
    b'{"a":9007199254740992}',
    b'{"a":NaN}',
    b'{"a":"\\u0061"}',
    b'{"a":"\\/"}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\u0000"}',
    '{"ä":1}'.encode(),
    b'{"a":"\xff"}',
    b"\xef\xbb\xbf{}",
    b"[]",
    b"",
    b'{"a":' + b"[" * 34 + b"]" * 34 + b"}",
]


@pytest.mark.parametrize("line", NOT_CANONICAL)
def test_what_is_not_canonical_is_refused_by_both(line: bytes) -> None:
    assert parse_both(line) == (None, None)


SHAPED = st.fixed_dictionaries({"action": st.sampled_from(["key.used", "key.rotated"]), "detail": DOCUMENTS})


@settings(max_examples=400, deadline=None)
@given(st.lists(SHAPED, min_size=1, max_size=4), st.data())
def test_a_line_that_is_of_a_known_shape_is_an_entry_of_canonical_form(bodies: list[Any], data: st.DataObject) -> None:
    program = load_module()
    shapes = program.Shapes()
    lines = []
    for body in bodies:
        try:
            part = canonicalise(body)
        except InvalidInput:
            continue
        lines.append(b'{"body":%b,"prev":"%b=","seq":7,"tenant":"t","v":1}' % (part, b"A" * 43))
        shapes.learn(lines[-1])
    for line in lines:
        at = data.draw(st.integers(0, len(line)))
        new = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"0", b"-", b"1", b"\\u0041", b'":"', b" ", b"\x01"])
        )
        changed = line[:at] + new + line[at + data.draw(st.integers(0, 3)) :]
        if shapes.covers(changed):
            assert parse_both(changed)[0] is not None, changed
            assert program.parse_canonical(changed).keys() == {"body", "prev", "seq", "tenant", "v"}


def test_most_lines_are_recognised_without_parsing(log: Log) -> None:
    program = load_module()
    trail = program.Chain(None)
    parsed: list[bytes] = []
    examine = trail._examine

    def count(line: bytes) -> None:
        parsed.append(line)
        examine(line)

    trail._examine = count
    trail.follow(iter(log.export()["entries.jsonl"].split(b"\n")[:-1]))
    assert trail.faults() == []
    assert trail.run.seq == 240
    assert len(parsed) == 2  # one per action


@pytest.fixture
def many_processes() -> Iterator[None]:
    """As if a few kilobytes were worth several processes."""
    with patch.object(load_module(), "PARALLEL_FROM", 2**14):
        yield


@pytest.mark.usefixtures("many_processes")
def test_several_processes_come_to_the_result_of_one(
    tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    program, files = load_module(), log.export()
    foreign = log.leaves[log.chains[GLOBEX][4]] + b"\n"
    exports = [
        files,
        edit_lines(files, lambda lines: [*lines[:99], *lines[100:]]),
        edit_lines(files, lambda lines: [*lines[:99], lines[99].replace(b"allowed", b"refused"), *lines[100:]]),
        edit_lines(files, lambda lines: [lines[120], *lines[:120], *lines[121:]]),
        edit_lines(files, lambda lines: [*lines[:99], foreign, *lines[99:]]),
        edit_lines(files, lambda lines: [*lines[:99], b"{}\n", *lines[99:]]),
        edit_lines(files, lambda lines: [*lines[:-1], lines[-1][:-1]]),
    ]
    codes = []
    for number, changed in enumerate(exports):
        for export in (write_folder(tmp_path / f"{number}", changed), write_zip(tmp_path / f"{number}.zip", changed)):
            answers = set()
            for jobs in ("1", "2"):
                code = program.main([str(export), "--log-key", log.signers[0].vkey, "--jobs", jobs])
                answers.add((code, capsys.readouterr()))
            assert len(answers) == 1
        codes.append(code)
    assert codes == [0, 15, 14, 16, 17, 14, 10]


@pytest.mark.usefixtures("many_processes")
def test_the_runs_of_several_processes_are_linked_at_each_joint(tmp_path: Path, log: Log) -> None:
    program = load_module()
    data = log.export()["entries.jsonl"]
    path = tmp_path / "entries.jsonl"
    path.write_bytes(data)
    whole = program.Part(str(path), 0, len(data))
    parts = program.split_part(whole, 8)
    assert len(parts) == 8
    assert b"".join(block for part in parts for block in part.blocks()) == data
    runs = [program.follow_part(part, str(ACME)) for part in parts]
    assert program.link_runs(runs[:1] + runs[2:]) is None
    assert program.link_runs([runs[0], None, *runs[2:]]) is None
    joint = [program.follow_part(part, str(ACME)) for part in parts]
    joint[4].first = joint[4].first._replace(prev=bytes(32))
    assert program.link_runs(joint) is None
    linked = program.link_runs(runs)
    assert (linked.lines, linked.seq, linked.digest) == (240, 240, log.hashes[log.chains[ACME][-1]])
    assert program.follow_part(parts[3], str(GLOBEX)) is None


def test_processes_that_start_anew_work_as_well(tmp_path: Path, log: Log) -> None:
    export = write_folder(tmp_path / "export", log.export())
    script = (
        "import multiprocessing, sys\n"
        f"sys.path.insert(0, {str(PROJECT)!r})\n"
        "import byok_verify as program\n"
        "program.PARALLEL_FROM = 2**16\n"
        "program.multiprocessing.get_context = lambda _, real=multiprocessing.get_context: real('spawn')\n"
        "follow = program.follow_in_parallel\n"
        "def spy(*arguments):\n"
        "    run = follow(*arguments)\n"
        "    print('parallel', run.lines)\n"
        "    return run\n"
        "program.follow_in_parallel = spy\n"
        f"sys.exit(program.main([{str(export)!r}, '--jobs', '2', '--quiet']))\n"
    )
    command = [sys.executable, "-I", "-B", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env={}, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "parallel 240\n", "")


@pytest.mark.usefixtures("many_processes")
def test_where_no_second_process_can_start_one_does_it_all(
    tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    program = load_module()
    export = write_folder(tmp_path / "export", log.export())
    with patch.object(program, "ProcessPoolExecutor", side_effect=OSError("no semaphores here")):
        assert program.main([str(export), "--jobs", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"Verified: all 240 entries of tenant {ACME}")
