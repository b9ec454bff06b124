"""Who is told when a key is compromised or an owner leaves: at once, once each, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keys.services import exposing
from tenants.models import Channel, Notice
from tests.keys.test_ownership import join, remove

if TYPE_CHECKING:
    from uuid import UUID

    from tests.world import Cast, World


def told(world: World, cast: Cast, kind: str) -> dict[UUID, str]:
    with world.inside(cast):
        rows = Notice.objects.filter(kind=kind).values_list("recipient_id", "channel")
        return dict(rows)


def test_owners_backup_and_consumers_hear_of_a_compromise_at_once(world: World) -> None:
    cast = world.tenant()
    owner, bystander = join(world, cast), join(world, cast)
    key, credential = world.key(cast, owner=str(owner.pk)), world.consumer(cast)
    world.grant(cast, key, credential)
    with world.bound(cast):
        exposing.compromise(actor=cast.actor, key_id=key.id, note="Found in a public repository")
    heard = told(world, cast, "key.compromised")
    assert {owner.pk, cast.backup.pk, cast.owner.pk, credential.consumer.id} <= set(heard)
    assert bystander.pk not in heard
    assert set(heard.values()) == {Channel.AT_ONCE}


def test_who_is_left_hears_of_a_hand_over(world: World) -> None:
    cast = world.tenant()
    leaver = join(world, cast)
    world.key(cast, owner=str(leaver.pk))
    remove(world, cast, leaver)
    heard = told(world, cast, "key.hand_over_opened")
    assert cast.owner.pk in heard
    assert leaver.pk not in heard
