"""A key always has an active owner: people who leave, keys that are handed over, and the clock in between."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from byok_portal.boundary.permissions import Role
from byok_portal.errors import Conflict, InvalidInput, NotFound, Refused
from keys import posture
from keys.decision import Code
from keys.findings import Kind
from keys.models import HandOver, Key
from keys.services import ownership, uses
from keys.states import HandOverState
from tenants.models import Invitation, Membership
from tenants.services import departures, members
from tests.keys.test_use import caller

if TYPE_CHECKING:
    from uuid import UUID

    from tenants.models import User
    from tests.world import Cast, World


def join(world: World, cast: Cast, role: str = "custodian") -> User:
    with world.bound(cast):
        issued = members.invite(actor=cast.actor, email=f"{world.name('person')}@{cast.slug}.example", role=role)
        return world._accept(cast.tenant, issued)


def membership_of(world: World, cast: Cast, user: User) -> UUID:
    with world.inside(cast):
        found: UUID = Membership.objects.get(user_id=user.pk).id
    return found


def remove(world: World, cast: Cast, user: User) -> Membership:
    member = membership_of(world, cast, user)
    with world.bound(cast):
        return ownership.remove_member(actor=cast.actor, membership_id=member, note="Left the company")


def reload(world: World, cast: Cast, key: Key) -> Key:
    with world.inside(cast):
        return Key.objects.get(id=key.id)


def hand_over(world: World, cast: Cast, key: Key, owner: User, backup: User) -> Key:
    with world.bound(cast):
        return ownership.hand_over(
            actor=cast.actor, key_id=key.id, owner=str(owner.pk), backup_owner=str(backup.pk), note="Reorganised"
        )


def actions(world: World, cast: Cast) -> list[str]:
    from audit.selectors import search  # noqa: PLC0415  # the app registry must be ready

    world.sequence()
    with world.inside(cast):
        return [entry.action for entry in search(limit=6)]


def test_a_leaving_owner_is_followed_by_the_backup_and_the_key_wants_rotation(world: World) -> None:
    cast = world.tenant()
    leaver = join(world, cast)
    key = world.key(cast, owner=str(leaver.pk), backup_owner=str(cast.owner.pk))
    gone = remove(world, cast, leaver)
    found = reload(world, cast, key)
    assert (gone.is_active, found.owner_id, found.backup_owner_id) == (False, cast.owner.pk, None)
    with world.inside(cast):
        kinds = {row.finding.kind for row in posture.list_found(key.id)}
    assert {Kind.ROTATION_WANTED, Kind.NO_BACKUP_OWNER} <= kinds
    with world.inside(cast):
        opened = HandOver.objects.get(key_id=key.id)
    assert (opened.leaver_id, opened.state) == (leaver.pk, HandOverState.OPEN)
    assert (found.suspends_at, found.suspends_for) == (opened.due_at, "no_owner")
    assert actions(world, cast)[:2] == ["key.hand_over_opened", "member.removed"]


def test_when_both_owners_leave_an_owner_of_the_tenant_stands_in(world: World) -> None:
    cast = world.tenant()
    first, second = join(world, cast), join(world, cast)
    key = world.key(cast, owner=str(first.pk), backup_owner=str(second.pk))
    for user in (first, second):
        remove(world, cast, user)
    found = reload(world, cast, key)
    assert found.owner_id in {cast.owner.pk, cast.backup.pk}
    assert found.backup_owner_id is None
    with world.inside(cast):
        due = sorted(HandOver.objects.filter(key_id=key.id).values_list("due_at", flat=True))
    assert found.suspends_at == due[0], "a second departure does not put the first one off"


def test_naming_two_owners_closes_the_hand_over_and_stops_the_clock(world: World) -> None:
    cast = world.tenant()
    leaver, successor = join(world, cast), join(world, cast)
    key = world.key(cast, owner=str(cast.owner.pk), backup_owner=str(leaver.pk))
    remove(world, cast, leaver)
    done = hand_over(world, cast, key, cast.owner, successor)
    assert (done.owner_id, done.backup_owner_id, done.suspends_at) == (cast.owner.pk, successor.pk, None)
    with world.inside(cast):
        assert HandOver.objects.get(key_id=key.id).state == HandOverState.CLOSED
    with pytest.raises(Conflict, match="already"):
        hand_over(world, cast, key, cast.owner, successor)


def test_without_a_second_owner_the_clock_refuses_uses_with_no_job(world: World) -> None:
    cast = world.tenant()
    leaver = join(world, cast)
    key, credential = world.key(cast, owner=str(leaver.pk)), world.consumer(cast)
    world.grant(cast, key, credential)
    remove(world, cast, leaver)
    with world.inside(cast):
        Key.objects.filter(id=key.id).update(suspends_at=timezone.now() - timedelta(seconds=1))
    with world.bound(cast):
        answer = uses.use(
            actor=caller(cast, credential),
            token_id=credential.token_id,
            key_reference=str(key.id),
            scope="secrets:read",
            purpose="report",
        )
    assert answer.decision.code == Code.KEY_SUSPENDED


def test_the_last_owner_of_a_tenant_stays(world: World) -> None:
    cast = world.tenant()
    with world.inside(cast):
        owners = list(Membership.objects.filter(role=Role.OWNER, is_active=True).select_related("user"))
    for owner in owners[1:]:
        with world.bound(cast):
            ownership.remove_member(actor=cast.actor, membership_id=owner.id)
    with pytest.raises(Refused, match="last owner"), world.bound(cast):
        ownership.remove_member(actor=cast.actor, membership_id=owners[0].id)
    with pytest.raises(Refused, match="last owner"), world.bound(cast):
        ownership.change_role(actor=cast.actor, membership_id=owners[0].id, role="auditor")
    with world.inside(cast):
        assert Membership.objects.get(id=owners[0].id).is_active


def test_who_answers_for_keys_does_not_become_an_auditor(world: World) -> None:
    cast = world.tenant()
    person = join(world, cast)
    world.key(cast, owner=str(person.pk))
    member = membership_of(world, cast, person)
    with pytest.raises(Refused, match="answers for 1 keys"), world.bound(cast):
        ownership.change_role(actor=cast.actor, membership_id=member, role="auditor")
    with world.bound(cast):
        changed = ownership.change_role(actor=cast.actor, membership_id=member, role="approver")
    assert changed.role == "approver"
    with world.inside(cast):
        assert Membership.objects.get(id=member).role == "approver"


@pytest.mark.parametrize("who", ["stranger", "auditor", "twice"])
def test_a_key_is_not_handed_to_somebody_who_cannot_own_it(world: World, who: str) -> None:
    cast = world.tenant()
    key = world.key(cast)
    people: dict[str, Any] = {"stranger": world.tenant("globex").owner, "auditor": cast.auditor, "twice": cast.owner}
    with pytest.raises(InvalidInput) as refusal:
        hand_over(world, cast, key, cast.owner, people[who])
    assert refusal.value.field == "backup_owner"
    assert reload(world, cast, key).backup_owner_id == cast.backup.pk


def test_another_tenants_member_is_not_found(world: World) -> None:
    cast, other = world.tenant(), world.tenant("globex")
    member = membership_of(world, other, other.owner)
    with pytest.raises(NotFound), world.bound(cast):
        ownership.remove_member(actor=cast.actor, membership_id=member)


def test_a_withdrawn_invitation_opens_nothing(world: World) -> None:
    cast = world.tenant()
    with world.bound(cast):
        issued = members.invite(actor=cast.actor, email=f"{world.name('new')}@acme.example", role="auditor")
        departures.withdraw(actor=cast.actor, invitation_id=issued.invitation.id)
    with pytest.raises(NotFound), world.bound(cast):
        world._accept(cast.tenant, issued)
    with pytest.raises(Conflict, match="withdrawn"), world.bound(cast):
        departures.withdraw(actor=cast.actor, invitation_id=issued.invitation.id)
    with world.inside(cast):
        assert Invitation.objects.get(id=issued.invitation.id).used_at is not None
