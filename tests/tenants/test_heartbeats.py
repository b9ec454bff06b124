"""Every tenant's trail has an entry per day, also when nothing happened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connections
from django.utils import timezone

from audit.selectors import Filters, search
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.models import Pulse
from tenants.models import Tenant
from tenants.tasks import beat_hearts

if TYPE_CHECKING:
    from tests.world import Cast, World


def hearts(world: World, cast: Cast) -> int:
    world.sequence()
    with world.inside(cast):
        return len(search(Filters(action="audit.heartbeat"), limit=10))


def test_each_tenant_gets_one_heartbeat_a_day_however_many_workers_write(world: World) -> None:
    casts = [world.tenant(), world.tenant()]

    def work() -> None:
        beat_hearts()
        connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        for running in [pool.submit(work) for _ in range(2)]:
            running.result(60)
    assert [hearts(world, cast) for cast in casts] == [1, 1]
    assert beat_hearts() == 0


def test_the_next_day_brings_the_next_heartbeat(world: World) -> None:
    cast = world.tenant()
    beat_hearts()
    with world.inside(cast):
        Tenant.objects.filter(id=cast.id).update(heartbeat_on=timezone.now().date() - timedelta(days=1))
    beat_hearts()
    assert hearts(world, cast) == 2


def test_the_platforms_own_chain_has_its_heartbeat_too(world: World) -> None:
    def count() -> int:
        world.sequence()
        with binding.bind_tenant(PLATFORM), binding.reading():
            return len(search(Filters(action="audit.heartbeat"), limit=1000))

    beat_hearts()
    before = count()
    beat_hearts()
    assert count() == before > 0
    Pulse.objects.filter(name="audit.heartbeat").update(beat_at=timezone.now() - timedelta(days=1))
    beat_hearts()
    assert count() == before + 1
