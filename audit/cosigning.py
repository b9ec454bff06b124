"""The log's side of C2SP tlog-witness: send a checkpoint, get cosignatures. Must never pass on an unverified answer.

One connection per call, no redirect, no proxy of the environment; the time and the size of an answer are bounded.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from audit.notes import Checkpoint, SignedNote, encode_base64, open_note, parse_checkpoint, parse_decimal
from byok_portal.errors import Conflict, IntegrityError, InvalidInput, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audit.notes import CosignatureVerifier, SignatureLine

ANSWER_MAX_BYTES: Final = 128 * 1024
CLOCK_SKEW_SECONDS: Final = 300
"""How far ahead a witness's clock may be. A cosignature from the future would outlive what it says of the present."""

_SIZE_TYPE: Final = "text/x.tlog.size"
_REFUSALS: Final = {
    400: ("witness_malformed", "The witness takes the request for malformed"),
    403: ("witness_unknown_key", "The witness trusts none of the keys that signed the checkpoint"),
    404: ("witness_unknown_log", "The witness does not know this log"),
    422: ("witness_fork", "The witness refuses: the tree does not extend the one that it cosigned last"),
}


class WitnessUnavailable(Unavailable):
    """No usable answer came; the same call later is right, because a witness signs a checkpoint again."""

    code = "witness_unavailable"
    title = "The witness could not be reached"


class WitnessRefused(Refused):
    """The witness will not cosign. `code` says why; `witness_fork` is an alarm, the others are set-up faults."""

    code = "witness_refused"
    title = "The witness refuses the checkpoint"


class WitnessConflict(Conflict):
    """The witness cosigned another size last. `size` is its word, unsigned: build the proof from there, or stop.

    A size beyond the log's own means that the log lost entries; one below what it had cosigned, that the witness did.
    """

    code = "witness_conflict"
    title = "The witness cosigned another size last"

    def __init__(self, size: int) -> None:
        super().__init__(f"The witness cosigned size {size} last")
        self.size = size


