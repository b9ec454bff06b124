"""ZIP files that are streamed while they are made. Must never hold more than one piece."""

from __future__ import annotations

import io


class Sink(io.RawIOBase):
    """Collects what a ZipFile writes until it is taken; cannot seek, so the archive is written in one pass."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = data if isinstance(data, bytes) else bytes(data)  # type: ignore[call-overload]  # any buffer
        self._parts.append(part)
        self.size += len(part)
        return len(part)

    def take(self) -> bytes:
        """Everything since the last call."""
        taken = b"".join(self._parts) if len(self._parts) != 1 else self._parts[0]
        self._parts, self.size = [], 0
        return taken
