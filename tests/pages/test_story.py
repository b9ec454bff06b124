from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.test import Client

from keys.models import Key
from tests.pages.browser import at, registration, sign_in, text_of

if TYPE_CHECKING:
    from tests.world import Cast, Credential, World


def use(cast: Cast, key: Key, credential: Credential, scope: str = "secrets:read") -> Any:
    return Client(headers=credential.headers).post(
        f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/",
        {"scope": scope, "purpose": "report"},
        content_type="application/json",
    )


def find_key(world: World, cast: Cast, name: str) -> Key:
    with world.inside(cast):
        return Key.objects.select_related("provider").get(name=name)


def test_a_key_is_registered_activated_granted_used_rotated_and_revoked_in_the_browser(world: World) -> None:
    cast, upstream_user = world.tenant(), world.name("user")
    first, second = world.bao_token(upstream_user), world.bao_token(upstream_user)
    browser = sign_in(cast.owner)
    data = registration(world, cast, first)

    answer = browser.post(at("keys:register", cast), data, follow=True)
    assert answer.status_code == 200, text_of(answer)[:3000]
    assert "is registered and proven" in text_of(answer)
    key = find_key(world, cast, data["name"])
    assert key.state == "pending"

    page = browser.get(at("keys:activate", cast, key.slug))
    assert "Chosen and present." in text_of(page)
    answer = browser.post(at("keys:activate", cast, key.slug), {"accept_excess": "on", "note": "Fine here"})
    assert answer.status_code == 302, text_of(answer)[:3000]
    assert answer["Audit-Id"]
    assert find_key(world, cast, data["name"]).state == "active"

    credential = world.consumer(cast)
    answer = browser.post(
        at("keys:grant", cast, key.slug),
        {
            "consumer": str(credential.consumer.id),
            "scope": ["secrets:read"],
            "delivery": ["decision", "broker"],
            "days": "30",
            "rate_per_minute": "",
            "networks": "127.0.0.0/8, 10.0.0.0/8",
            "reason": "Nightly report",
        },
        follow=True,
    )
    assert credential.consumer.name in text_of(answer)

    assert use(cast, key, credential).status_code == 200
    assert use(cast, key, credential, "secrets:write").status_code == 403
    world.sequence()
    log = text_of(browser.get(at("audit:list", cast), {"action": "key.used"}))
    assert "scope_not_granted" in log
    assert credential.consumer.name in log
    assert "127.0.0.1 (127.0.0.0/8)" in log
    assert "secrets:read" in log
    detail = text_of(browser.get(at("keys:detail", cast, key.slug)))
    assert "Allowed" in detail
    assert "scope_not_granted" in detail
    stats = browser.get(at("keys:list", cast)).context["stats"]
    assert (stats["uses_30d"], stats["denied_30d"], stats["points"][-1]) == (2, 1, 2)

    answer = browser.post(
        at("keys:rotate", cast, key.slug),
        {"secret": second.token, "drain": "24", "accept_excess": "on", "note": "Same"},
        follow=True,
    )
    assert "Version 2" in text_of(answer), text_of(answer)[:3000]
    assert "Draining" in text_of(answer)
    answer = browser.post(at("keys:finish-rotation", cast, key.slug, 1), follow=True)
    assert "waiting for confirmation" in text_of(answer)

    wrong = browser.post(
        at("keys:revoke", cast, key.slug),
        {"reason": "cessation_of_operation", "note": "", "confirm_name": "something else"},
    )
    assert wrong.status_code == 422
    assert find_key(world, cast, data["name"]).state == "active"
    answer = browser.post(
        at("keys:revoke", cast, key.slug),
        {"reason": "cessation_of_operation", "note": "Done", "confirm_name": key.name},
        follow=True,
    )
    assert "Revoked here at" in text_of(answer)
    assert "confirmed dead at" not in text_of(answer)
    assert find_key(world, cast, data["name"]).state == "revoked"
    assert use(cast, key, credential).status_code == 403
    for token in (first.token, second.token):
        assert token not in answer.content.decode()


def test_only_a_confirmed_end_is_called_dead_at_the_provider(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    browser = sign_in(cast.owner)
    data = {"reason": "contract_ended", "note": "", "confirm_name": key.name}
    browser.post(at("keys:revoke", cast, key.slug), data)
    before = text_of(browser.get(at("keys:detail", cast, key.slug)))
    from byok_portal.boundary import actors  # noqa: PLC0415  # settings must be ready
    from byok_portal.boundary.identifiers import new_id  # noqa: PLC0415
    from keys.models import KeyVersion  # noqa: PLC0415
    from keys.services import upstream  # noqa: PLC0415

    with world.inside(cast):
        version = KeyVersion.objects.get(key_id=key.id)
    with world.bound(cast):
        assert upstream.end_version(actor=actors.worker(new_id()), version_id=version.id).confirmed
    after = text_of(browser.get(at("keys:detail", cast, key.slug)))
    assert "at OpenBao: waiting for confirmation" in before
    assert "at OpenBao: confirmed dead at" in after
