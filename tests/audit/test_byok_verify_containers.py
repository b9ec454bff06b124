"""The stand-alone verifier and hostile containers: bombs, pipes, odd ZIPs, text that would reach a terminal."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA

import pytest

from tests.audit.exporting import ACME, Log, write_folder, write_zip
from tests.audit.verifying import SOURCE, run_copy

if TYPE_CHECKING:
    from pathlib import Path

LOG = Log().fill(3)
FILES = LOG.export()
KEYS = ("--log-key", LOG.signers[0].vkey, "--witness-key", LOG.witness.vkey)


def test_files_that_are_too_long_are_refused(tmp_path: Path) -> None:
    long = FILES | {"head.tlog-proof": b"x" * (2**18 + 1)}
    for export in (write_folder(tmp_path / "x", long), write_zip(tmp_path / "x.zip", long, ZIP_DEFLATED)):
        answer = run_copy(tmp_path, export, *KEYS)
        assert (answer.code, answer.out) == (10, "head.tlog-proof is longer than 262144 bytes.\n")
    endless = FILES | {"entries.jsonl": b"x" * 2_000_000}
    answer = run_copy(tmp_path, write_folder(tmp_path / "x", endless), *KEYS)
    assert (answer.code, answer.out) == (10, "entries.jsonl has a line of more than 65535 bytes.\n")


def test_names_in_a_zip_are_only_looked_up(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", FILES | {"../../outside": b"x", "/absolute": b"x", "a\\b": b"x"})
    assert run_copy(tmp_path, path, *KEYS).code == 0
    assert not (tmp_path / "outside").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["entries.jsonl", "ENTRIES.jsonl"])
def test_two_files_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "x.zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"another content")
    answer = run_copy(tmp_path, path, *KEYS)
    assert (answer.code, answer.out) == (10, "The ZIP file has two files of one name.\n")


@pytest.mark.parametrize("compression", [ZIP_BZIP2, ZIP_LZMA])
def test_other_compressions_are_refused_for_their_appetite(tmp_path: Path, compression: int) -> None:
    answer = run_copy(tmp_path, write_zip(tmp_path / "x.zip", FILES, compression), *KEYS)
    assert answer.code == 10
    assert "compressed in a way that exports do not use" in answer.out


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", FILES)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    answer = run_copy(tmp_path, path, *KEYS)
    assert (answer.code, answer.out) == (10, "entries.jsonl cannot be read from the ZIP file: it is damaged.\n")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    export = write_folder(tmp_path / "x", FILES)
    for name in ("head.tlog-proof", "entries.jsonl"):
        (export / name).unlink()
        os.mkfifo(export / name)
        assert run_copy(tmp_path, export, *KEYS).code == 10
    os.mkfifo(tmp_path / "pipe")
    assert run_copy(tmp_path, tmp_path / "pipe", *KEYS).code == 10


def test_nothing_in_an_export_reaches_the_terminal_raw(tmp_path: Path) -> None:
    nasty = "x\x9b31m\u202e"
    log = Log()
    log.append(ACME)
    note = log.checkpoint().replace("byok.example", nasty)
    answer = run_copy(tmp_path, write_folder(tmp_path / "x", log.export(note=note)))
    assert answer.code == 11
    assert not any(char in answer.out + answer.err for char in nasty[1:2] + nasty[-1:])
    assert "x?31m?/audit/cell-1" in answer.out


def peak_memory(export: Path) -> int:
    """Kilobytes that a run needs at most, measured from outside."""
    command = [sys.executable, "-I", str(SOURCE), str(export), *KEYS, "--jobs", "1", "--quiet"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={})
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode in {0, 10, 14}
    return usage.ru_maxrss


def write_bomb(path: Path, line: bytes, count: int) -> Path:
    """A ZIP whose entries.jsonl is small packed, and one line again and again unpacked."""
    with zipfile.ZipFile(path, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for name in ("head.tlog-proof", "log.vkey", "witness.vkey"):
            archive.writestr(name, FILES[name])
        with archive.open("entries.jsonl", "w") as file:
            for _ in range(64):
                file.write(line * (count // 64))
    return path


def test_memory_does_not_grow_with_what_is_inside(tmp_path: Path) -> None:
    least = peak_memory(write_zip(tmp_path / "small.zip", FILES))
    bombs: list[tuple[bytes, int]] = [(b"\n", 2**26), (b"x", 2**26), (b"x" * 65_000 + b"\n", 2**10)]
    for line, count in bombs:
        assert peak_memory(write_bomb(tmp_path / "bomb.zip", line, count)) < least + 24_000
    table = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**27, 0, 0)
    path = tmp_path / "table.zip"
    with path.open("wb") as file:
        file.write(b"PK\1\2" + bytes(42))
        file.truncate(2**27)
        file.seek(2**27)
        file.write(table)
    assert peak_memory(path) < least + 24_000
