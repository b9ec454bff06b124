"""Mails: gathered from notices, sent at most once, never to a stranger, never with a secret."""

from __future__ import annotations

import smtplib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core import mail as django_mail
from django.core.mail.backends import locmem
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from audit.services.recording import Target
from byok_portal.boundary import binding, jobs
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.models import Job
from byok_portal.boundary.secrets import Secret
from tenants.models import Mail, Membership, Notice
from tenants.services import jobs as job_services
from tenants.services import mails, members, notices
from tests.tenants.mailing import PASSED, facts, gather, html_of, inbox, job_of, post, run, say, state_of

if TYPE_CHECKING:
    from tests.world import Cast, World

BREAKING = "tests.tenants.test_mails.Breaking"
HANGING_UP = "tests.tenants.test_mails.HangingUp"


class Breaking(locmem.EmailBackend):
    """A mail server that cannot be reached."""

    def open(self) -> bool:
        raise ConnectionRefusedError


class HangingUp(locmem.EmailBackend):
    """A mail server that takes a mail and is gone before it says so."""

    def send_messages(self, messages: Any) -> int:
        super().send_messages(messages)
        raise smtplib.SMTPServerDisconnected


def test_forty_notices_become_one_mail_with_all_of_them(world: World) -> None:
    cast = world.tenant()
    for number in range(45):
        say(cast, cast.owner.pk, facts=facts(f"Key {number:02}"))
    assert post(cast, cast.owner.pk) == "done"
    assert post(cast, cast.owner.pk) == "nothing"
    (sent,) = django_mail.outbox
    assert sent.to == [cast.owner.email]
    assert sent.subject == f"[{cast.tenant.name}] 45 notices"
    assert "Key 00" in str(sent.body)
    assert "5 more are in your inbox." in str(sent.body)


def test_a_digest_waits_for_others_and_for_the_hour_and_an_urgent_one_does_not(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.owner.pk)
    with world.bound(cast):
        assert mails.gather(cast.owner.pk) is None  # others may come along
    assert post(cast, cast.owner.pk) == "done"
    say(cast, cast.owner.pk)
    assert post(cast, cast.owner.pk) == "nothing"
    waiting = inbox(cast, cast.owner.pk)[0]
    assert waiting.mail_at is not None
    assert waiting.mail_at > timezone.now() + timedelta(minutes=50)
    with world.inside(cast):
        Mail.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    say(cast, cast.owner.pk, kind=PASSED)
    with world.bound(cast):
        urgent = mails.gather(cast.owner.pk)
    assert urgent is not None
    assert not urgent.is_digest
    assert run(cast, urgent) == "done"
    assert len(django_mail.outbox) == 2
    assert "2 notices, 1 urgent" in django_mail.outbox[1].subject  # it took the waiting one along


def test_a_storm_of_urgent_notices_is_no_storm_of_mails(world: World) -> None:
    cast = world.tenant()
    sent = 0
    for _ in range(10):
        say(cast, cast.owner.pk, kind=PASSED)
        with world.bound(cast):
            sent += mails.gather(cast.owner.pk) is not None
    assert sent == 1
    last = inbox(cast, cast.owner.pk)[0]
    assert last.mail_at is not None
    assert last.mail_at < timezone.now() + timedelta(seconds=30)


def test_an_urgent_notice_wakes_a_worker_with_its_transaction(world: World) -> None:
    from django_q.models import OrmQ  # noqa: PLC0415  # settings must be ready

    cast, before = world.tenant(), OrmQ.objects.count()
    say(cast, cast.owner.pk)
    assert OrmQ.objects.count() == before
    say(cast, cast.owner.pk, kind=PASSED)
    assert OrmQ.objects.count() == before + 1
    assert (cast.id, cast.owner.pk) in mails.list_due()


def test_a_clock_that_was_put_back_silences_nobody(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.owner.pk)
    assert post(cast, cast.owner.pk) == "done"
    with world.inside(cast):
        Mail.objects.update(created_at=timezone.now() + timedelta(days=30))
    say(cast, cast.owner.pk)
    assert post(cast, cast.owner.pk) == "done"


def test_text_and_html_say_the_same_and_the_id_is_the_mails(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.owner.pk, facts=facts("<b>Reports</b>"))
    post(cast, cast.owner.pk)
    (sent,) = django_mail.outbox
    html = html_of(sent)
    assert "&lt;b&gt;Reports&lt;/b&gt; ends on 2026-12-01" in html
    assert "<b>Reports</b> ends on 2026-12-01" in str(sent.body)
    for text in (html, str(sent.body)):
        assert f"http://localhost:8000/t/{cast.slug}/keys/nightly-reports/" in text
        assert f"/t/{cast.slug}/inbox/" in text
        assert f"/t/{cast.slug}/notice-preferences/" in text
    with world.inside(cast):
        assert sent.extra_headers["Message-ID"] == f"<{Mail.objects.get().id}@byok.example>"
    assert sent.extra_headers["Auto-Submitted"] == "auto-generated"
    assert '<html lang="en">' in html
    assert "style=" not in html