@dataclass(frozen=True, slots=True)
class _Target:
    secure: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Self:
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            parts, port = urlsplit(""), 0
        plain = url.isascii() and url.isprintable() and " " not in url and not {"?", "#", "@"} & set(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname or not port or not plain:
            detail = "The witness's address is https://host[:port][/path], or http:// on a private network"
            raise InvalidInput(detail, code="witness_url", field="witness_url")
        return cls(parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    content_type: str
    body: bytes


class WitnessClient:
    """One witness: its address, and the keys that it may sign with (two while it rotates). `timeout` is for a call."""

    def __init__(self, url: str, verifiers: Sequence[CosignatureVerifier], *, timeout: float = 10.0) -> None:
        """Raises InvalidInput for an address that is none, or without a key."""
        if not verifiers:
            raise InvalidInput("A witness is known by its verifier key", code="witness_vkey", field="witness_vkey")
        self._target = _Target.parse(url)
        self._verifiers = tuple(verifiers)
        self._timeout = timeout

    def cosign(self, note: str, *, old_size: int, proof: Sequence[bytes] = ()) -> list[str]:
        """Cosignature lines over the log's signed checkpoint, each verified under a key of the witness.

        Raises WitnessConflict, WitnessRefused, WitnessUnavailable; IntegrityError for an answer that does not verify.
        """
        body = SignedNote.parse(note).body
        hashes = "".join(f"{encode_base64(value)}\n" for value in proof)
        request = f"old {old_size}\n{hashes}\n{note}".encode()
        reply = self._call("POST", "/add-checkpoint", request)
        if reply.status != http.client.OK:
            raise _refusal(reply)
        return [line.text for line in self._verify(f"{body}\n{_text(reply)}", body)]

    def last_size(self, empty_note: str) -> int:
        """The size that the witness cosigned last, 0 for none; its word only. For a log without its pin.

        `empty_note` is a checkpoint of size zero signed by the log: it asks without promising anything about the tree,
        because every tree extends the empty one.
        """
        if parse_checkpoint(SignedNote.parse(empty_note).body).size:
            raise InvalidInput("Only an empty tree's checkpoint asks without committing", field="empty_note")
        try:
            self.cosign(empty_note, old_size=0)
        except WitnessConflict as conflict:
            return conflict.size
        return 0

    def find_note(self, origin: str) -> str | None:
        """The last checkpoint under the witness's own signature, as a note; None when it has none of this log.

        From the monitoring path, which other witnesses may serve elsewhere, not at all, or an hour late.
        """
        reply = self._call("GET", f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint")
        if reply.status == http.client.NOT_FOUND:
            return None
        if reply.status != http.client.OK:
            raise _refusal(reply)
        text = _text(reply)
        body = text.rpartition("\n\n")[0] + "\n"
        self._verify(text, body)
        if parse_checkpoint(body).origin != origin:
            raise _forged("it is of another log")
        return text

    def find_last(self, origin: str) -> Checkpoint | None:
        """The checkpoint in `find_note`."""
        note = self.find_note(origin)
        return parse_checkpoint(SignedNote.parse(note).body) if note is not None else None

    def _verify(self, text: str, body: str) -> tuple[SignatureLine, ...]:
        """The witness's lines. Raises IntegrityError unless they are over this body, now."""
        try:
            note = open_note(text, self._verifiers)
        except (InvalidInput, IntegrityError) as error:
            raise _forged(error.detail) from None
        # A blank line in the answer would make the checkpoint and part of the answer the text that was signed.
        if note.body != body:
            raise _forged("it is over another checkpoint")
        latest = time.time() + CLOCK_SKEW_SECONDS
        for verifier in self._verifiers:
            for line in note.lines:
                if verifier.made(line) and not 0 < verifier.cosigned_at(body, line) <= latest:
                    raise _forged("its time is in the future, or missing")
        return note.lines

    def _call(self, method: str, path: str, body: bytes = b"") -> _Reply:
        until = time.monotonic() + self._timeout
        try:
            reply = _exchange(self._target, method, path, body, until)
        # ValueError: http.client raises it for some answers that are not HTTP. Error texts may quote the answer.
        except (OSError, ValueError, http.client.HTTPException):
            detail = "The connection to the witness failed"
        else:
            detail = "The witness's answer is cut off or too long"
            # Cut off by the clock, an answer without a length looks whole.
            if reply is not None and time.monotonic() < until:
                return reply
        raise WitnessUnavailable(detail if time.monotonic() < until else "The witness did not answer in time")


def _exchange(target: _Target, method: str, path: str, body: bytes, until: float) -> _Reply | None:
    """One request on a connection of its own. None when the answer is too long or ended early."""
    with _connected(target, until) as sock:
        # Given its socket, the connection opens none of its own, so this class serves TLS as well.
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.sock = sock
        headers = {"Host": target.authority, "Accept-Encoding": "identity", "Connection": "close"}
        connection.request(method, target.prefix + path, body=body or None, headers=headers)
        answer = connection.getresponse()
        data = answer.read(ANSWER_MAX_BYTES + 1)
        if len(data) > ANSWER_MAX_BYTES or answer.length:
            return None
        return _Reply(answer.status, answer.headers.get_content_type(), data)


@contextlib.contextmanager
def _connected(target: _Target, until: float) -> Iterator[socket.socket]:
    """A connection that ends at a time, even when the other side sends a byte now and then, or amid the handshake."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(_connect(target, until))
        handle = stack.enter_context(sock.dup())  # the wrapped socket cannot be reached while it shakes hands
        timer = threading.Timer(until - time.monotonic(), _cut, [handle])
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
        if target.secure:
            context = ssl.create_default_context()
            sock = stack.enter_context(context.wrap_socket(sock, server_hostname=target.host))
        yield sock


def _connect(target: _Target, until: float) -> socket.socket:
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, address in socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.001, until - time.monotonic()))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _cut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was quicker
        handle.shutdown(socket.SHUT_RDWR)


def _refusal(reply: _Reply) -> WitnessConflict | WitnessRefused | WitnessUnavailable:
    if reply.status == http.client.CONFLICT and reply.content_type == _SIZE_TYPE:
        with contextlib.suppress(InvalidInput):
            return WitnessConflict(parse_decimal(_text(reply).removesuffix("\n"), field="size"))
    if reply.status in _REFUSALS:
        code, detail = _REFUSALS[reply.status]
        return WitnessRefused(detail, code=code)
    if reply.status == http.client.TOO_MANY_REQUESTS or reply.status >= 500:  # noqa: PLR2004  # server errors
        return WitnessUnavailable(f"The witness answers with status {reply.status}")
    return WitnessRefused(f"The witness does not speak the protocol: status {reply.status}", code="witness_protocol")


def _text(reply: _Reply) -> str:
    try:
        return reply.body.decode()
    except UnicodeDecodeError:
        raise _forged("it is not text") from None


def _forged(why: str) -> IntegrityError:
    return IntegrityError(f"The witness's answer does not verify: {why}", code="witness_answer_forged")
