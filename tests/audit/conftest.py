"""The log that tests break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.audit.attacking import AttackedLog
from tests.audit.pruning import PrunableLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.world import World


@pytest.fixture(scope="module")
def attacked_copy(django_db_setup: None) -> Iterator[AttackedLog]:
    """One copy per module."""
    log = AttackedLog.build()
    yield log
    log.close()


@pytest.fixture
def log(attacked_copy: AttackedLog) -> Iterator[AttackedLog]:
    """The copy, whole again after the test."""
    yield attacked_copy
    attacked_copy.restore()


@pytest.fixture(scope="module")
def prunable_original(world_setup: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrunableLog]:
    """A log with small partitions, one per module."""
    log = PrunableLog.build(tmp_path_factory.mktemp("prunable"), world_setup)
    yield log
    log.drop()


@pytest.fixture
def prunable(prunable_original: PrunableLog, tmp_path: Path) -> Iterator[PrunableLog]:
    """A copy of it, which every login of this process goes to."""
    log = prunable_original.copy(f"{prunable_original.name}_copy", tmp_path)
    with log.opened():
        yield log
    log.drop()
