from __future__ import annotations

import hashlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from audit import merkle
from audit.notes import Checkpoint, Signer, Verifier, encode_base64, open_note
from audit.witness.service import REQUEST_MAX_BYTES
from tests.audit.witness.witnessing import (
    NAME,
    ORIGIN,
    Log,
    Reply,
    WitnessProcess,
    WitnessThread,
    check_cosigned,
    hashed,
    raw,
    request,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE_TYPE: Final = "text/x.tlog.size"


@pytest.fixture
def witness(cell: Log, tmp_path: Path) -> Iterator[WitnessThread]:
    """A running witness that trusts the log."""
    with WitnessThread(tmp_path, cell.signer.vkey) as thread:
        yield thread


@pytest.fixture
def apart(cell: Log, tmp_path: Path) -> Iterator[WitnessProcess]:
    """The same in a process of its own, whose threads take turns with each other only."""
    with WitnessProcess(tmp_path, cell.signer.vkey) as process:
        yield process


def test_a_growing_log_is_cosigned_with_the_time(witness: WitnessThread, cell: Log) -> None:
    for old, new in ((0, 3), (3, 8), (8, 20)):
        before = int(time.time())
        reply = witness.add(cell.request(old, new))
        assert before <= check_cosigned(witness, cell, new, reply) <= time.time()
        assert witness.get("/").text == f"{NAME}\n{witness.vkey}\n\n{ORIGIN} {new}\n"


def test_the_last_checkpoint_is_served_with_both_signatures(witness: WitnessThread, cell: Log) -> None:
    path = f"/{hashed(ORIGIN)}/checkpoint"
    assert witness.get(path).status == 404
    line = witness.add(cell.request(0, 7)).text
    assert witness.get(path).text == cell.note(7) + line
    assert witness.get(f"/{hashed('other.example/log')}/checkpoint").status == 404


def test_the_same_checkpoint_is_cosigned_again(witness: WitnessThread, cell: Log) -> None:
    witness.add(cell.request(0, 5))
    check_cosigned(witness, cell, 5, witness.add(cell.request(5, 5)))


def test_an_empty_tree_comes_before_every_other(witness: WitnessThread, cell: Log) -> None:
    check_cosigned(witness, cell, 0, witness.add(cell.request(0, 0)))
    check_cosigned(witness, cell, 0, witness.add(cell.request(0, 0)))
    check_cosigned(witness, cell, 9, witness.add(cell.request(0, 9)))
    assert witness.add(cell.request(0, 0)).status == 409


def test_another_old_size_is_answered_with_the_last_size(witness: WitnessThread, cell: Log) -> None:
    assert witness.add(cell.request(2, 5)) == Reply(409, SIZE_TYPE, "0\n", witness.add(cell.request(2, 5)).headers)
    witness.add(cell.request(0, 8))
    for old, new in ((0, 20), (7, 20), (9, 20), (3, 5), (5, 8)):
        reply = witness.add(cell.request(old, new))
        assert (reply.status, reply.kind, reply.text) == (409, SIZE_TYPE, "8\n")
    check_cosigned(witness, cell, 20, witness.add(cell.request(8, 20)))


def test_a_shorter_log_is_never_cosigned_again(witness: WitnessThread, cell: Log) -> None:
    witness.add(cell.request(0, 20))
    assert witness.add(cell.request(12, 12)).status == 409
    assert witness.add(request(20, [], cell.note(12))).status == 400


def test_another_history_of_the_same_length_is_refused_and_kept_as_proof(apart: WitnessProcess, cell: Log) -> None:
    witness = apart
    witness.add(cell.request(0, 8))
    fork = cell.fork(at=4, size=8)
    assert witness.add(request(8, [], fork.note(8))).status == 422
    assert witness.add(request(5, cell.proof(5, 8), fork.note(8))).status == 409
    stem = f"{hashed(ORIGIN)}.fork-at-8"
    kept = [(witness.state / f"{stem}.{end}").read_text() for end in ("cosigned", "refused")]
    bodies = [open_note(text, [cell.signer.verifier]).body for text in kept]
    assert bodies == [cell.checkpoint(8).body, fork.checkpoint(8).body]
    assert "log_forked" in witness.logs()


def test_another_history_that_is_longer_is_refused(witness: WitnessThread, cell: Log) -> None:
    witness.add(cell.request(0, 8))
    fork = cell.fork(at=4, size=20)
    for proof in (fork.proof(8, 20), cell.proof(8, 20), []):
        assert witness.add(request(8, proof, fork.note(20))).status == 422
    check_cosigned(witness, cell, 20, witness.add(cell.request(8, 20)))


def test_a_proof_that_is_wrong_or_superfluous_is_refused(witness: WitnessThread, cell: Log) -> None:
    assert witness.add(request(0, [bytes(32)], cell.note(8))).status == 422
    witness.add(cell.request(0, 8))
    good = cell.proof(8, 20)
    wrong = [[], good[:-1], [*good, bytes(32)], good[::-1], [bytes(32), *good[1:]]]
    for proof in wrong:
        assert witness.add(request(8, proof, cell.note(20))).status == 422
    assert witness.add(request(8, [bytes(32)], cell.note(8))).status == 422
    assert witness.get("/").text.endswith(f"{ORIGIN} 8\n")


def test_a_wrong_root_of_the_empty_tree_is_refused(witness: WitnessThread, cell: Log) -> None:
    body = Checkpoint(ORIGIN, 0, bytes(32)).body
    assert witness.add(request(0, [], f"{body}\n{cell.signer.sign(body)}")).status == 422


def test_an_unknown_log_is_not_found(witness: WitnessThread) -> None:
    stranger = Log(Signer.generate("other.example/log"), size=3)
    assert witness.add(stranger.request(0, 3)).status == 404


def test_a_checkpoint_that_no_trusted_key_signed_is_forbidden(witness: WitnessThread, cell: Log) -> None:
    thief = Signer.generate(ORIGIN)
    good = cell.note(5)
    broken = good[:-8] + ("A" if good[-8] != "A" else "B") + good[-7:]
    others_body = f"{cell.checkpoint(6).body}\n{cell.signer.sign(cell.checkpoint(5).body)}"
    for note in (cell.note(5, thief), broken, others_body, good + broken.rpartition("\n\n")[2]):
        assert witness.add(request(0, [], note)).status == 403
    assert witness.get("/").text.endswith(f"{ORIGIN} 0\n")


def test_signatures_of_unknown_keys_are_ignored(witness: WitnessThread, cell: Log) -> None:
    thief = Signer.generate(ORIGIN)
    others = [Signer.generate(f"other.example/{number}") for number in range(14)]
    note = cell.note(5, thief, *others, cell.signer)
    check_cosigned(witness, cell, 5, witness.add(request(0, [], note)))
    # Only what was verified is kept and served.
    assert thief.verifier.key_id.hex() not in (witness.state / f"{hashed(ORIGIN)}.checkpoint").read_text()
    assert witness.get(f"/{hashed(ORIGIN)}/checkpoint").text.startswith(cell.note(5))


def test_both_keys_are_trusted_while_the_log_rotates_its_key(tmp_path: Path, cell: Log) -> None:
    old, new = cell.signer, Signer.generate(ORIGIN)
    with WitnessThread(tmp_path, old.vkey, "", "# the new key", new.vkey) as witness:
        check_cosigned(witness, cell, 3, witness.add(request(0, [], cell.note(3, old))))
        both = request(3, cell.proof(3, 5), cell.note(5, old, new))
        check_cosigned(witness, cell, 5, witness.add(both))
        check_cosigned(witness, cell, 8, witness.add(request(5, cell.proof(5, 8), cell.note(8, new))))
        witness.trust(new.vkey)
        witness.restart()
        assert witness.add(request(8, cell.proof(8, 9), cell.note(9, old))).status == 403
        check_cosigned(witness, cell, 9, witness.add(request(8, cell.proof(8, 9), cell.note(9, old, new))))


def test_logs_are_kept_apart(tmp_path: Path) -> None:
    first, second = Log(size=9), Log(Signer.generate("byok.example/audit/cell-2"), size=9)
    with WitnessThread(tmp_path, first.signer.vkey, second.signer.vkey) as witness:
        witness.add(first.request(0, 9))
        check_cosigned(witness, second, 4, witness.add(second.request(0, 4)))
        assert witness.get("/").text.endswith(f"\n\n{ORIGIN} 9\nbyok.example/audit/cell-2 4\n")
        # A checkpoint of one log under the other's key is nobody's.
        assert witness.add(request(9, [], first.note(9, second.signer))).status == 403


MALFORMED: Final[dict[str, bytes | Callable[[Log], bytes]]] = {
    "nothing": b"",
    "not text": b"old 0\n\n\xff\xfe\n",
    "no old line": lambda cell: f"\n{cell.note(5)}".encode(),
    "old size missing": lambda cell: f"old \n\n{cell.note(5)}".encode(),
    "old size negative": lambda cell: f"old -1\n\n{cell.note(5)}".encode(),
    "old size with zeros": lambda cell: f"old 00\n\n{cell.note(5)}".encode(),
    "old size in other digits": lambda cell: f"old \u0660\n\n{cell.note(5)}".encode(),
    "old size huge": lambda cell: f"old {2**64}\n\n{cell.note(5)}".encode(),
    "old size beyond the checkpoint": lambda cell: request(6, [], cell.note(5)),
    "two spaces": lambda cell: f"old  0\n\n{cell.note(5)}".encode(),
    "carriage returns": lambda cell: request(0, [], cell.note(5)).replace(b"\n", b"\r\n"),
    "no empty line": lambda cell: f"old 0\n{cell.note(5)}".encode(),
    "proof not base64": lambda cell: f"old 0\n?\n\n{cell.note(5)}".encode(),
    "proof hash short": lambda cell: request(0, [bytes(31)], cell.note(5)),
    "proof hash spelled otherwise": lambda cell: f"old 0\n{'A' * 42}B=\n\n{cell.note(5)}".encode(),
    "64 hashes": lambda cell: request(0, [bytes(32)] * 64, cell.note(5)),
    "no signature": lambda cell: f"old 0\n\n{cell.checkpoint(5).body}\n".encode(),
    "no checkpoint": b"old 0\n\n",
    "checkpoint of two lines": lambda cell: request(0, [], _signed(cell, f"{ORIGIN}\n5\n")),
    "size with zeros": lambda cell: request(0, [], _signed(cell, cell.checkpoint(5).body.replace("\n5\n", "\n05\n"))),
    "root short": lambda cell: request(0, [], _signed(cell, f"{ORIGIN}\n5\n{encode_base64(bytes(31))}\n")),
    "root of the empty tree short": lambda cell: request(
        0, [], _signed(cell, f"{ORIGIN}\n0\n{encode_base64(bytes(31))}\n")
    ),
    "last newline missing": lambda cell: request(0, [], cell.note(5))[:-1],
}


def _signed(cell: Log, body: str) -> str:
    return f"{body}\n{cell.signer.sign(body)}"


def test_malformed_requests_are_bad_requests(witness: WitnessThread, cell: Log) -> None:
    for name, body in MALFORMED.items():
        reply = witness.add(body if isinstance(body, bytes) else body(cell))
        assert (name, reply.status, reply.text[-1:]) == (name, 400, "\n")
    assert witness.get("/").text.endswith(f"{ORIGIN} 0\n")
    check_cosigned(witness, cell, 5, witness.add(cell.request(0, 5)))


def test_a_request_of_63_hashes_and_16_large_signatures_is_read(witness: WitnessThread, cell: Log) -> None:
    large = "".join(f"— other.example/{number} {encode_base64(os.urandom(4 + 4627))}\n" for number in range(15))
    reply = witness.add(request(0, [bytes(32)] * 63, cell.note(5) + large))
    assert reply.status == 422, "well formed, and refused only for its proof"
    check_cosigned(witness, cell, 5, witness.add(request(0, [], cell.note(5) + large)))


def test_what_is_not_the_protocol_is_refused(witness: WitnessThread, cell: Log) -> None:
    good = cell.request(0, 5)
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\n"
    length = b"Content-Length: %d\r\n" % len(good)
    cases = {
        b"405": b"GET /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n",
        b"404": b"POST /other HTTP/1.1\r\nHost: w\r\nContent-Length: 0\r\n\r\n",
        b"411": head + b"\r\n" + good,
        b"501": b"DELETE / HTTP/1.1\r\nHost: w\r\n\r\n",
        b"413": head + b"Content-Length: %d\r\n\r\n" % (REQUEST_MAX_BYTES + 1),
        b"414": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"431": head + b"x: y\r\n" * 200 + b"\r\n",
    }
    for status, data in cases.items():
        said = raw(witness.port, data)
        assert said.startswith(b"HTTP/1.1 " + status), said
        assert b"Connection: close" in said, "what follows must not be read as another request"
    for data in (
        head + length + b"Transfer-Encoding: chunked\r\n\r\n" + good,
        head + length + b"Content-Length: 3\r\n\r\n" + good,
        head + b"Content-Length: -3\r\n\r\n" + good,
    ):
        assert raw(witness.port, data).startswith(b"HTTP/1.1 411")
    hidden = b"GET / HTTP/1.1\r\nHost: w\r\n" + length + b"\r\n" + good
    assert raw(witness.port, hidden).startswith(b"HTTP/1.1 400")
    assert witness.get("/").text.endswith(f"{ORIGIN} 0\n")


def test_answers_name_no_program_and_no_version(witness: WitnessThread, cell: Log) -> None:
    for reply in (witness.get("/"), witness.add(cell.request(0, 5)), witness.add(b""), witness.get("/nothing")):
        assert reply.headers.keys() <= {"content-type", "content-length", "cache-control", "connection"}
        assert "ython" not in reply.text


def test_a_connection_is_kept_for_the_next_request(witness: WitnessThread, cell: Log) -> None:
    first, second = cell.request(0, 5), cell.request(5, 9)
    data = b""
    for body, end in ((first, b""), (second, b"Connection: close\r\n")):
        data += b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), end, body)
    assert raw(witness.port, data).count(b"HTTP/1.1 200") == 2
    assert witness.get("/").text.endswith(f"{ORIGIN} 9\n")


