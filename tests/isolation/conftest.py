"""Two populated tenants, made once per process: nothing in these tests may change them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests import environment
from tests.isolation.populated import Populated, populate

if TYPE_CHECKING:
    from tests.world import World


@pytest.fixture(scope="session")
def pair(world_setup: World) -> tuple[Populated, Populated]:
    """The first is the victim; the second is the stranger."""
    server = os.environ["BYOK_TEST_ADMIN_URL"].rsplit("/", 1)[0]
    with psycopg.connect(f"{server}/{environment.DATABASE}", autocommit=True) as admin:
        return populate(world_setup, admin), populate(world_setup, admin)
