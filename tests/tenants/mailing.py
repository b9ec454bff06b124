"""What tests of notices share: saying things, and doing what the clock and the workers do for one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.mail import EmailMultiAlternatives
from django.db import transaction

from audit.services.recording import Target
from byok_portal.boundary import binding, jobs
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.models import Job
from tenants.models import Mail, Notice
from tenants.services import mails, notices

if TYPE_CHECKING:
    from uuid import UUID

    from django.core.mail import EmailMessage

    from tests.world import Cast

SOON, PASSED = "key.ends_soon", "key.end_passed"
"""A kind that waits for the digest, and one that is urgent and may not be muted."""


def facts(key: str = "Nightly reports") -> dict[str, Any]:
    return {"key": key, "key_slug": "nightly-reports", "day": "2026-12-01", "days": 7}


def say(cast: Cast, *people: UUID, kind: str = SOON, dedupe: str = "", **more: Any) -> int:
    """One notice, in a transaction of its own."""
    with binding.bind_tenant(cast.id), transaction.atomic():
        return notices.notify(
            recipients=people,
            kind=kind,
            subject=Target("key", new_id()),
            dedupe=dedupe or str(new_id()),
            facts=more.pop("facts", facts()),
            **more,
        )


def gather(cast: Cast, recipient_id: UUID) -> Mail | None:
    """What the clock does for one recipient, once all that waits is due."""
    with binding.bind_tenant(cast.id):
        with transaction.atomic():
            for notice in Notice.objects.filter(recipient_id=recipient_id, mail=None, mail_at__isnull=False):
                Notice.objects.filter(id=notice.id).update(mail_at=notice.created_at)
        return mails.gather(recipient_id)


def post(cast: Cast, recipient_id: UUID) -> str:
    """Gather and send: the state of the job, or "nothing"."""
    mail = gather(cast, recipient_id)
    return "nothing" if mail is None else run(cast, mail)


def run(cast: Cast, mail: Mail) -> str:
    """A worker takes the mail's job."""
    return jobs.run(str(cast.id), str(job_of(cast, mail).id))


def job_of(cast: Cast, mail: Mail) -> Job:
    with binding.bind_tenant(cast.id), binding.reading():
        return Job.objects.get(tenant_id=cast.id, kind=mails.SEND, subject_id=mail.id)


def html_of(message: EmailMessage) -> str:
    """The second part of a mail."""
    assert isinstance(message, EmailMultiAlternatives)
    return str(message.alternatives[0][0])


def state_of(cast: Cast, mail: Mail) -> str:
    with binding.bind_tenant(cast.id), binding.reading():
        return Mail.objects.get(id=mail.id).state


def inbox(cast: Cast, recipient_id: UUID) -> list[Notice]:
    with binding.bind_tenant(cast.id), binding.reading():
        return list(notices.list_inbox(recipient_id))
