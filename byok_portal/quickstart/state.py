"""Where quick-start servers keep their files, and how those files are written and locked.

Must never change the mode or owner of anything above the state base.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from byok_portal.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_ROOT_STATE: Final = Path("/var/lib/byok-portal")


def is_root() -> bool:
    """Whether servers must be handed to another uid."""
    return os.geteuid() == 0


def state_base() -> Path:
    """`<checkout>/.local` for a plain user; for root a world-traversable place named after the checkout.

    Root's checkout is often below /root (mode 0700), where the server could not reach its own files.
    """
    if not is_root():
        return CHECKOUT / ".local"
    return _ROOT_STATE / hashlib.sha256(os.fsencode(CHECKOUT)).hexdigest()[:12]


def state_folder(name: str) -> Path:
    """The folder of one server, made on first use. Raises Unavailable when it cannot be written."""
    folder = state_base() / name
    prepare_folder(folder)
    return folder


def prepare_folder(folder: Path) -> None:
    """Make `folder`; as root it may be entered, not listed, by others, such as the server."""
    try:
        if is_root() and folder.is_relative_to(_ROOT_STATE):
            for part in (_ROOT_STATE, *(_ROOT_STATE / p for p in folder.relative_to(_ROOT_STATE).parents)):
                _make_traversable(part)
        folder.mkdir(parents=True, exist_ok=True, mode=0o711 if is_root() else 0o700)
        # Explicit, because mkdir's mode is cut by the umask and mkdtemp's is 0700.
        folder.chmod(0o711 if is_root() else 0o700)
    except OSError as error:
        reason = f"{folder} cannot be prepared ({error.strerror}). Was this checkout made or run by another user?"
        raise Unavailable(reason) from error


def _make_traversable(folder: Path) -> None:
    folder.mkdir(exist_ok=True, parents=True, mode=0o755)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o755)


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step with a file that only this user reads; a crash leaves either."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time starts or stops the server of `folder`. The kernel drops the lock on any exit."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Delete what a crashed first start left; missing is fine."""
    if path.exists():
        shutil.rmtree(path)
