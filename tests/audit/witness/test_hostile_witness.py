from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

from audit.cosigning import (
    ANSWER_MAX_BYTES,
    WitnessClient,
    WitnessRefused,
    WitnessUnavailable,
)
from audit.notes import CosignatureSigner, CosignatureVerifier, SignatureLine, Signer
from byok_portal.errors import IntegrityError, InvalidInput, PortalError
from tests.audit.witness.faking import FakeWitness, answer, make_certificate
from tests.audit.witness.witnessing import (
    NAME,
    ORIGIN,
    Log,
    hashed,
)

if TYPE_CHECKING:
    from pathlib import Path

SIZE_HEADER: Final = "Content-Type: text/x.tlog.size"


@pytest.fixture
def signer() -> CosignatureSigner:
    """The key of a witness that misbehaves."""
    return CosignatureSigner.generate(NAME)


def ask(signer: CosignatureSigner, cell: Log, say: bytes) -> list[str]:
    """What the client makes of a witness that says this to a request for the log's first five entries."""
    with FakeWitness(say) as fake:
        return WitnessClient(fake.url, [_verifier(signer)], timeout=5).cosign(cell.note(5), old_size=0)


def _verifier(signer: CosignatureSigner) -> CosignatureVerifier:
    return CosignatureVerifier.parse(signer.vkey)


def test_only_verified_lines_of_the_witness_are_passed_on(signer: CosignatureSigner, cell: Log) -> None:
    body, now = cell.checkpoint(5).body, int(time.time())
    good = signer.cosign(body, time=now)
    stranger = CosignatureSigner.generate("stranger.example/w").cosign(body, time=now)
    impostor = CosignatureSigner.generate(NAME).cosign(body, time=now)
    assert ask(signer, cell, answer("200 OK", stranger + impostor + good)) == [good]


def test_both_keys_of_a_witness_are_accepted_while_it_rotates(signer: CosignatureSigner, cell: Log) -> None:
    body, fresh = cell.checkpoint(5).body, CosignatureSigner.generate("witness.example/w2")
    lines = [each.cosign(body, time=int(time.time())) for each in (signer, fresh)]
    verifiers = [_verifier(each) for each in (signer, fresh)]
    for said in (lines, lines[:1], lines[1:]):
        with FakeWitness(answer("200 OK", "".join(said))) as fake:
            assert WitnessClient(fake.url, verifiers).cosign(cell.note(5), old_size=0) == said


def _cosign(signer: CosignatureSigner, body: str, when: int) -> str:
    """What the signer itself would not sign."""
    signature = signer._private.sign(f"cosignature/v1\ntime {when}\n{body}".encode())
    return SignatureLine(NAME, signer.verifier.key_id, when.to_bytes(8, "big") + signature).text


def _forgeries(signer: CosignatureSigner, cell: Log) -> dict[str, str | bytes]:
    body, now = cell.checkpoint(5).body, int(time.time())
    other = cell.checkpoint(6).body
    good = signer.cosign(body, time=now)
    extended = body + "\nanother line\n"
    over_extended, timeless = _cosign(signer, extended, now), _cosign(signer, body, 0)
    return {
        "nothing": "",
        "only another key": CosignatureSigner.generate(NAME).cosign(body, time=now),
        "another checkpoint": signer.cosign(other, time=now),
        "another log": signer.cosign(body.replace("cell-1", "cell-2"), time=now),
        "one good and one bad line": good + signer.cosign(other, time=now),
        "a longer text, behind a blank line": f"another line\n\n{over_extended}",
        "a whole note of another checkpoint": f"{other}\n{signer.cosign(other, time=now)}",
        "a time in the future": signer.cosign(body, time=now + 3600),
        "no time": timeless,
        "no newline": good.rstrip("\n"),
        "no signature line": "hello\n",
        "the line and a page": f"{good}<html>\n",
        "not text": b"\xff\xfe",
        "carriage returns": good.replace("\n", "\r\n"),
    }


def test_forged_answers_are_named_as_such(signer: CosignatureSigner, cell: Log) -> None:
    for name, said in _forgeries(signer, cell).items():
        with pytest.raises(IntegrityError) as forged:
            ask(signer, cell, answer("200 OK", said))
        assert forged.value.code == "witness_answer_forged", name
        assert forged.value.detail.startswith("The witness's answer does not verify: "), name


def test_a_redirect_is_not_followed(signer: CosignatureSigner, cell: Log) -> None:
    good = signer.cosign(cell.checkpoint(5).body, time=int(time.time()))
    for status in ("301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"):
        with FakeWitness(answer("200 OK", good)) as elsewhere:
            location = f"Location: {elsewhere.url}/add-checkpoint"
            with pytest.raises(WitnessRefused) as refused:
                ask(signer, cell, answer(status, "", location))
            assert refused.value.code == "witness_protocol"
            assert elsewhere.requests == []


def test_a_conflict_without_a_proper_size_is_not_believed(signer: CosignatureSigner, cell: Log) -> None:
    for said in (
        answer("409 Conflict", "8\n", "Content-Type: text/plain"),
        answer("409 Conflict", "-8\n", SIZE_HEADER),
        answer("409 Conflict", "08\n", SIZE_HEADER),
        answer("409 Conflict", f"{2**63}\n", SIZE_HEADER),
        answer("409 Conflict", "", SIZE_HEADER),
    ):
        with pytest.raises(WitnessRefused) as refused:
            ask(signer, cell, said)
        assert refused.value.code == "witness_protocol"