def test_a_mail_names_no_other_tenant_of_its_reader(world: World) -> None:
    cast, other = world.tenant(), world.tenant("globex")
    with world.bound(other):
        issued = members.invite(actor=other.actor, email=cast.owner.email, role="auditor")
        world._accept(other.tenant, issued)
    for place in (cast, other):
        say(place, cast.owner.pk, facts=facts(f"Key of {place.slug}"))
        assert post(place, cast.owner.pk) == "done"
    first, second = (f"{sent.subject}{sent.body}{html_of(sent)}" for sent in django_mail.outbox)
    for text, own, foreign in ((first, cast, other), (second, other, cast)):
        assert own.slug in text
        assert foreign.slug not in text
        assert foreign.tenant.name not in text


def test_who_has_left_gets_no_mail_of_the_tenant(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.auditor.pk)
    with world.inside(cast):
        Membership.objects.filter(user_id=cast.auditor.pk).update(is_active=False)
    assert post(cast, cast.auditor.pk) == "nothing"
    assert inbox(cast, cast.auditor.pk)[0].mail_at is None
    say(cast, cast.backup.pk)
    queued = gather(cast, cast.backup.pk)
    assert queued is not None
    with world.inside(cast):
        Membership.objects.filter(user_id=cast.backup.pk).update(is_active=False)
    assert (run(cast, queued), state_of(cast, queued)) == ("done", "dropped")
    assert django_mail.outbox == []


def test_a_mail_server_that_cannot_be_reached_is_tried_again(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.owner.pk)
    queued = gather(cast, cast.owner.pk)
    assert queued is not None
    with override_settings(EMAIL_BACKEND=BREAKING):
        assert run(cast, queued) == "retry"
    assert state_of(cast, queued) == "queued"
    make_due(world, cast)
    assert (run(cast, queued), state_of(cast, queued)) == ("done", "sent")
    assert len(django_mail.outbox) == 1


def test_a_mail_that_may_have_gone_is_not_sent_again_until_staff_decide(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.owner.pk)
    queued = gather(cast, cast.owner.pk)
    assert queued is not None
    with override_settings(EMAIL_BACKEND=HANGING_UP):
        assert run(cast, queued) == "dead"
    job = job_of(cast, queued)
    assert (state_of(cast, queued), job.state, job.last_error) == ("unconfirmed", "dead", "mail_unconfirmed")
    assert gather(cast, cast.owner.pk) is None
    assert run(cast, queued) == "not due"
    staff = world.staff_actor()
    with world.bound(cast):
        job_services.retry(actor=staff, job_id=job.id)
    assert (run(cast, queued), state_of(cast, queued)) == ("done", "sent")
    first, second = django_mail.outbox
    assert first.extra_headers["Message-ID"] == second.extra_headers["Message-ID"]
    assert run(cast, queued) == "not due"


def make_due(world: World, cast: Cast) -> None:
    with world.inside(cast):
        Job.objects.filter(tenant_id=cast.id, state="queued").update(run_after=timezone.now())


def test_staff_hear_of_all_tenants_in_one_place(world: World) -> None:
    staff = world.staff()
    places = [world.tenant(), world.tenant("globex")]
    with binding.bind_tenant(PLATFORM), transaction.atomic():
        for place in places:
            values: dict[str, Any] = {"tenant": place.tenant.name, "tenant_id": str(place.id)}
            values |= {"count": 2, "day": "2026-11-01"}
            target = Target("tenant", place.id)
            notices.notify(
                recipients=[staff.pk], kind="staff.nobody_acted", subject=target, dedupe=str(place.id), facts=values
            )
        Notice.objects.filter(recipient_id=staff.pk).update(mail_at=timezone.now())
    with binding.bind_tenant(PLATFORM):
        queued = mails.gather(staff.pk)
        assert queued is not None
        with binding.reading():
            job = Job.objects.get(subject_id=queued.id)
    assert jobs.run(str(PLATFORM), str(job.id)) == "done"
    (sent,) = django_mail.outbox
    assert sent.to == [staff.email]
    assert all(place.tenant.name in str(sent.body) for place in places)


def test_an_invitation_is_mailed_and_its_link_is_kept_nowhere(world: World, admin_connection: Any) -> None:
    from tests.canary import find_in_database  # noqa: PLC0415

    cast = world.tenant()
    with world.bound(cast):
        issued = members.invite(actor=cast.actor, email=f"new@{cast.slug}.example", role="auditor")
        token = issued.plaintext.reveal_text()
        assert mails.send_invitation(issued, link=Secret(f"http://localhost:8000/invitations/{token}/"))
    (sent,) = django_mail.outbox
    assert sent.to == [f"new@{cast.slug}.example"]
    assert token in str(sent.body)
    assert find_in_database(admin_connection, token) == []
    with world.inside(cast):
        assert Mail.objects.get(kind="invitation").state == "sent"


def test_an_invitation_that_was_not_mailed_says_so(world: World) -> None:
    cast = world.tenant()
    for backend, state in ((BREAKING, "dropped"), (HANGING_UP, "unconfirmed")):
        with world.bound(cast), override_settings(EMAIL_BACKEND=backend):
            issued = members.invite(actor=cast.actor, email=f"{state}@{cast.slug}.example", role="auditor")
            assert not mails.send_invitation(issued, link=Secret("http://localhost:8000/invitations/x/"))
        with world.inside(cast):
            assert Mail.objects.get(kind="invitation", recipient_id=issued.invitation.user_id).state == state
