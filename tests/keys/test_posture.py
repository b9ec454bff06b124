"""Findings from what is really stored: uses, proofs, owners, and a credential that two tenants have."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from byok_portal.errors import Conflict, InvalidInput
from keys import posture
from keys.findings import Kind
from keys.models import Grant, Key, KeyVersion
from keys.services import findings, uses
from tests.keys.test_use import caller
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from uuid import UUID

    from tests.world import Cast, Credential, World


def found(world: World, cast: Cast, key: Key) -> dict[Kind, posture.Found]:
    with world.inside(cast):
        return {row.finding.kind: row for row in posture.list_found(key.id)}


def age(world: World, cast: Cast, key: Key, days: int) -> None:
    """The key and its grants as if they were made that long ago."""
    then = timezone.now() - timedelta(days=days)
    with world.inside(cast):
        KeyVersion.objects.filter(key_id=key.id).update(activated_at=then)
        Grant.objects.filter(key_id=key.id).update(created_at=then)


def use(world: World, cast: Cast, key: Key, credential: Credential, scope: str = "secrets:read") -> None:
    with world.bound(cast):
        answer = uses.use(
            actor=caller(cast, credential),
            token_id=credential.token_id,
            key_reference=str(key.id),
            scope=scope,
            purpose="report",
        )
    assert answer.decision.allowed
    world.sequence()
    call_command("readers", "--once")


def accept(world: World, cast: Cast, key_id: UUID, **values: Any) -> Any:
    with world.bound(cast):
        return findings.accept(actor=cast.actor, key_id=key_id, **values)


def test_a_credential_that_two_tenants_have_is_found_by_both_and_names_neither(world: World) -> None:
    first, second, token = world.tenant(), world.tenant("globex"), world.bao_token()
    keys = [(cast, world.key(cast, token=token)) for cast in (first, second)]
    for cast, key in keys:
        row = found(world, cast, key)[Kind.SHARED_SECRET]
        assert row.finding.evidence == {}
    page = text_of(sign_in(first.owner).get(at("keys:findings", first)))
    assert "Another tenant has the same credential" in page
    assert second.tenant.name not in page
    assert second.slug not in page


def test_granted_scopes_that_nobody_used_are_taken_away_in_one_go(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast, scopes=("secrets:read", "secrets:list"))
    busy, idle = world.consumer(cast), world.consumer(cast)
    for credential in (busy, idle):
        world.grant(cast, key, credential, scopes=("secrets:read", "secrets:list"))
    age(world, cast, key, 100)
    use(world, cast, key, busy)
    assert found(world, cast, key)[Kind.UNUSED_SCOPES].finding.evidence["scopes"] == "secrets:list, secrets:read"
    browser = sign_in(cast.owner)
    asked = text_of(browser.get(at("keys:right-size", cast, key.slug)))
    assert f"{busy.consumer.name} loses secrets:list." in asked
    assert "Not used in the last 90 days" in asked
    browser.post(at("keys:right-size", cast, key.slug), {"note": "Yearly review"})
    with world.inside(cast):
        grants = {row.consumer_id: (row.state, row.scopes) for row in Grant.objects.filter(key_id=key.id)}
    assert grants[busy.consumer.id] == ("active", ["secrets:read"])
    assert grants[idle.consumer.id][0] == "revoked"
    assert Kind.UNUSED_SCOPES not in found(world, cast, key)
    with pytest.raises(Conflict, match="Every granted scope"), world.bound(cast):
        findings.right_size(actor=cast.actor, key_id=key.id)


def test_a_new_grant_is_left_alone(world: World) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    assert Kind.UNUSED_SCOPES not in found(world, cast, key)
    assert Kind.DORMANT not in found(world, cast, key)


def test_a_key_that_nobody_uses_is_dormant_until_it_is_used(world: World) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    age(world, cast, key, 100)
    assert found(world, cast, key)[Kind.DORMANT].finding.evidence["since"] is None
    use(world, cast, key, credential)
    assert Kind.DORMANT not in found(world, cast, key)


def test_an_accepted_finding_comes_back_when_its_time_is_over(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    with world.inside(cast):
        Key.objects.filter(id=key.id).update(backup_owner_id=None)
    accept(world, cast, key.id, kind="no_backup_owner", days=7, reason="Backup joins on Monday")
    row = found(world, cast, key)[Kind.NO_BACKUP_OWNER]
    assert row.accepted is not None
    page = text_of(sign_in(cast.owner).get(at("keys:findings", cast)))
    assert "Backup joins on Monday" in page
    with world.inside(cast):
        later = timezone.now() + timedelta(days=8)
        assert posture._accepted([key.id], later) == {}


def test_what_is_not_found_cannot_be_accepted(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    with pytest.raises(Conflict, match="Nothing of this kind"):
        accept(world, cast, key.id, kind="no_backup_owner", days=7, reason="Just in case")
    with pytest.raises(InvalidInput):
        accept(world, cast, key.id, kind="bad_weather", days=7, reason="x")


def test_the_api_names_what_the_page_names(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    with world.inside(cast):
        Key.objects.filter(id=key.id).update(backup_owner_id=None)
    from django.test import Client  # noqa: PLC0415  # settings must be ready

    credential = world.consumer(cast, scopes=("key:read", "finding:accept"))
    base = f"/api/v1/tenants/{cast.slug}"
    answer = Client().get(f"{base}/findings/", headers=credential.headers)
    kinds = {row["kind"]: row for row in answer.json()}
    assert kinds["no_backup_owner"]["severity"] == "high"
    done = Client().post(
        f"{base}/keys/{key.id}/findings/no_backup_owner/accept/",
        {"days": 7, "reason": "Monday"},
        content_type="application/json",
        headers=credential.headers,
    )
    assert done.status_code == 200, done.content
