"""The stand-alone verifier in several processes comes to the result of one, and does without them where it must."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from tests.audit.exporting import ACME, GLOBEX, Log, edit_lines, write_folder, write_zip
from tests.audit.verifying import PROJECT, load_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def log() -> Log:
    return Log().fill(240)


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
