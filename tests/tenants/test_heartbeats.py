"""Every tenant's trail has an entry per day, also when nothing happened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connections
from django.utils import timezone

from audit.selectors import Filters, search
from tenants.models import Tenant
from tenants.services import heartbeats

if TYPE_CHECKING:
    from tests.world import Cast, World


def hearts(world: World, cast: Cast) -> int:
    world.sequence()
    with world.inside(cast):
        return len(search(Filters(action="audit.heartbeat"), limit=10))


def test_each_tenant_gets_one_heartbeat_a_day_however_many_workers_write(world: World) -> None:
    casts = [world.tenant(), world.tenant()]

    def work() -> None:
        heartbeats.beat_all()
        connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        for running in [pool.submit(work) for _ in range(2)]:
            running.result(60)
    assert [hearts(world, cast) for cast in casts] == [1, 1]
    assert heartbeats.beat_all() == 0


def test_the_next_day_brings_the_next_heartbeat(world: World) -> None:
    cast = world.tenant()
    heartbeats.beat_all()
    with world.inside(cast):
        Tenant.objects.filter(id=cast.id).update(heartbeat_on=timezone.now().date() - timedelta(days=1))
    heartbeats.beat_all()
    assert hearts(world, cast) == 2
