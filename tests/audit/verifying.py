"""Runs byok-verify as auditors do: a copied file, an isolated interpreter, an empty environment."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.audit.exporting import write_folder

if TYPE_CHECKING:
    from tests.audit.exporting import Files, Log

PROJECT: Final = Path(__file__).parents[2] / "audit" / "byok_verify"
SOURCE: Final = PROJECT / "byok_verify.py"


class Answer(NamedTuple):
    """What the program said."""

    code: int
    out: str
    err: str


def load_module() -> Any:
    """The program as a module, under the name that it has when installed."""
    if "byok_verify" not in sys.modules:
        spec = importlib.util.spec_from_file_location("byok_verify", SOURCE)
        assert spec
        assert spec.loader
        sys.modules["byok_verify"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["byok_verify"]


def run_copy(folder: Path, *arguments: object) -> Answer:
    """Run a copy of the file, which lies alone in a folder."""
    alone = folder / "alone"
    alone.mkdir(exist_ok=True)
    copy = alone / "check.py"
    copy.write_bytes(SOURCE.read_bytes())
    command = [sys.executable, "-I", str(copy), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={}, timeout=60, check=False)
    assert "Traceback" not in done.stderr + done.stdout
    return Answer(done.returncode, done.stdout, done.stderr)


def check(folder: Path, log: Log, files: Files, *arguments: object) -> Answer:
    """Verify an export with the keys that the auditor got another way."""
    export = write_folder(folder / "export", files)
    keys = [item for signer in log.signers for item in ("--log-key", signer.vkey)]
    return run_copy(folder, export, *keys, "--witness-key", log.witness.vkey, *arguments)


class InMemory:
    """An export that was read already, for checks by the thousand."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def find(self, name: str) -> str | None:
        data = self._files.get(name)
        return None if data is None else str(load_module().decode_text(data, name))

    def has(self, name: str) -> bool:
        return name in self._files

    def part(self, name: str) -> Any:
        return iter([self._files[name]])


def verify_in_memory(files: Files, *arguments: str) -> list[Any]:
    """The faults of an export, found in this process."""
    program = load_module()
    report = program.Report()
    program.verify_export(InMemory(files), parse_options(arguments), report)
    return list(report.faults)


@functools.cache
def parse_options(arguments: tuple[str, ...]) -> Any:
    """The command line, once."""
    return load_module().parse_options([str(SOURCE), *arguments])
