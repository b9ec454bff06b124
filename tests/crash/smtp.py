"""A mail server on this machine that can fall silent between taking a mail and saying so."""

from __future__ import annotations

import socketserver
import threading
from typing import Any

ANSWERS = {b"EHLO": b"250 here", b"HELO": b"250 here", b"MAIL": b"250 ok", b"RCPT": b"250 ok", b"RSET": b"250 ok"}


class MailServer(socketserver.ThreadingTCPServer):
    """Keeps what it took in `taken`; it never answers to a mail to the address in `silent_for`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.taken: list[bytes] = []
        self.silent_for = ""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.server_address[1]}"

    def take(self, message: bytes) -> bool:
        """Whether to answer."""
        self.taken.append(message)
        return not self.silent_for or self.silent_for.encode() not in message

    def taken_for(self, address: str) -> int:
        """How often a mail to this address was taken."""
        return sum(f"To: {address}".encode() in message for message in self.taken)


class _Conversation(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        self._say(b"220 here")
        while line := self.rfile.readline():
            command = line[:4].upper()
            if command == b"QUIT":
                return self._say(b"221 bye")
            if command == b"DATA":
                self._say(b"354 go on")
                if not self.server.take(self._read_message()):
                    self.rfile.readline()  # until the sender hangs up
                    return None
                self._say(b"250 taken")
            else:
                self._say(ANSWERS.get(command, b"500 what"))
        return None

    def _read_message(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line)
        return b"".join(lines)

    def _say(self, answer: bytes) -> None:
        self.wfile.write(answer + b"\r\n")