@pytest.mark.parametrize(
    "said",
    [
        answer("500 Internal Server Error", ""),
        answer("503 Service Unavailable", ""),
        answer("429 Too Many Requests", ""),
        b"",
        b"SSH-2.0-witness\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly so much",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nonly so much",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n" + b"x" * (ANSWER_MAX_BYTES + 2),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (ANSWER_MAX_BYTES + 2),
    ],
    ids=lambda said: said[:60].decode(),
)
def test_answers_of_no_use_are_tried_again_later(signer: CosignatureSigner, cell: Log, said: bytes) -> None:
    with pytest.raises(WitnessUnavailable) as unavailable:
        ask(signer, cell, said)
    assert "only so much" not in unavailable.value.detail


def test_a_witness_that_trickles_is_given_up_on(signer: CosignatureSigner, cell: Log) -> None:
    good = signer.cosign(cell.checkpoint(5).body, time=int(time.time()))
    endless = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000

    def silent(_: bytes) -> bytes:
        time.sleep(1)
        return b""

    for said in (answer("200 OK", good), b"HTTP/1.1 200 OK\r\n\r\n" + good.encode(), endless, silent):
        with FakeWitness(said, pause=0.05) as fake:
            client = WitnessClient(fake.url, [_verifier(signer)], timeout=0.6)
            started = time.monotonic()
            with pytest.raises(WitnessUnavailable, match="did not answer in time"):
                client.cosign(cell.note(5), old_size=0)
            assert time.monotonic() - started < 1.4


def test_a_handshake_that_trickles_is_given_up_on(signer: CosignatureSigner, cell: Log) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                for byte in b"\x16\x03\x03\x40\x00" + bytes(1000):  # the head of a long handshake record
                    if over.wait(0.05):
                        return
                    try:
                        connection.sendall(bytes([byte]))
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        client = WitnessClient(f"https://127.0.0.1:{server.getsockname()[1]}", [_verifier(signer)], timeout=0.6)
        started = time.monotonic()
        with pytest.raises(WitnessUnavailable, match="did not answer in time"):
            client.cosign(cell.note(5), old_size=0)
        assert time.monotonic() - started < 1.4
        over.set()
        thread.join(5)


def test_a_certificate_must_be_trusted_and_for_the_address(
    signer: CosignatureSigner, cell: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    said = answer("200 OK", signer.cosign(cell.checkpoint(5).body, time=int(time.time())))
    mine, other = make_certificate(tmp_path, "127.0.0.1"), make_certificate(tmp_path / "other", "127.0.0.2")
    for certificate, trusted, accepted in ((mine, other, False), (other, other, False), (mine, mine, True)):
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        with FakeWitness(said, tls=tls) as fake:
            client = WitnessClient(fake.url.replace("http:", "https:"), [_verifier(signer)], timeout=5)
            if accepted:
                assert client.cosign(cell.note(5), old_size=0)
                continue
            with pytest.raises(WitnessUnavailable):
                client.cosign(cell.note(5), old_size=0)
            assert not fake.requests


def test_the_last_checkpoint_must_be_the_witnesses_own(signer: CosignatureSigner, cell: Log) -> None:
    body = cell.checkpoint(5).body
    own = f"{body}\n{signer.cosign(body, time=int(time.time()))}"
    stranger = Log(Signer.generate("other.example/log"), size=5).checkpoint(5).body
    cases = {
        "signed by the log only": cell.note(5),
        "of another log": f"{stranger}\n{signer.cosign(stranger, time=int(time.time()))}",
        "of another root": own.replace(body, cell.fork(at=2, size=5).checkpoint(5).body),
        "no note": "hello\n",
        "nothing": "",
    }
    for name, said in cases.items():
        with FakeWitness(answer("200 OK", said)) as fake:
            with pytest.raises(IntegrityError) as forged:
                WitnessClient(fake.url, [_verifier(signer)]).find_last(ORIGIN)
            assert forged.value.code == "witness_answer_forged", name
    with FakeWitness(answer("200 OK", own)) as fake:
        assert WitnessClient(f"{fake.url}/w1/", [_verifier(signer)]).find_last(ORIGIN) == cell.checkpoint(5)
        (sent,) = fake.requests
        assert sent.startswith(f"GET /w1/{hashed(ORIGIN)}/checkpoint HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "witness.example",
        "ftp://witness.example",
        "https://",
        "https://witness.example:0x1",
        "https://witness.example:99999",
        "https://user:pass@witness.example",
        "https://witness.example/?query",
        "https://witness.example/#part",
        "https://witness.example/two words",
        "https://witness.example/\r\nx: y",
        "https://[::1",
    ],
)
def test_an_address_that_is_none_is_refused(signer: CosignatureSigner, url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        WitnessClient(url, [_verifier(signer)])
    assert refused.value.field == "witness_url"


def test_a_witness_without_a_key_is_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        WitnessClient("https://witness.example", [])
    assert refused.value.field == "witness_vkey"


def test_every_error_is_one_of_the_portals(signer: CosignatureSigner, cell: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for host in (f"127.0.0.1:{port}", "127.0.0.1:1"):
        with pytest.raises(PortalError) as error:
            WitnessClient(f"http://{host}", [_verifier(signer)], timeout=2).cosign(cell.note(5), old_size=0)
        assert error.value.status == 503
