"""Every page, in both colour schemes and at four widths: no broken rule of axe, nothing wider than the window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import scenery
from tests.browser.people import Person, enter
from tests.browser.reviewing import find_faults
from tests.portal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.browser.scenery import Scenery
    from tests.portal import Portal
    from tests.world import World

pytestmark = pytest.mark.browser


@dataclass(frozen=True, slots=True)
class Scene:
    """A page: who sees it, where it is, and what is done there before it is looked at."""

    who: str
    path: Callable[[Scenery], str]
    status: int = 200
    act: Callable[[Person], None] | None = None


def send_empty(person: Person) -> None:
    """Send the page's form as it is, past the browser's own checks."""
    form = person.page.locator("main form[method=post]").first
    form.evaluate("form => { form.noValidate = true; }")
    form.locator("button[type=submit]").first.click()
    person.page.wait_for_load_state()


def open_menu(person: Person) -> None:
    person.page.locator("main summary").first.click()


SCENES = {
    "sign_in": Scene("nobody", lambda s: "/accounts/login/"),
    "sign_in_wrong": Scene("nobody", lambda s: "/accounts/login/", act=send_empty),
    "password_reset": Scene("nobody", lambda s: "/accounts/password/reset/"),
    "invitation": Scene("nobody", lambda s: f"/invitations/{s.invitation}/"),
    "not_found": Scene("nobody", lambda s: "/no-such-page", status=404),
    "api_docs": Scene("nobody", lambda s: "/api/v1/docs/"),
    "sign_out": Scene("owner", lambda s: "/accounts/logout/"),
    "tenants": Scene("owner", lambda s: "/"),
    "keys": Scene("owner", lambda s: s.at()),
    "keys_none_found": Scene("owner", lambda s: s.at("keys/?q=nothing-like-it")),
    "keys_first": Scene("beginner", lambda s: f"/t/{s.beginner.slug}/"),
    "choose_provider": Scene("owner", lambda s: s.at("register-key/")),
    "register": Scene("owner", lambda s: s.at("register-key/?provider=openbao")),
    "register_github": Scene("owner", lambda s: s.at("register-key/?provider=github")),
    "register_wrong": Scene("owner", lambda s: s.at("register-key/?provider=openbao"), 422, send_empty),
    "key": Scene("owner", lambda s: s.key("active")),
    "key_menu": Scene("owner", lambda s: s.key("active"), act=open_menu),
    "key_pending": Scene("owner", lambda s: s.key("pending")),
    "key_rotating": Scene("owner", lambda s: s.key("rotating")),
    "key_suspended": Scene("owner", lambda s: s.key("suspended")),
    "key_revoked": Scene("owner", lambda s: s.key("revoked")),
    "key_long_name": Scene("owner", lambda s: s.key("long")),
    "activate": Scene("owner", lambda s: s.key("pending", "activate/")),
    "prove": Scene("owner", lambda s: s.key("active", "prove/")),
    "grant": Scene("owner", lambda s: s.key("active", "grant/")),
    "grant_wrong": Scene("owner", lambda s: s.key("active", "grant/"), 422, send_empty),
    "rotate": Scene("owner", lambda s: s.key("active", "rotate/")),
    "revoke": Scene("owner", lambda s: s.key("long", "revoke/")),
    "revoke_wrong": Scene("owner", lambda s: s.key("long", "revoke/"), 422, send_empty),
    "compromise": Scene("owner", lambda s: s.key("active", "compromise/")),
    "finish_rotation": Scene("owner", lambda s: s.key("rotating", "versions/1/finish/")),
    "consumers": Scene("owner", lambda s: s.at("consumers/")),
    "consumers_none": Scene("beginner", lambda s: f"/t/{s.beginner.slug}/consumers/"),
    "consumer": Scene("owner", lambda s: s.at(f"consumers/{s.credential.consumer.slug}/")),
    "consumer_register": Scene("owner", lambda s: s.at("register-consumer/")),
    "consumer_end": Scene("owner", lambda s: s.at(f"consumers/{s.credential.consumer.slug}/end/")),
    "token_issue": Scene("owner", lambda s: s.at(f"consumers/{s.credential.consumer.slug}/issue-token/")),
    "token_once": Scene(
        "owner", lambda s: s.at(f"consumers/{s.credential.consumer.slug}/issue-token/"), act=send_empty
    ),
    "members": Scene("owner", lambda s: s.at("members/")),
    "invite": Scene("owner", lambda s: s.at("invite/")),
    "audit": Scene("owner", lambda s: s.at("audit/")),
    "audit_uses": Scene("owner", lambda s: s.at("audit/?action=key.used")),
    "audit_none_found": Scene("owner", lambda s: s.at("audit/?from=2030-01-01")),
    "audit_wrong_filter": Scene("owner", lambda s: s.at("audit/?from=yesterday"), 422),
    "audit_entry": Scene("owner", lambda s: s.at(f"audit/{s.event_id}/")),
    "offboarding": Scene("owner", lambda s: f"/t/{s.ended.slug}/offboarding/"),
    "staff": Scene("staff", lambda s: "/staff/"),
    "staff_tenants": Scene("staff", lambda s: "/staff/tenants/tenant/"),
    "staff_tenant_add": Scene("staff", lambda s: "/staff/tenants/tenant/add/"),
    "staff_tenant": Scene("staff", lambda s: f"/staff/tenants/tenant/{s.cast.id}/change/"),
    "staff_consumers": Scene("staff", lambda s: "/staff/tenants/consumer/"),
    "staff_consumer_add": Scene("staff", lambda s: "/staff/tenants/consumer/add/"),
    "staff_keys": Scene("staff", lambda s: "/staff/keys/key/"),
    "staff_providers": Scene("staff", lambda s: "/staff/keys/provider/"),
    "staff_audit": Scene("staff", lambda s: "/staff/audit/entry/"),
    "staff_offboarding_add": Scene("staff", lambda s: f"/staff/tenants/offboarding/add/?tenant={s.cast.id}"),
}


@pytest.fixture(scope="module")
def stage(world_setup: World, portal: Portal) -> Scenery:
    return scenery.build(world_setup, portal)


@pytest.fixture(scope="module")
def people(browser: Browser, portal: Portal, stage: Scenery) -> Iterator[dict[str, Person]]:
    users: dict[str, Any] = {
        "nobody": None,
        "owner": stage.cast.owner,
        "beginner": stage.beginner.owner,
        "staff": stage.staff,
    }
    present = {who: enter(browser, portal.url, user) for who, user in users.items()}
    seen = present["owner"]
    wait_until(lambda: is_recorded(seen, stage), seconds=20)
    yield present
    for person in present.values():
        person.leave()


def is_recorded(person: Person, stage: Scenery) -> bool:
    """Whether the last use has its number."""
    with person.watch.expecting(404):
        answer = person.page.goto(f"{person.watch.origin}{stage.at(f'audit/{stage.event_id}/')}")
    return answer is not None and answer.status == 200


@pytest.mark.parametrize("name", SCENES)
def test_no_rule_is_broken(name: str, people: dict[str, Person], stage: Scenery) -> None:
    scene = SCENES[name]
    person = people[scene.who]
    person.watch.faults.clear()
    with person.watch.expecting(scene.status):
        person.go(scene.path(stage))
        if scene.act is not None:
            scene.act(person)
        faults = find_faults(person.page, name)
    assert faults == []
    person.watch.check()
