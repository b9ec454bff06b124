"""Runs our Go programs, which verify with golang.org/x/mod/sumdb. Built once for each state of their source.

They share no code with the portal: what they accept, anyone with x/mod can check.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from byok_portal.quickstart import state

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE: Final = Path(__file__).parent / "go"
LIBRARIES: Final = Path("/usr/share/gocode")  # where Debian's golang-*-dev packages are
PROGRAMS: Final = ("openexport", "opentiles")
PATIENCE_SECONDS: Final = 120


class GoRefused(Exception):
    """A Go program did not accept what it was given; the text is its reason."""


def go_open_export(folder: Path, *, tenant: str = "") -> dict[str, Any]:
    """Verify an unpacked export; raises GoRefused.

    Answers with origin, size, tenant, entries (lines), last (their last number), cosigners, cosigned_at, extends
    (size of the older checkpoint in consistency.json, -1 for none). before.json is heeded.
    """
    return _run("openexport", "-tenant", tenant, str(folder))


def go_open_tiles(folder: Path, *, records: int = 256, old: Iterable[int] = ()) -> dict[str, Any]:
    """Prove entries and older sizes from a folder of static tiles with `checkpoint` and `log.vkey`; raises GoRefused.

    Answers with origin, size, records (entries proven), bundled (those hashed from entry bundles), roots (hexadecimal
    root of each older size).
    """
    return _run("opentiles", "-records", str(records), "-old", ",".join(map(str, old)), str(folder))


@functools.cache
def go_programs() -> Path:
    """The folder of the built programs. Skips the test where Go is missing, but not in CI."""
    if shutil.which("go") is None or not (LIBRARIES / "src/golang.org/x/mod/sumdb").is_dir():
        reason = "Go is missing: apt-get install golang-go golang-golang-x-mod-dev"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    sources = sorted(SOURCE.rglob("*.go"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    base = state.state_folder("tests-go")
    programs = base / digest
    with (base / "build.lock").open("w") as lock:  # the other test processes wait here
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((programs / name).exists() for name in PROGRAMS):
            _build(programs, cache=base / "cache")
    return programs


def _build(programs: Path, *, cache: Path) -> None:
    # Debian's libraries are for GOPATH builds; modules would be looked for on the network.
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": f"{SOURCE}:{LIBRARIES}",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOCACHE": str(cache),
    }
    programs.mkdir(exist_ok=True)
    for name in PROGRAMS:
        command = ["go", "build", "-trimpath", "-o", str(programs / name), f"portal/{name}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def _run(program: str, *arguments: str) -> dict[str, Any]:
    command = [str(go_programs() / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    if done.returncode == 1 and done.stderr.startswith("REFUSED: "):
        raise GoRefused(done.stderr.removeprefix("REFUSED: ").strip())
    assert done.returncode == 0, f"{program} failed with {done.returncode}: {done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
