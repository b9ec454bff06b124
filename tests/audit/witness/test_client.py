from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from audit.cosigning import (
    WitnessClient,
    WitnessConflict,
    WitnessRefused,
    WitnessUnavailable,
)
from audit.notes import Signer, open_note
from byok_portal.errors import InvalidInput
from tests.audit.witness.witnessing import (
    ORIGIN,
    Log,
    WitnessProcess,
    hashed,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def client_of(witness: WitnessProcess) -> WitnessClient:
    return WitnessClient(witness.url, [witness.verifier])


def test_a_log_gets_its_checkpoints_cosigned(witness: WitnessProcess, cell: Log) -> None:
    client = client_of(witness)
    for old, new in ((0, 5), (5, 13), (13, 13), (13, 20)):
        (line,) = client.cosign(cell.note(new), old_size=old, proof=cell.proof(old, new))
        open_note(cell.note(new) + line, [witness.verifier])
    assert witness.get(f"/{hashed(ORIGIN)}/checkpoint").text.endswith(line)


def test_a_log_that_does_not_know_the_size_learns_it_from_the_conflict(witness: WitnessProcess, cell: Log) -> None:
    client = client_of(witness)
    client.cosign(cell.note(8), old_size=0)
    with pytest.raises(WitnessConflict) as conflict:
        client.cosign(cell.note(20), old_size=3, proof=cell.proof(3, 20))
    size = conflict.value.size
    assert size == 8
    assert client.cosign(cell.note(20), old_size=size, proof=cell.proof(size, 20))
    with pytest.raises(WitnessConflict) as ahead:
        client.cosign(cell.note(12), old_size=8, proof=cell.proof(8, 12))
    assert ahead.value.size == 20


def test_an_answer_that_was_lost_is_had_by_asking_again(witness: WitnessProcess, cell: Log) -> None:
    client = client_of(witness)
    client.cosign(cell.note(5), old_size=0)
    witness.stop()
    witness.start(kill=("audit.witness.state:CheckpointStore", "save", "after"))
    with pytest.raises(WitnessUnavailable, match="The connection to the witness failed"):
        client.cosign(cell.note(8), old_size=5, proof=cell.proof(5, 8))
    assert witness.wait_dead() == -signal.SIGKILL
    with pytest.raises(WitnessUnavailable, match="The connection to the witness failed"):
        client.cosign(cell.note(8), old_size=5, proof=cell.proof(5, 8))
    witness.start()
    with pytest.raises(WitnessConflict) as conflict:
        client.cosign(cell.note(8), old_size=5, proof=cell.proof(5, 8))
    assert conflict.value.size == 8
    assert client.cosign(cell.note(8), old_size=8)


def test_a_log_without_its_pin_asks_and_promises_nothing(witness: WitnessProcess, cell: Log) -> None:
    client = client_of(witness)
    assert client.find_last(ORIGIN) is None
    assert client.last_size(cell.note(0)) == 0
    last = client.find_last(ORIGIN)
    assert last == cell.checkpoint(0)
    client.cosign(cell.note(13), old_size=0)
    assert client.last_size(cell.note(0)) == 13
    assert client.find_last(ORIGIN) == cell.checkpoint(13)
    with pytest.raises(InvalidInput):
        client.last_size(cell.note(5))
    assert witness.get("/").text.endswith(f"{ORIGIN} 13\n")


def test_each_refusal_has_its_code(witness: WitnessProcess, cell: Log) -> None:
    client = client_of(witness)
    client.cosign(cell.note(8), old_size=0)
    fork, stranger = cell.fork(at=4, size=20), Log(Signer.generate("other.example/log"), size=5)
    cases: dict[str, Callable[[], object]] = {
        "witness_fork": lambda: client.cosign(fork.note(20), old_size=8, proof=fork.proof(8, 20)),
        "witness_unknown_log": lambda: client.cosign(stranger.note(5), old_size=0),
        "witness_unknown_key": lambda: client.cosign(cell.note(8, Signer.generate(ORIGIN)), old_size=8),
        "witness_malformed": lambda: client.cosign(cell.note(8), old_size=9),
    }
    for code, attempt in cases.items():
        with pytest.raises(WitnessRefused) as refused:
            attempt()
        assert refused.value.code == code
        assert refused.value.detail.startswith("The witness ")
