"""A minute of the hour in bench/faults.py: each fault once under mixed load, and nothing is lost, stuck or leaking."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from byok_portal.quickstart.postgres import _find_programs
from tests.conftest import ROOT, migrated_template

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = {
    "gate-1 killed",
    "worker killed",
    "sequencer killed",
    "web killed",
    "upstream slow",
    "database restarted",
    "standby promoted",
}
KINDS = {"use", "lease", "call", "introspection", "list", "page", "change", "use at the web"}
MORE_CONNECTIONS, MORE_MEGABYTES, MORE_FILES = 12, 60, 25
"""A minute says little of growth: these are what a leak per request or per reconnection would pass at once."""


def run_bench(folder: Path) -> dict[str, Any]:
    """On servers of its own, which it may kill: a process, because the tests' Django knows another database."""
    dump, out = folder / "portal.dump", folder / "result.json"
    copy_schema(dump)
    words = ["--once", "--every", "2", "--minutes", "1", "--dump", str(dump), "--json", str(out)]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_URL", "BYOK_"))}
    command = [sys.executable, "bench/faults.py", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def copy_schema(dump: Path) -> None:
    """From the template that all tests copy: migrating takes half a minute."""
    program = _find_programs() / "bin" / "pg_dump"
    with migrated_template() as template:
        subprocess.run([program, "-Fc", "-d", template, "-f", dump], check=True)


def test_a_minute_of_faults_loses_nothing_and_leaves_nothing_stuck(tmp_path: Path) -> None:
    result = run_bench(tmp_path)
    assert_nothing_is_lost(result)
    assert_all_parts_are_well(result)
    assert_nothing_leaks(result)


def assert_nothing_is_lost(result: dict[str, Any]) -> None:
    """Every answer that named its entry has it, once; the log verifies."""
    findings = result["findings"]
    assert result["acknowledged"] > 500
    assert findings["missing"] == []
    assert findings["twice"] == 0
    assert findings["without_outcome"] == 0
    assert findings["waiting"] == 0
    assert findings["entries"] >= result["acknowledged"]
    assert findings["verified"]


def assert_all_parts_are_well(result: dict[str, Any]) -> None:
    """After each fault each part answered again, and every kind of load was served."""
    assert {each["fault"] for each in result["recoveries"]} == FAULTS
    for each in result["recoveries"]:
        assert None not in each["seconds"].values(), each
    assert result["latencies"].keys() >= KINDS
    told = {f"{kind}: {what}" for kind, found in result["faults"].items() for what in found}
    assert {each for each in told if each.split(": ")[1].startswith(("400", "401", "404"))} == set()


def assert_nothing_leaks(result: dict[str, Any]) -> None:
    first, last = result["connections"]
    assert last <= first + MORE_CONNECTIONS
    for figure, more in (("memory", MORE_MEGABYTES), ("files", MORE_FILES)):
        grown = {name: found["last"] - found["first"] for name, found in result[figure].items()}
        assert {name: by for name, by in grown.items() if by > more} == {}
