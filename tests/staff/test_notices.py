"""What staff are told: their own inbox in the admin, and what became of every mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from tenants.models import Notice
from tests.staff.door import address, sign_in
from tests.staff.test_pages import staff_inbox
from tests.tenants.mailing import post, say

if TYPE_CHECKING:
    from tests.world import World


def test_staff_read_their_own_inbox_and_nobody_elses(world: World) -> None:
    cast, reader, other = world.tenant(), world.staff(), world.staff()
    notice = staff_inbox(cast, reader)["tenants_notice"]
    say(cast, cast.owner.pk)
    page = sign_in(reader).get(address("tenants_notice_changelist")).content.decode()
    assert f"{cast.tenant.name}: 1 deadlines have passed" in page
    assert "Nightly reports" not in page
    assert cast.tenant.name not in sign_in(other).get(address("tenants_notice_changelist")).content.decode()
    assert sign_in(other).get(address("tenants_notice_change", notice)).status_code in {302, 404}


def test_staff_mark_a_notice_as_read_once(world: World) -> None:
    cast, reader = world.tenant(), world.staff()
    notice = staff_inbox(cast, reader)["tenants_notice"]
    browser = sign_in(reader)
    data = {"action": "mark_read", "_selected_action": [str(notice)]}
    answer = browser.post(address("tenants_notice_changelist"), data, follow=True)
    assert "Marked as read." in answer.content.decode()
    with binding.bind_tenant(PLATFORM), binding.reading():
        assert Notice.objects.get(id=notice).read_at is not None
    again = browser.post(address("tenants_notice_changelist"), data, follow=True)
    assert "Nothing here is unread." in again.content.decode()


def test_staff_see_what_became_of_each_mail_and_no_word_of_it(world: World) -> None:
    cast, reader = world.tenant(), world.staff()
    say(cast, cast.owner.pk)
    assert post(cast, cast.owner.pk) == "done"
    page = sign_in(reader).get(address("tenants_mail_changelist"), {"tenant": cast.slug}).content.decode()
    assert "Sent" in page
    assert cast.owner.email not in page
    assert "Nightly reports" not in page
