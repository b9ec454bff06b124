"""The log that tests break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.audit.attacking import AttackedLog

if TYPE_CHECKING:
    from collections.abc import Iterator


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
