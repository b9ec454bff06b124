"""Where security events are delivered: a file of JSON lines, or an HTTPS collector. Must never touch what it did not
write: a file that holds anything else is refused, not repaired.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import urllib3

from byok_portal.errors import Conflict, InvalidInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from byok_portal.boundary.secrets import Secret

_CHUNK: Final = 1 << 16
_LINE_START: Final = b'{"activity_id":'
"""How every line of ours begins: keys are sorted."""
_TIMEOUT: Final = urllib3.Timeout(connect=5, read=20)


class Destination(Protocol):
    """Takes lines; returns only when they are safe there. Raises PortalError or OSError, and then all come again."""

    def deliver(self, lines: Sequence[bytes], *, delivered: int, stream: str) -> None: ...  # the class says it


@dataclass(frozen=True, slots=True)
class FileDestination:
    """Appends to one file that belongs to one stream, and waits for the disk."""

    path: Path

    def deliver(self, lines: Sequence[bytes], *, delivered: int, stream: str) -> None:
        """Append after line number `delivered` of the stream: what a crash left behind it is cut off first.

        An empty or new file is right at any number (log rotation). Raises Conflict for a file that is not ours.
        """
        with _opened(self.path) as descriptor:
            end = _find_end(descriptor, delivered=delivered, stream=stream)
            os.ftruncate(descriptor, end)
            data = memoryview(b"".join(lines))
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)


@dataclass(frozen=True, slots=True)
class Collector:
    """Posts JSON lines. Only a 2xx answer counts; the collector drops what comes twice by `metadata.uid`."""

    url: str
    plaintext: Secret | None = None

    def deliver(self, lines: Sequence[bytes], *, delivered: int, stream: str) -> None:
        """One request. Raises Unavailable, naming the status only: an answer may quote what was sent."""
        headers = {"Content-Type": "application/x-ndjson"}
        if self.plaintext is not None:
            headers["Authorization"] = f"Bearer {self.plaintext.reveal_text()}"
        try:
            with urllib3.PoolManager(timeout=_TIMEOUT, retries=False) as pool:
                answer = pool.request("POST", self.url, body=b"".join(lines), headers=headers, redirect=False)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            message = f"The collector did not answer ({type(error).__name__})."
            raise Unavailable(message, code="collector_unavailable") from None
        if not 200 <= answer.status < 300:  # noqa: PLR2004  # HTTP's classes of answers
            message = f"The collector answered {answer.status}."
            raise Unavailable(message, code="collector_refused")


def parse_destination(text: str, *, plaintext: Secret | None = None) -> Destination:
    """A URL or an absolute path. Raises InvalidInput: events and token must not cross a network in clear."""
    if "://" not in text:
        path = Path(text)
        if not path.is_absolute():
            message = "the destination is an https:// address or an absolute path"
            raise InvalidInput(message, field="to")
        return FileDestination(path)
    parts = urlsplit(text)
    if parts.username or parts.password or parts.fragment or not parts.hostname:
        message = "the address has a host and neither user, password nor fragment; the token is BYOK_SIEM_TOKEN"
        raise InvalidInput(message, field="to")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        message = "the collector needs https; http goes to this machine only"
        raise InvalidInput(message, field="to")
    return Collector(text, plaintext)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_new:
            _sync_folder(path.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _find_end(descriptor: int, *, delivered: int, stream: str) -> int:
    """The byte after line `delivered`: what stands behind it was written, but never noted."""
    for start, line in _lines_backwards(descriptor):
        if not line.endswith(b"\n"):
            if not (line.startswith(_LINE_START) or _LINE_START.startswith(line)):
                raise _foreign()
            continue
        sequence = _sequence_of(line, stream)
        if sequence == delivered:
            return start + len(line)
        if sequence < delivered:
            message = f"The file ends at {sequence}, but {delivered} were delivered: lines were lost. Move it away."
            raise Conflict(message, code="siem_file_short")
    return 0


def _sequence_of(line: bytes, stream: str) -> int:
    try:
        metadata: dict[str, Any] = json.loads(line)["metadata"]
        sequence = metadata["sequence"]
    except (ValueError, KeyError, TypeError):
        raise _foreign() from None
    if metadata.get("log_name") != stream or not isinstance(sequence, int):
        raise _foreign()
    return sequence


def _foreign() -> Conflict:
    return Conflict("The file holds something else than this stream's events.", code="siem_file_foreign")


def _lines_backwards(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """(start, line with its end) from the last line of the file to the first."""
    start, rest = os.fstat(descriptor).st_size, b""
    while start:
        size = min(_CHUNK, start)
        start -= size
        rest = os.pread(descriptor, size, start) + rest
        lines = _split(rest)
        kept = 0 if start == 0 else 1
        at = start + len(rest)
        for line in reversed(lines[kept:]):
            at -= len(line)
            yield at, line
        rest = lines[0] if kept else b""


def _split(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines
