"""The log as static files in the C2SP paths: tiles, entry bundles, and last the checkpoint that covers them.

Files that are full and there stay as they are. Every tenant's entries are in the bundles: for auditors and archives.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from django.db import transaction

from audit import merkle
from audit.bulk import bulk_cursor
from audit.chain import leaf_hash
from audit.merkle import HASH_BYTES
from audit.tiles import WIDTH, decode_bundle, encode_bundle, entries_path, tile_path, tiles_of
from audit.tree import read_tiles, reader
from byok_portal.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from audit.checkpoints import Checkpoint

_LEAVES: Final = "SELECT leaf FROM audit_entry WHERE idx >= %b AND idx < %b ORDER BY idx"


def write_log(alias: str, folder: Path, size: int, *, start: int = 0) -> Iterator[Path]:
    """All tiles of the tree, and the bundles whose entries are all at `start` or beyond. Yields what it wrote."""
    for level, n, width in tiles_of(size):
        if not (path := folder / tile_path(level, n, width)).is_file():
            yield _write(path, _tile(alias, level, n, width))
        if level == 0 and n * WIDTH >= start and not (path := folder / entries_path(n, width)).is_file():
            yield _write(path, encode_bundle(_leaves(alias, n * WIDTH, n * WIDTH + width)))


def write_range(alias: str, folder: Path, size: int, span: range, progress: Callable[[int], None]) -> None:
    """The bundles that hold positions `span` of a tree of `size` leaves, and the tiles that prove them; all on disk.

    `progress` is told the position that was reached.
    """
    written = []
    for level, n, width in tiles_of(size):
        path = folder / tile_path(level, n, width)
        inside = span.start < (n + 1) * WIDTH and n * WIDTH < span.stop
        if (level or inside or width < WIDTH) and not path.is_file():
            written.append(_write(path, _tile(alias, level, n, width)))
        if level == 0 and inside:
            path, first = _place_bundle(folder, n, width, span.start)
            if not path.is_file():
                written.append(_write(path, encode_bundle(_leaves(alias, first, n * WIDTH + width))))
            progress(min(span.stop, (n + 1) * WIDTH))
    _sync_folders(folder, written)


def verify_range(
    alias: str, folder: Path, checkpoint: Checkpoint, span: range, progress: Callable[[int], None]
) -> None:
    """Read every bundle back and prove it to be in the signed tree. Raises IntegrityError for the first that is not."""
    for n in range(span.start // WIDTH, -(-span.stop // WIDTH)):
        width = min(WIDTH, checkpoint.size - n * WIDTH)
        path, first = _place_bundle(folder, n, width, span.start)
        hashes = [leaf_hash(leaf) for leaf in _read_bundle(path)]
        tile = _tile(alias, 0, n, width)[(first - n * WIDTH) * HASH_BYTES :]
        if b"".join(hashes) != tile:
            message = f"{path.relative_to(folder)} is not what is in the tree: move that file away and begin again"
            raise IntegrityError(message, code="archive_differs")
        with transaction.atomic(using=alias):
            proof = merkle.inclusion_proof(first, checkpoint.size, reader(alias))
        # The siblings come from the tile, so this one proof is about all of its hashes.
        merkle.verify_inclusion(
            leaf_hash=hashes[0], index=first, size=checkpoint.size, proof=proof, root=checkpoint.root
        )
        progress(min(span.stop, (n + 1) * WIDTH))


def write_checkpoint(folder: Path, note: str) -> None:
    """Last: whoever finds a checkpoint finds what it covers."""
    _sync_folders(folder, [_write(folder / "checkpoint", note.encode())])


def _place_bundle(folder: Path, n: int, width: int, start: int) -> tuple[Path, int]:
    """Where a bundle lies, and the position that it begins with. What comes before `start` was archived earlier.

    Without that file the rest has a name of its own, `062.from/128`: it is no bundle to other programs.
    """
    path = folder / entries_path(n, width)
    if start <= n * WIDTH or path.is_file():
        return path, n * WIDTH
    whole = folder / entries_path(n)
    return whole.with_name(f"{whole.name}.from") / str(start - n * WIDTH), start


def _tile(alias: str, level: int, n: int, width: int) -> bytes:
    with transaction.atomic(using=alias):
        tile = read_tiles(alias, [(level, n)]).get((level, n), b"")[: width * HASH_BYTES]
    if len(tile) != width * HASH_BYTES:
        raise IntegrityError(f"{tile_path(level, n, width)} is missing", code="tile_missing")
    return tile


def _leaves(alias: str, start: int, end: int) -> list[bytes]:
    with transaction.atomic(using=alias), bulk_cursor(alias) as cursor:
        cursor.execute(_LEAVES, [start, end])
        leaves = [leaf.encode() for (leaf,) in cursor.fetchall()]
    if len(leaves) != end - start:
        message = f"entries from position {start} on are missing: {end - start} are signed, {len(leaves)} are there"
        raise IntegrityError(message, code="entries_missing")
    return leaves


def _read_bundle(path: Path) -> list[bytes]:
    try:
        return decode_bundle(path.read_bytes())
    except IntegrityError:
        return [b""]  # differs from every entry


def _write(path: Path, data: bytes) -> Path:
    """Whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return path


def _sync_folders(folder: Path, written: list[Path]) -> None:
    """The names of new files, up to the folder itself."""
    parents = {parent for path in written for parent in path.parents if parent.is_relative_to(folder)}
    for parent in sorted(parents | {folder.parent}):
        descriptor = os.open(parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
