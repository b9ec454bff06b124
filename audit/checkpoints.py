"""C2SP tlog-checkpoint: what a log signs. Must never read what it would not write."""

from __future__ import annotations

from dataclasses import dataclass

from audit.merkle import EMPTY_ROOT, HASH_BYTES
from audit.notation import check_name, check_text, decode_base64, encode_base64, malformed, parse_decimal


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """C2SP tlog-checkpoint: the root of a log's tree at a size. Extension lines are neither written nor read."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> str:
        """The note body to sign: three lines."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


def parse_checkpoint(body: str) -> Checkpoint:
    """Read a checkpoint's body. Raises InvalidInput for any other text."""
    check_text(body, field="checkpoint")
    lines = body.split("\n")[:-1]
    if len(lines) != 3:  # noqa: PLR2004 - origin, size, root
        raise malformed("checkpoint", "a checkpoint has three lines: origin, size and root")
    origin, size, root = lines
    check_name(origin, field="origin")
    checkpoint = Checkpoint(origin, parse_decimal(size, field="size"), decode_base64(root, field="root"))
    if len(checkpoint.root) != HASH_BYTES:
        raise malformed("root", "a root has 32 bytes")
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise malformed("root", "an empty tree has the root of no leaves")
    return checkpoint
