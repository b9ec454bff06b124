"""Rotation in which a real OpenBao makes the successor: what it asks for, what it refuses, what it leaves behind."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from byok_portal.boundary import actors
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, InvalidInput, NotFound, Refused
from keys.models import Proof, Succession
from keys.services import assisted, exposing, probing, rotation
from keys.states import VersionState
from tests.canary import find_in_database
from tests.keys.succeeding import Succeeding
from tests.world import READER_POLICY

if TYPE_CHECKING:
    import psycopg

    from tests.world import World

EVENTS = ("key.successor_asked", "key.successor_made", "key.successor_given_up", "key.proven", "key.rotated")


@pytest.fixture
def succeeding(world: World) -> Succeeding:
    return Succeeding(world)


def test_the_provider_makes_an_equal_and_it_becomes_current(
    succeeding: Succeeding, admin_connection: psycopg.Connection
) -> None:
    old = succeeding.world.bao.find_accessor(succeeding.token.accessor) or {}
    version = succeeding.rotate()
    assert succeeding.states() == {1: VersionState.SUPERSEDED, 2: VersionState.ACTIVE}
    (new,) = succeeding.alive()
    same = ("policies", "display_name", "path", "orphan", "explicit_max_ttl", "type", "entity_id", "renewable")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert 7100 < new["ttl"] <= 7200, "born with minutes to live, renewed when it was stored"
    assert new["creation_ttl"] == 300
    assert version.expires_at is not None
    assert (version.expires_at - timezone.now()).total_seconds() > 7000
    assert succeeding.attempts() == [("done", "")]
    told = succeeding.told(*EVENTS)
    assert [body["action"] for body in told] == [
        "key.proven",  # of the registration
        "key.successor_asked",
        "key.successor_made",
        "key.proven",
        "key.rotated",
    ]
    assert told[-1]["detail"] == {"version": 2, "replaces": 1, "drain_hours": 24}
    assert find_in_database(admin_connection, succeeding.secret(2).reveal_text()) == []


def test_its_successor_has_a_successor_of_the_same_life_and_the_old_ones_die(succeeding: Succeeding) -> None:
    succeeding.rotate(hours=0)
    succeeding.rotate(hours=0)
    succeeding.work()
    (new,) = succeeding.alive()
    assert 7100 < new["ttl"] <= 7200
    assert new["meta"]["byok_ttl"] == "7200"
    assert succeeding.world.bao.find_accessor(succeeding.token.accessor) is None
    assert succeeding.states() == {1: "revoked", 2: "revoked", 3: "active"}
    assert {succeeding.version(n).upstream_status for n in (1, 2)} == {"revoked_confirmed"}


def test_excess_that_was_accepted_once_is_not_asked_about_again_but_more_is(succeeding: Succeeding) -> None:
    """The right to make tokens is itself beyond the chosen scopes; it was accepted at activation."""
    with succeeding.world.inside(succeeding.cast):
        assert Proof.objects.get().excess
    succeeding.rotate(hours=0)
    more = 'path "secret/data/byok-portal-outside/*" { capabilities = ["read"] }'
    policy = 'path "auth/token/create-orphan" { capabilities = ["update"] }'
    succeeding.world.bao.write_policy("report-robot", f"{READER_POLICY} {policy} {more}")
    with pytest.raises(Refused) as refusal:
        succeeding.rotate(hours=0)
    assert (refusal.value.code, refusal.value.field) == ("excess_not_accepted", "accept_excess")
    succeeding.work()
    assert succeeding.states() == {1: "revoked", 2: "active", 3: "revoked"}
    assert len(succeeding.alive()) == 1
    assert succeeding.attempts()[-1] == ("given_up", "excess_not_accepted")
    succeeding.rotate(hours=0, accept_excess=True, note="The job reads there too")
    assert succeeding.states()[4] == "active"


def refuse(world: World, token: Any, words: str) -> Refused:
    succeeding = Succeeding(world, token)
    with pytest.raises(Refused, match=words) as refusal:
        succeeding.rotate()
    assert succeeding.attempts() == []
    assert succeeding.alive() == []
    assert succeeding.states() == {1: VersionState.ACTIVE}
    assert [body["outcome"] for body in succeeding.told("key.rotate_assisted")] == ["denied"]
    return refusal.value


def test_it_names_the_policy_line_that_is_missing(world: World) -> None:
    line = r'path "auth/token/create-orphan" \{ capabilities = \["update"\] \}'
    assert refuse(world, world.bao_robot(policies=("report-reader",)), line).code == "no_successor"


def test_a_token_of_a_login_is_told_why_it_cannot_have_a_successor(world: World) -> None:
    """A child would die with it, and an orphan would lose the identity."""
    world.bao.write_policy("login-robot", 'path "auth/token/create-orphan" { capabilities = ["update"] }')
    token = world.bao_token(policies=("report-reader", "login-robot"))
    assert refuse(world, token, "came from a login").code == "no_successor"


@pytest.mark.parametrize(
    ("fields", "words"), [({"num_uses": 100}, "limited number of uses"), ({"period": "1h"}, "token role")]
)
def test_what_a_token_cannot_pass_on_is_refused(world: World, fields: dict[str, Any], words: str) -> None:
    refuse(world, world.bao_robot(**fields), words)


def by_role(world: World, **fields: Any) -> tuple[str, Any]:
    """A token of a role of its own, which may make others of that role."""
    role = world.name("role")
    line = f'path "auth/token/create/{role}" {{ capabilities = ["update"] }}'
    world.bao.write_policy(role, READER_POLICY + line)
    world.bao.write_token_role(role, allowed_policies=[role, "more"], orphan=True, **fields)
    return role, world.bao.create_by_role(role, policies=[role], ttl="1h")


def test_a_token_role_passes_periods_and_networks_on(world: World) -> None:
    role, token = by_role(world, token_period="1h", token_bound_cidrs=["127.0.0.1/32"])
    succeeding = Succeeding(world, token)
    succeeding.rotate()
    (new,) = succeeding.alive()
    assert (new["role"], new["bound_cidrs"], new["orphan"]) == (role, ["127.0.0.1"], True)
    assert new["ttl"] > 3500, "its role's period"


def test_a_role_that_would_make_it_wider_is_refused_and_what_it_made_is_ended(world: World) -> None:
    role, token = by_role(world, token_bound_cidrs=["127.0.0.1/32"])
    succeeding = Succeeding(world, token)
    world.bao.write_token_role(role, allowed_policies=[role], orphan=True, token_bound_cidrs=[])
    with pytest.raises(Refused, match="other networks") as refusal:
        succeeding.rotate()
    assert refusal.value.code == "successor_wider"
    succeeding.work()
    assert succeeding.alive() == []
    assert succeeding.states() == {1: "active", 2: "revoked"}
    assert succeeding.version(2).upstream_status == "revoked_confirmed"


def test_guided_providers_are_refused_with_their_guide(world: World) -> None:
    from keys.catalogue import load_catalogue  # noqa: PLC0415
    from keys.providers import find_succession, get_adapter, get_succession  # noqa: PLC0415
    from keys.providers.contract import RotationWay  # noqa: PLC0415

    for entry in load_catalogue().values():
        is_assisted = get_adapter(entry).rotation is RotationWay.ASSISTED
        assert is_assisted == (find_succession(entry) is not None)
        if not is_assisted:
            with pytest.raises(Refused, match="guide"):
                get_succession(entry)


def test_a_rotation_that_overtakes_it_wins_and_the_made_one_is_ended(
    succeeding: Succeeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = succeeding.token
    other = succeeding.world.bao.create_orphan(
        policies=["report-robot"], name=_name_of(succeeding, name.accessor), ttl="2h"
    )
    prove = probing.prove

    def overtake(key: Any, plaintext: Secret) -> Any:
        monkeypatch.setattr(probing, "prove", prove)
        rotation.rotate(
            actor=succeeding.cast.actor,
            key_id=key.id,
            plaintext=Secret(other.token),
            drain_hours=0,
            accept_excess=True,
            note="By hand",
        )
        return prove(key, plaintext)

    monkeypatch.setattr(probing, "prove", overtake)
    with pytest.raises(Conflict) as conflict:
        succeeding.rotate()
    assert conflict.value.code == "rotated_meanwhile"
    succeeding.work()
    assert succeeding.states() == {1: "revoked", 2: "revoked", 3: "active"}
    assert succeeding.alive() == []
    assert succeeding.version(2).upstream_status == "revoked_confirmed"
    assert succeeding.attempts() == [("given_up", "rotated_meanwhile")]


def _name_of(succeeding: Succeeding, accessor: str) -> str:
    found = succeeding.world.bao.find_accessor(accessor) or {}
    return str(found["display_name"]).removeprefix("token-")


def test_a_key_that_is_compromised_meanwhile_takes_its_successor_with_it(
    succeeding: Succeeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove = probing.prove

    def compromise(key: Any, plaintext: Secret) -> Any:
        evidence = prove(key, plaintext)
        _compromise(succeeding)
        return evidence

    monkeypatch.setattr(probing, "prove", compromise)
    with pytest.raises(Conflict) as conflict:
        succeeding.rotate()
    assert conflict.value.code == "key_state"
    succeeding.work()
    assert succeeding.states() == {1: "compromised", 2: "compromised"}
    assert succeeding.alive() == []
    assert succeeding.world.bao.find_accessor(succeeding.token.accessor) is None


def _compromise(succeeding: Succeeding) -> None:
    with succeeding.world.bound(succeeding.cast):
        exposing.compromise(actor=succeeding.cast.actor, key_id=succeeding.key.id)


def test_the_same_request_twice_is_one_rotation(succeeding: Succeeding) -> None:
    succeeding.rotate(hours=0, replaces=1)
    with pytest.raises(Conflict) as conflict:
        succeeding.rotate(hours=0, replaces=1)
    assert conflict.value.code == "rotated_meanwhile"
    assert len(succeeding.alive()) == 1
    assert succeeding.attempts() == [("done", "")]


def test_an_attempt_that_died_blocks_the_next_only_until_it_lapses(
    succeeding: Succeeding, admin_connection: psycopg.Connection
) -> None:
    with succeeding.world.inside(succeeding.cast):
        row = Succession.objects.create(
            key_id=succeeding.key.id, base=1, lapses_at=timezone.now() + timedelta(minutes=5)
        )
    with pytest.raises(Conflict, match="given up at") as conflict:
        succeeding.rotate()
    assert conflict.value.code == "rotation_running"
    with succeeding.world.bound(succeeding.cast), pytest.raises(Conflict) as early:
        assisted.give_up(actor=actors.worker(row.id), succession_id=row.id)
    assert early.value.code == "not_lapsed"
    admin_connection.execute("UPDATE keys_succession SET lapses_at = now() WHERE id = %s", [row.id])
    assert succeeding.rotate().number == 2
    assert succeeding.attempts() == [("given_up", "lapsed"), ("done", "")]
    (told,) = succeeding.told("key.successor_given_up")
    assert told["detail"]["version"] == 0
    assert told["detail"]["dies_by"] > timezone.now().isoformat()[:16]


def test_plans_and_strangers_are_refused_before_anything_is_asked(succeeding: Succeeding, world: World) -> None:
    calls = world.bao.count_audit("auth/token/create-orphan", succeeding.token.accessor)
    with pytest.raises(InvalidInput):
        succeeding.rotate(hours=721)
    other = world.tenant("globex")
    with world.bound(other), pytest.raises(NotFound):
        assisted.rotate(actor=other.actor, key_id=succeeding.key.id, drain_hours=1)
    succeeding.rotate()
    with pytest.raises(Conflict) as conflict:
        succeeding.rotate()
    assert conflict.value.code == "still_draining"
    assert world.bao.count_audit("auth/token/create-orphan", succeeding.token.accessor) == calls + 1
