"""Sequencers that sign, killed at every step, doubled, and on a restored database: no head contradicts another."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

import pytest

from tests.audit.cells import PATIENCE, Cell, wait_until
from tests.audit.witness.faking import FakeWitness, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BEFORE: Final = 4
"""Entries under the checkpoint that every test begins with."""


@pytest.fixture(scope="module")
def built(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """One log per module."""
    made = Cell.build(tmp_path_factory.mktemp("cell"))
    try:
        made.number(BEFORE)
        made.assert_whole()
        assert made.published() == [(made.key.name, BEFORE)]
        made.keep()
        yield made
    finally:
        made.close()


@pytest.fixture
def cell(built: Cell) -> Cell:
    """It has one witnessed checkpoint."""
    built.reset()
    return built


class Held:
    """Stands before the witness and lets a checkpoint wait: before the witness gets it, or with its answer in hand."""

    def __init__(self, cell: Cell, *, forward: bool) -> None:
        self.reached = threading.Event()
        self.over = threading.Event()
        self._cell = cell
        self._forward = forward

    def __call__(self, body: bytes) -> bytes:
        if not body:  # the question what it saw last
            return answer("404 Not Found", "")
        if self._forward:
            reply = self._cell.witness.add(body)
            if reply.status != 200:  # it wants the proof from what it saw last
                return answer(f"{reply.status} Refused", reply.text, f"Content-Type: {reply.kind}")
        self.reached.set()
        self.over.wait(PATIENCE)
        return answer("503 Service Unavailable", "")


@contextlib.contextmanager
def at_the_witness(cell: Cell, *, forward: bool) -> Iterator[tuple[dict[str, str], Callable[[], bool]]]:
    held = Held(cell, forward=forward)
    with FakeWitness(held) as fake:
        yield {"BYOK_WITNESS_URL": fake.url, "BYOK_WITNESS_TIMEOUT": str(PATIENCE)}, held.reached.is_set
        held.over.set()


@contextlib.contextmanager
def at_the_table(cell: Cell, mode: str) -> Iterator[tuple[dict[str, str], Callable[[], bool]]]:
    with cell.locked("audit_checkpoint", mode) as waits:
        yield {}, waits


STEPS: Final = {
    # The first thing that is read of the table, and the last thing that is written to it.
    "before the pin": lambda cell: at_the_table(cell, "ACCESS EXCLUSIVE"),
    "between the pin and the witness": lambda cell: at_the_witness(cell, forward=False),
    "while the witness answers": lambda cell: at_the_witness(cell, forward=True),
    "between the cosignature and the table": lambda cell: at_the_table(cell, "EXCLUSIVE"),
}
SEEN: Final = {
    "before the pin": (BEFORE, BEFORE),
    "between the pin and the witness": (BEFORE + 3, BEFORE),
    "while the witness answers": (BEFORE + 3, BEFORE + 3),
    "between the cosignature and the table": (BEFORE + 3, BEFORE + 3),
}
"""The size that the pin and the witness know when the sequencer is dead."""


@pytest.mark.parametrize("more", [0, 2], ids=["the same head", "an extension"])
@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_the_next_sequencer_goes_on(cell: Cell, step: str, more: int) -> None:
    with STEPS[step](cell) as (changes, reached), cell.sequencer(**changes) as process:
        cell.write(3)
        wait_until(reached)
        process.kill()
        process.wait()
        witnessed = cell.witnessed()
        assert (cell.pinned()[1], witnessed.size if witnessed else 0) == SEEN[step]
    assert cell.published() == [(cell.key.name, BEFORE)]
    cell.number(more)
    assert cell.published() == [(cell.key.name, BEFORE), (cell.key.name, BEFORE + 3 + more)]
    cell.assert_whole()


def test_of_two_sequencers_one_signs_and_the_other_takes_over_from_the_witness(cell: Cell, tmp_path: Path) -> None:
    stale, mine = tmp_path / "standby.json", cell.pin.read_bytes()
    with cell.sequencer() as first:
        wait_until(cell.lock_is_taken)
        with cell.sequencer(BYOK_LOG_PIN_FILE=str(stale)):
            cell.write(2)
            wait_until(lambda: (cell.key.name, BEFORE + 2) in cell.published())
            assert not stale.exists()
            first.kill()
            first.wait()
            cell.write(2)
            wait_until(lambda: cell.published()[-1][1] == BEFORE + 4)
            assert cell.pinned(stale) == (cell.key.name, BEFORE + 4)
            assert cell.pinned()[1] == BEFORE + 2
    # The first one again, with a pin that is older still than its own.
    cell.pin.write_bytes(mine)
    cell.number(1)
    assert [size for _, size in cell.published()][-1] == BEFORE + 5
    cell.assert_whole()


@pytest.mark.parametrize("pin", ["its own", "none", "an old one"])
def test_a_restored_database_is_numbered_but_never_signed(cell: Cell, pin: str) -> None:
    old = cell.pin.read_bytes()
    cell.back_up()
    cell.number(6)
    assert cell.published()[-1][1] == BEFORE + 6
    seen = cell.witnessed()
    cell.restore()
    if pin == "none":
        cell.pin.unlink()
    elif pin == "an old one":
        cell.pin.write_bytes(old)
    cell.number(0)
    assert f"the log has {BEFORE} entries, but {BEFORE + 6} were signed: some are lost" in cell.fault
    cell.number(8)
    assert cell.size == BEFORE + 8
    assert f"not an extension of the {BEFORE + 6} entries that were signed" in cell.fault
    assert cell.published() == [(cell.key.name, BEFORE)]
    assert cell.witnessed() == seen


def test_a_pin_that_cannot_be_written_stops_the_signing_only(cell: Cell) -> None:
    kept = cell.pin.read_bytes()
    cell.pin.unlink()
    cell.pin.mkdir()
    cell.number(1)
    assert cell.size == BEFORE + 1
    assert cell.fault.startswith("the pin file cannot be used: ")
    assert len(cell.published()) == 1
    cell.pin.rmdir()
    cell.pin.write_bytes(kept)
    cell.number(0)
    assert cell.published()[-1][1] == BEFORE + 1
    cell.assert_whole()
