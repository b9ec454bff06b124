from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from tenants.models import ConsumerToken, Invitation, Membership, User
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from tests.world import Cast, World

NEW_PASSWORD = "nine quiet lamps near water"


def invite(cast: Cast, email: str, role: str = "auditor") -> str:
    answer = sign_in(cast.owner).post(at("tenants:invite", cast), {"email": email, "role": role})
    found = re.search(r"http://[^<\s]*/invitations/[\w-]+", answer.content.decode())
    assert found, text_of(answer)
    return found[0].removeprefix("http://localhost:8000")


def test_an_invited_person_sets_a_password_and_lands_in_the_tenant(world: World) -> None:
    cast, email = world.tenant(), f"new@{world.name('x')}.example"
    link = invite(cast, email, "custodian")
    browser = Client()
    page = browser.get(link)
    assert (page.status_code, page["Cache-Control"]) == (200, "no-store")
    assert page["Referrer-Policy"] == "strict-origin"
    assert link.rsplit("/", 1)[-1] not in page.content.decode()
    weak = browser.post(link, {"name": "A person", "password": "short"})
    assert weak.status_code == 422
    assert "too short" in text_of(weak)
    assert 'value="short"' not in weak.content.decode()
    answer = browser.post(link, {"name": "A person", "password": NEW_PASSWORD}, follow=True)
    assert answer.redirect_chain[-1][0] == at("keys:list", cast)
    assert "Welcome to" in text_of(answer)
    assert Client().get(link).status_code == 404
    with world.inside(cast):
        member = Membership.objects.get(user__email=email)
    assert (member.role, member.is_active) == ("custodian", True)


def test_unknown_used_and_expired_links_get_the_same_bytes(world: World) -> None:
    cast = world.tenant()
    used, expired = invite(cast, f"a@{cast.slug}.example"), invite(cast, f"b@{cast.slug}.example")
    Client().post(used, {"password": NEW_PASSWORD})
    with world.inside(cast):
        Invitation.objects.filter(used_at=None).update(expires_at=timezone.now())
    links = [used, expired, "/invitations/unknown", "/invitations/unknown/", f"/t/{cast.slug}x/"]
    stranger = sign_in(cast.owner)
    answers = [stranger.get(link) for link in links]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_a_link_never_signs_anyone_in_as_a_person_with_a_password(world: World) -> None:
    victim, attacker = world.tenant(), world.tenant("mallory")
    link = invite(attacker, victim.owner.email)
    browser = Client()
    assert "has an account already" in text_of(browser.get(link))
    assert browser.post(link, {"password": NEW_PASSWORD}).status_code == 422
    assert browser.get(at("keys:list", victim)).status_code == 302
    assert User.objects.get(pk=victim.owner.pk).password == victim.owner.password
    other = sign_in(attacker.owner)
    assert other.post(link).status_code == 422
    own = sign_in(victim.owner)
    assert own.post(link, follow=True).redirect_chain[-1][0] == at("keys:list", attacker)


def test_the_token_of_a_link_is_in_no_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    cast = world.tenant()
    link = invite(cast, f"log@{cast.slug}.example")
    browser = Client()
    for address in (link, link.rstrip("/"), f"{link.rstrip('/')}x"):
        browser.get(address)
        browser.post(address, {"password": "short"})
        forged = Client(enforce_csrf_checks=True).post(address)
        assert (forged.status_code, link.rsplit("/", 1)[-1] in forged.content.decode()) == (403, False)
    written = " ".join(f"{record.msg} {record.getMessage()}" for record in caplog.records)
    assert "invitations/" in written
    assert link.rsplit("/", 1)[-1] not in written


def test_a_token_is_shown_once_and_is_nowhere_else(world: World) -> None:
    cast = world.tenant()
    credential = world.consumer(cast)
    key = world.key(cast)
    world.grant(cast, key, credential)
    browser, slug = sign_in(cast.owner), credential.consumer.slug
    answer = browser.post(at("tenants:token-issue", cast, slug), {"days": "30", "scopes": ["key:use"]})
    found = re.findall(r"byok_live_\w{36}", answer.content.decode())
    assert (answer.status_code, answer["Cache-Control"], len(set(found))) == (200, "no-store", 1)
    page = text_of(answer)
    assert f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/" in page
    use = Client(headers={"Authorization": f"Bearer {found[0]}"}).post(
        f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/",
        {"scope": "secrets:read", "purpose": "try the token"},
        content_type="application/json",
    )
    assert use.status_code == 200
    later = browser.get(at("tenants:consumer", cast, slug)).content.decode()
    assert found[0] not in later
    assert found[0][-4:] in later
    assert not [each for each in Session.objects.all() if found[0] in str(each.get_decoded())]
    third = browser.post(at("tenants:token-issue", cast, slug), {"days": "30", "scopes": ["key:use"]})
    assert (third.status_code, "Revoke one first" in text_of(third)) == (409, True)


def test_a_revoked_token_and_an_ended_consumer_are_refused(world: World) -> None:
    cast = world.tenant()
    first, second = world.consumer(cast), world.consumer(cast)
    key = world.key(cast)
    world.grant(cast, key, second)
    browser = sign_in(cast.owner)
    arguments = (first.consumer.slug, first.token_id)
    assert browser.post(at("tenants:token-revoke", cast, *arguments)).status_code == 302
    assert browser.post(at("tenants:token-revoke", cast, *arguments)).status_code == 409
    end = at("keys:consumer-end", cast, second.consumer.slug)
    assert key.name in text_of(browser.get(end))
    assert browser.post(end, {"reason": ""}).status_code == 422
    digest = browser.get(end).context["form"].initial["digest"]
    asked = {"reason": "contract_ended", "confirmation": second.consumer.slug, "digest": digest}
    assert browser.post(end, {**asked, "confirmation": "yes"}).status_code == 422
    assert browser.post(end, {**asked, "digest": "0" * 64}).status_code == 409
    assert browser.post(end, asked).status_code == 302
    with world.inside(cast):
        assert not ConsumerToken.objects.filter(revoked_at=None).exists()
    for credential in (first, second):
        answer = Client(headers=credential.headers).get(f"/api/v1/tenants/{cast.slug}/")
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "!!!"}, "at least one letter"),
        ({"name": "a\0b"}, "Null characters"),
        ({"name": "x" * 200}, "at most 120"),
        ({"kind": "robot"}, "Select a valid choice"),
        ({"environment": "moon"}, "Select a valid choice"),
        ({"contact": "nobody"}, "valid email"),
    ],
)
def test_a_bad_consumer_is_named(world: World, change: dict[str, str], words: str) -> None:
    cast = world.tenant()
    data = {
        "name": "Reports",
        "kind": "agent",
        "environment": "staging",
        "operated_by": "tenant",
        "contact": "",
    }
    browser = sign_in(cast.owner)
    assert browser.post(at("tenants:consumer-register", cast), data).status_code == 302
    answer = browser.post(at("tenants:consumer-register", cast), data | change)
    assert (answer.status_code, words in text_of(answer)) == (422, True)
    assert browser.post(at("tenants:consumer-register", cast), data).status_code == 422


def test_an_invitation_to_a_member_or_a_bad_address_is_told(world: World) -> None:
    cast = world.tenant()
    browser, address = sign_in(cast.owner), at("tenants:invite", cast)
    again = browser.post(address, {"email": cast.auditor.email, "role": "owner"})
    assert (again.status_code, "member already" in text_of(again)) == (409, True)
    assert browser.post(address, {"email": "nobody", "role": "owner"}).status_code == 422
    assert browser.post(address, {"email": "a@b.example", "role": "king"}).status_code == 422
