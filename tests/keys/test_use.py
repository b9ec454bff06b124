"""A use: allowed, denied, recorded; against a real OpenBao token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byok_portal.boundary import actors
from byok_portal.boundary.actors import Origin
from byok_portal.boundary.permissions import Permission
from keys.decision import Code
from keys.services import lifecycle, uses
from keys.states import Delivery

if TYPE_CHECKING:
    from tests.world import Cast, Credential, World


def caller(cast: Cast, credential: Credential, address: str = "127.0.0.1") -> actors.Actor:
    return actors.consumer(
        credential.consumer.id,
        tenant_id=cast.id,
        scopes=frozenset({Permission.KEY_USE}),
        label=credential.consumer.slug,
        origin=Origin(address=address),
    )


def test_a_granted_consumer_gets_a_decision_a_lease_and_a_brokered_read(world: World) -> None:
    cast = world.tenant()
    token = world.bao_token()
    key = world.key(cast, token=token)
    credential = world.consumer(cast)
    world.grant(cast, key, credential)
    actor = caller(cast, credential)
    with world.bound(cast):
        decision = uses.use(
            actor=actor,
            token_id=credential.token_id,
            key_reference=key.slug,
            scope="secrets:read",
            purpose="report",
        )
        lease = uses.use(
            actor=actor,
            token_id=credential.token_id,
            key_reference=str(key.id),
            scope="secrets:read",
            purpose="report",
            delivery=Delivery.LEASE,
        )
        call = uses.Call("GET", "/v1/secret/data/reports/q3", "", {}, b"", "report")
        read = uses.proxy(actor=actor, token_id=credential.token_id, key_reference=key.slug, call=call)
    assert decision.decision.allowed
    assert decision.plaintext is None
    assert lease.plaintext is not None
    assert lease.plaintext.reveal_text() == token.token
    assert read.result is not None
    assert read.result.status == 200
    assert b'"total":"42"' in read.result.body


def test_a_call_outside_the_scope_is_refused_and_recorded(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    credential = world.consumer(cast)
    world.grant(cast, key, credential)
    call = uses.Call("GET", "/v1/secret/data/payroll/q3", "", {}, b"", "report")
    with world.bound(cast):
        answer = uses.proxy(
            actor=caller(cast, credential), token_id=credential.token_id, key_reference=key.slug, call=call
        )
    assert answer.decision.code == Code.CALL_NOT_ALLOWED
    assert answer.result is None


def test_a_revoked_key_is_refused_at_the_next_use(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    credential = world.consumer(cast)
    world.grant(cast, key, credential)
    with world.bound(cast):
        lifecycle.revoke(actor=cast.actor, key_id=key.id, reason="cessation_of_operation")
        answer = uses.use(
            actor=caller(cast, credential),
            token_id=credential.token_id,
            key_reference=key.slug,
            scope="secrets:read",
            purpose="report",
        )
    assert answer.decision.code == Code.KEY_REVOKED
