"""The inbox and the preferences as a person sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core import mail as django_mail
from django.test import override_settings

from tests.pages.browser import at, sign_in, text_of
from tests.tenants.mailing import PASSED, facts, inbox, post, say

if TYPE_CHECKING:
    from tests.world import World


def test_a_person_reads_what_was_said_and_marks_it(world: World) -> None:
    cast = world.tenant()
    browser, address = sign_in(cast.owner), at("tenants:inbox", cast)
    assert "Nothing is unread" in text_of(browser.get(address))
    say(cast, cast.owner.pk, facts=facts("Reports <1>"))
    say(cast, cast.owner.pk, kind=PASSED, facts=facts("Billing"))
    say(cast, cast.backup.pk, facts=facts("Somebody else's"))
    page = browser.get(address)
    text = text_of(page)
    assert "Reports &lt;1&gt; ends on 2026-12-01" in text
    assert "Urgent" in text
    assert "Somebody else" not in text
    assert "Inbox 2 need attention" in text_of(browser.get(at("keys:list", cast)))
    assert post(cast, cast.owner.pk) == "done"
    assert "mailed as well" in text_of(browser.get(address))
    newest = inbox(cast, cast.owner.pk)[0]
    after = browser.post(address, {"notice": str(newest.id)}, follow=True)
    assert "1 is read." in text_of(after)
    assert "Billing" not in text_of(browser.get(address))
    assert "Billing" in text_of(browser.get(address, {"show": "all"}))
    assert browser.post(address, {"all": "1"}).status_code == 302
    assert "Nothing is unread" in text_of(browser.get(address))
    assert "Nothing here is unread" in text_of(browser.post(address, {"all": "1"}, follow=True))


def test_somebody_elses_notice_is_not_found(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.backup.pk)
    foreign = inbox(cast, cast.backup.pk)[0]
    answer = sign_in(cast.owner).post(at("tenants:inbox", cast), {"notice": str(foreign.id)})
    assert answer.status_code == 404
    assert inbox(cast, cast.backup.pk)[0].read_at is None


def test_a_long_inbox_is_paged(world: World) -> None:
    cast = world.tenant()
    for number in range(53):
        say(cast, cast.owner.pk, facts=facts(f"Key-{number:02}"))
    browser, address = sign_in(cast.owner), at("tenants:inbox", cast)
    first = browser.get(address)
    assert len(first.context["rows"]) == 50
    older = browser.get(address + first.context["pager"]["older_url"])
    assert [row["subject"] for row in older.context["rows"]] == [f"Key-0{n} ends on 2026-12-01" for n in (2, 1, 0)]
    assert older.context["pager"]["older_url"] == ""
    for odd in ("?older=x", "?older=%00", "?show=nope", "?older=3f2b8c1e-9a4d-4c2f-8f53-0d1c2b3a4e5f"):
        assert browser.get(address + odd).status_code == 200


def test_a_person_chooses_channels_and_cannot_mute_what_matters(world: World) -> None:
    cast = world.tenant()
    browser, address = sign_in(cast.auditor), at("tenants:preferences", cast)
    form = browser.get(address).context["form"]
    values = {name: field.initial for name, field in form.fields.items()}
    assert "portal" not in dict(form.fields[PASSED].choices)
    done = browser.post(address, {**values, "key.ends_soon": "portal"}, follow=True)
    assert "Saved." in text_of(done)
    assert done.context["form"].fields["key.ends_soon"].initial == "portal"
    wrong = browser.post(address, {**values, PASSED: "portal"})
    assert wrong.status_code == 422


def test_an_invitation_goes_by_mail_and_its_link_to_nobody_else_where_mail_leaves_the_machine(world: World) -> None:
    cast = world.tenant()
    browser, address = sign_in(cast.owner), at("tenants:invite", cast)
    data = {"email": f"new@{cast.slug}.example", "role": "auditor"}
    with override_settings(MAIL_LEAVES=True):
        answer = browser.post(address, data)
    assert "The invitation was mailed to" in text_of(answer)
    assert "/invitations/" not in answer.content.decode()
    (sent,) = django_mail.outbox
    assert "/invitations/" in str(sent.body)
    with override_settings(MAIL_CONFIGURED=False):
        answer = browser.post(address, data)
    assert "/invitations/" in answer.content.decode()
    assert len(django_mail.outbox) == 1
