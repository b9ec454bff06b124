"""Fixtures for the quick start's own servers. They must never touch the servers of `make run`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def public_folder() -> Iterator[Path]:
    """A long path with spaces that any account can reach; pytest's own tmp_path is private to root."""
    top = Path(tempfile.mkdtemp(prefix="byok quick start "))
    top.chmod(0o755)
    folder = top / ("a long folder name " * 6).strip()
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(top)
