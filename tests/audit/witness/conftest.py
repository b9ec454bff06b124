"""A log and its witness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.audit.witness.witnessing import Log, WitnessProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cell() -> Log:
    """A log of 20 entries."""
    return Log(size=20)


@pytest.fixture
def witness(cell: Log, tmp_path: Path) -> Iterator[WitnessProcess]:
    """A running witness that trusts the log."""
    with WitnessProcess(tmp_path, cell.signer.vkey) as process:
        yield process