def test_of_two_histories_that_race_only_one_is_cosigned(apart: WitnessProcess, cell: Log) -> None:
    witness, size = apart, 3
    witness.add(cell.request(0, size))
    trunk = cell
    for turn in range(12):
        forks = [trunk.fork(at=size, size=size + 2, salt=b"%d-%d" % (turn, side)) for side in range(2)]
        calls = [partial(witness.add, each.request(size, size + 2)) for each in forks for _ in range(3)]
        replies = together(*calls)
        winners = {number // 3 for number, reply in enumerate(replies) if reply.status == 200}
        assert len(winners) == 1
        assert {reply.status for reply in replies} <= {200, 409}
        trunk, size = forks[winners.pop()], size + 2
        check_cosigned(witness, trunk, size, witness.add(trunk.request(size, size)))


def test_racing_sizes_never_roll_the_log_back(apart: WitnessProcess, cell: Log) -> None:
    witness = apart
    witness.add(cell.request(0, 3))
    replies = together(*(partial(witness.add, cell.request(3, new)) for new in range(4, 16)))
    assert sorted(reply.status for reply in replies) == [200, *[409] * 11]
    winner = next(new for new, reply in zip(range(4, 16), replies, strict=True) if reply.status == 200)
    assert witness.get("/").text.endswith(f"{ORIGIN} {winner}\n")


def test_the_roots_in_these_tests_are_those_of_rfc_6962(cell: Log) -> None:
    left = hashlib.sha256(b"\x01" + cell.hashes[0] + cell.hashes[1]).digest()
    assert cell.checkpoint(3).root == hashlib.sha256(b"\x01" + left + cell.hashes[2]).digest()
    assert Log().checkpoint(0).root == merkle.EMPTY_ROOT
    assert isinstance(cell.signer.verifier, Verifier)
