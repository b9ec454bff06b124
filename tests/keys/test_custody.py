"""What is stored opens with the key file and its own row, and with nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput, Refused, Unavailable
from keys.models import Key, KeyVersion, Material, TenantKey
from keys.services import custody, lifecycle, registration, rotation
from keys.wrappers import register
from keys.wrappers.local import LocalWrapper, generate_key_file
from tests.canary import find_in_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from tests.world import Cast, World


@pytest.fixture
def thief() -> Iterator[None]:
    """The process as a thief has it: database and code, but a key file of his own."""
    real = custody.local_wrapper()
    yield
    register.add(real)


def version_of(world: World, cast: Cast, key: Key) -> KeyVersion:
    with world.inside(cast):
        return KeyVersion.objects.select_related("key").get(key_id=key.id)


def test_the_credential_opens_again_and_is_nowhere_in_the_database(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast, token = world.tenant(), world.bao_token()
    key = world.key(cast, token=token)
    version = version_of(world, cast, key)
    with world.inside(cast):
        assert custody.open_version(version).reveal_text() == token.token
    assert find_in_database(admin_connection, token.token) == []


def test_database_and_code_without_the_key_file_open_nothing(world: World, thief: None, tmp_path: Path) -> None:
    cast = world.tenant()
    version = version_of(world, cast, world.key(cast))
    generate_key_file(tmp_path / "own.txt")
    register.add(LocalWrapper.from_file(tmp_path / "own.txt"))
    with world.inside(cast), pytest.raises(IntegrityError):
        custody.open_version(version)


def test_ciphertext_copied_to_another_key_or_tenant_does_not_open(
    world: World, admin_connection: psycopg.Connection
) -> None:
    first, second = world.tenant(), world.tenant()
    mine, theirs = world.key(first), world.key(second)
    source, target = version_of(world, first, mine), version_of(world, second, theirs)
    admin_connection.execute(
        "UPDATE keys_material SET blob = (SELECT blob FROM keys_material WHERE version_id = %s) WHERE version_id = %s",
        [source.id, target.id],
    )
    with world.inside(second), pytest.raises(IntegrityError):
        custody.open_version(target)


def test_a_warm_process_refuses_as_soon_as_the_data_key_is_revoked(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    version = version_of(world, cast, world.key(cast))
    with world.inside(cast):
        custody.open_version(version)
    admin_connection.execute(
        "UPDATE keys_tenantkey SET state = 'revoked' WHERE tenant_id = %s AND purpose = 'secret'", [cast.id]
    )
    with world.inside(cast), pytest.raises(Unavailable):
        custody.open_version(version)


def test_shredding_leaves_metadata_and_nothing_to_open(world: World) -> None:
    cast = world.tenant()
    world.key(cast)
    with world.inside(cast):
        statement = custody.shred()
        assert "backup horizon" in statement.statement
        assert not Material.objects.exists()
        assert set(TenantKey.objects.values_list("state", "wrapped")) == {("shredded", None)}
        assert KeyVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        ("", "secret_empty"),
        ("s." + "a" * 20_000, "secret_too_long"),
        ("s.abcdefghij\0klmnopqrstuv", "secret_has_control_characters"),
        ("s.abcdefghij klmnopqrstuv", "secret_has_spaces"),
        ("sk_live_" + "a1B2" * 12, "provider_mismatch"),
        ("hello-there-this-is-nothing", "unknown_shape"),
    ],
)
def test_a_badly_shaped_secret_is_refused_with_its_rule_and_stores_nothing(
    world: World, secret: str, code: str
) -> None:
    cast = world.tenant()
    with world.bound(cast), pytest.raises(InvalidInput) as refusal:
        registration.register(actor=cast.actor, draft=world.draft(cast), plaintext=Secret(secret))
    assert (refusal.value.field, refusal.value.code) == ("secret", code)
    if secret:
        assert secret[:12] not in refusal.value.detail
    with world.inside(cast):
        assert not Key.objects.exists()
        assert not Material.objects.exists()


def test_a_dead_token_is_refused_with_the_reason_and_stores_nothing(world: World) -> None:
    cast, token = world.tenant(), world.bao_token()
    world.bao.revoke_accessor(token.accessor)
    with world.bound(cast), pytest.raises(Refused) as refusal:
        registration.register(actor=cast.actor, draft=world.draft(cast), plaintext=Secret(token.token))
    assert refusal.value.code == "proof_failed"
    with world.inside(cast):
        assert not Key.objects.exists()


def test_the_same_credential_twice_in_a_tenant_is_refused_naming_the_key(world: World) -> None:
    cast, token = world.tenant(), world.bao_token()
    key = world.key(cast, token=token)
    with world.bound(cast), pytest.raises(InvalidInput) as refusal:
        registration.register(actor=cast.actor, draft=world.draft(cast), plaintext=Secret(token.token))
    assert refusal.value.code == "secret_reused"
    assert key.name in refusal.value.detail


def test_another_tenant_may_hold_the_same_credential_and_learns_nothing(world: World) -> None:
    token = world.bao_token()
    world.key(world.tenant(), token=token)
    key = world.key(world.tenant(), token=token)
    assert key.account_id


def test_a_token_that_cannot_do_what_was_chosen_is_refused(world: World) -> None:
    cast = world.tenant()
    draft = world.draft(cast, scopes=("secrets:read", "secrets:write"))
    with world.bound(cast), pytest.raises(Refused) as refusal:
        registration.register(actor=cast.actor, draft=draft, plaintext=Secret(world.bao_token().token))
    assert refusal.value.code == "scope_missing_upstream"
    assert "secrets:write" in refusal.value.detail


def test_excess_must_be_accepted_with_a_reason_before_activation(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast, activate=False)
    with world.bound(cast):
        with pytest.raises(Refused) as refusal:
            lifecycle.activate(actor=cast.actor, key_id=key.id)
        assert refusal.value.code == "excess_not_accepted"
        with pytest.raises(Refused):
            lifecycle.activate(actor=cast.actor, key_id=key.id, accept_excess=True, note=" ")
        assert (
            lifecycle.activate(actor=cast.actor, key_id=key.id, accept_excess=True, note="Listing only").state
            == "active"
        )


def test_rotation_keeps_the_account_and_refuses_another_ones_token(world: World) -> None:
    cast, first = world.tenant(), world.bao_token("rotator-" + world.name("u"))
    key = world.key(cast, token=first)
    with world.bound(cast), pytest.raises(Refused) as refusal:
        rotation.rotate(
            actor=cast.actor,
            key_id=key.id,
            plaintext=Secret(world.bao_token().token),
            drain_hours=1,
            accept_excess=True,
            note="x",
        )
    assert refusal.value.code == "other_account"
    with world.inside(cast):
        assert list(KeyVersion.objects.values_list("number", "state")) == [(1, "active")]
